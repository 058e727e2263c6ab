/** sendfile on libuv's thread pool, for cold ranges. */
import { syscalls } from '@zerocopy/core-syscalls';
import { runOffThread } from '@zerocopy/core-syscalls/internals';

/**
 * Sends `count` bytes from the offset in `cell` on another thread, when one of the bounded number is free.
 * @param outFd asked when the call begins; the descriptor must stay open until the callback.
 */
export function sendfileOffThread(
  outFd: () => number,
  inFd: number,
  cell: syscalls.OffsetCell,
  count: number,
  callback: (result: number) => void,
): void {
  runOffThread((done) => syscalls.sendfileAsync(outFd(), inFd, cell, count, done), callback);
}
