/** Where a file has data, and where it has holes: lseek(2), SEEK_DATA and SEEK_HOLE, since Linux 3.1. */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { runOffThread } from '@zerocopy/transfer';

const { ENXIO, SEEK_DATA, SEEK_HOLE } = constants;

/** A part of a file that is all data or all hole. */
export interface Extent {
  readonly hole: boolean;
  /** Exclusive, in bytes. */
  readonly end: number;
}

/**
 * Calls back with what `position` is in, up to `size`. A filesystem that cannot tell has data everywhere.
 * It moves the descriptor's own position.
 */
export function extentAt(fd: number, position: number, size: number, callback: (extent: Extent) => void): void {
  seek(fd, position, SEEK_DATA, (data) => {
    if (data === -ENXIO) callback({ hole: true, end: size });
    else if (data < 0) callback({ hole: false, end: size });
    else if (data > position) callback({ hole: true, end: Math.min(data, size) });
    else
      seek(fd, position, SEEK_HOLE, (hole) =>
        callback({ hole: false, end: hole > position ? Math.min(hole, size) : size }),
      );
  });
}

const PAGE = 4096;
const ZEROS = Buffer.alloc(PAGE);

/** For where lseek cannot be called: pages of zeros, which may have been holes, and what is between them. */
export function zerosIn(buffer: Buffer, from: number, to: number): Extent {
  const isZero = (at: number): boolean =>
    ZEROS.compare(buffer, at, Math.min(at + PAGE, to), 0, Math.min(PAGE, to - at)) === 0;
  const hole = isZero(from);
  let end = from;
  while (end < to && isZero(end) === hole) end += PAGE;
  return { hole, end: Math.min(end, to) };
}

function seek(fd: number, position: number, whence: number, callback: (result: number) => void): void {
  const lseek = (done: (result: number) => void): void => syscalls.lseekAsync(fd, position, whence, done);
  runOffThread((done) => uninterruptedAsync(lseek, done), callback);
}
