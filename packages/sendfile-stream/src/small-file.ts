/**
 * Small files: read from the page cache into a pooled buffer, to leave in one write with the headers.
 *
 * A sendfile of its own costs a system call more, and TCP_CORK two, to spare a copy that for so few bytes is cheaper
 * than they are. Where it crosses over is measured by `npm run bench -- --scenario small` (see the README).
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import { countColdPages } from './cold-pages.js';
import { feature } from './feature.js';
import { livesInMemory } from './source.js';

/** Up to this many bytes, inclusive, a file is copied into the write of its headers. */
export const SMALL_FILE_SIZE: number = 64 * 1024;
/** Buffers kept for the next ones: 2 MiB. */
const POOL_MAX = 32;
const { EAGAIN, EOPNOTSUPP, RWF_NOWAIT } = constants;

const pool: syscalls.Iovec[] = [];

/** A range of a file that has been read whole. */
export interface SmallRead {
  /** As many as were asked for, in memory that is used again. */
  readonly bytes: Buffer;
  /** To be called when `bytes` is not read any more. Not calling it only costs an allocation later. */
  recycle(): void;
}

/** The whole of a range, if it is in memory; undefined if it is not, or not whole: nothing has been done then. */
export function readSmall(fd: number, position: number, length: number): SmallRead | undefined {
  if (!feature('preadvNowait').available) return undefined;
  const iovec =
    length > SMALL_FILE_SIZE
      ? syscalls.createIovec(Buffer.allocUnsafeSlow(length))
      : syscalls.setIovecLength(pool.pop() ?? syscalls.createIovec(Buffer.allocUnsafeSlow(SMALL_FILE_SIZE)), length);
  const buffer = iovec.target as Buffer;
  const recycle = (): void => {
    if (buffer.length === SMALL_FILE_SIZE && pool.length < POOL_MAX) pool.push(iovec);
  };
  let result = uninterrupted(() => syscalls.preadv2(fd, iovec, position, RWF_NOWAIT));
  if (result === -EOPNOTSUPP && livesInMemory(fd)) result = syscalls.pread(fd, buffer, length, position);
  if (result === length) return { bytes: buffer.subarray(0, length), recycle };
  if (result >= 0 || result === -EAGAIN) countColdPages(fd);
  recycle();
  return undefined;
}
