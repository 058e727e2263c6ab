/** sendfile on libuv's thread pool, for cold ranges. */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { filesystemOf, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';
import { runOffThread } from '@zerocopy/transfer';

/** Bytes that are wanted from `position` on: those of this call, and of the next. */
export interface ReadAhead {
  readonly position: number;
  readonly bytes: number;
}

/**
 * Sends `count` bytes from the offset in `cell` on another thread, when one of the bounded number is free.
 * @param outFd asked when the call begins; the descriptor must stay open until the callback.
 * @param ahead is asked for first, there as well: it takes the kernel a third of a millisecond for 2 MiB, and the loop
 * with 64 cold transfers 25 (measured).
 */
export function sendfileOffThread(
  outFd: () => number,
  inFd: number,
  cell: syscalls.OffsetCell,
  count: number,
  callback: (result: number) => void,
  ahead?: ReadAhead,
): void {
  const wait = isLocalFilesystem(filesystemOf(inFd)) ? 'disk' : 'server';
  runOffThread(
    (done) => {
      const send = (): void => syscalls.sendfileAsync(outFd(), inFd, cell, count, done);
      if (ahead === undefined) send();
      else syscalls.posixFadviseAsync(inFd, ahead.position, ahead.bytes, constants.POSIX_FADV_WILLNEED, send);
    },
    callback,
    wait,
  );
}
