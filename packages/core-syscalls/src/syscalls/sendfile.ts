/** sendfile(2): from a file in the page cache to any descriptor. */
import { asyncResult, bind, kernelResult, type NativeFunction } from '../libc.js';
import { createOffsetCell, type OffsetCell, setOffset } from './offset.js';

const prototype = 'intptr_t sendfile(int out_fd, int in_fd, void *offset, size_t count)';
let native: NativeFunction<[outFd: number, inFd: number, offset: OffsetCell | null, count: number]> | undefined;
const cell = createOffsetCell();

/**
 * `ssize_t sendfile(int out_fd, int in_fd, off_t *offset, size_t count)`: from a file in the page cache to any descriptor.
 *
 * @param offset where to read, in bytes; null uses and moves the file's own position.
 * @param count in bytes; the kernel moves at most `constants.MAX_RW_COUNT` in a call (kernel-rules: max-rw-count).
 * @returns bytes moved, 0 at the end of the file, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/sendfile.2.html
 */
export function sendfile(outFd: number, inFd: number, offset: number | null, count: number): number {
  native ??= bind(prototype);
  return kernelResult(native(outFd, inFd, offset === null ? null : setOffset(cell, offset), count));
}

/**
 * {@link sendfile} on libuv's thread pool: for ranges that would make the calling thread wait for a disk.
 * @param cell memory for the offset, one for each call in flight.
 */
export function sendfileAsync(
  outFd: number,
  inFd: number,
  cell: OffsetCell,
  count: number,
  callback: (result: number) => void,
): void {
  native ??= bind(prototype);
  native.async(outFd, inFd, cell, count, asyncResult(callback));
}
