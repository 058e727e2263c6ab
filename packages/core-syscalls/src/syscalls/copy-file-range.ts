/** copy_file_range(2). */
import { abi } from '../abi.js';
import { asyncResult, bind, kernelResult, type NativeFunction } from '../libc.js';
import { createOffsetCell, type OffsetCell, setOffset } from './offset.js';

const prototype =
  'intptr_t syscall(long number, long fd_in, void *off_in, long fd_out, void *off_out, size_t size, long flags)';
let native: NativeFunction<[number, number, OffsetCell | null, number, OffsetCell | null, number, number]> | undefined;
const cellIn = createOffsetCell();
const cellOut = createOffsetCell();

/**
 * `ssize_t copy_file_range(int fd_in, off_t *off_in, int fd_out, off_t *off_out, size_t size, unsigned int flags)`:
 * copies within the kernel, or shares blocks, or lets the server copy.
 *
 * Trustworthy from Linux 5.3 on; 0 on the first call can mean "unsupported" (procfs), not the end
 * (kernel-rules: copy-range-refusals).
 * @param offIn, offOut in bytes; null uses and moves the file's own position.
 * @param size in bytes, at most.
 * @param flags 0.
 * @returns bytes copied, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/copy_file_range.2.html
 */
export function copyFileRange(
  fdIn: number,
  offIn: number | null,
  fdOut: number,
  offOut: number | null,
  size: number,
  flags: number,
): number {
  native ??= bind(prototype);
  const from = offIn === null ? null : setOffset(cellIn, offIn);
  const to = offOut === null ? null : setOffset(cellOut, offOut);
  return kernelResult(native(abi.numbers.copyFileRange, fdIn, from, fdOut, to, size, flags));
}

/**
 * {@link copyFileRange} on libuv's thread pool: it copies, and waits for disks, for as long as it takes.
 * @param cellIn, cellOut memory for the offsets, one for each call in flight; null uses the file's own position.
 */
export function copyFileRangeAsync(
  fdIn: number,
  cellIn: OffsetCell | null,
  fdOut: number,
  cellOut: OffsetCell | null,
  size: number,
  callback: (result: number) => void,
): void {
  native ??= bind(prototype);
  native.async(abi.numbers.copyFileRange, fdIn, cellIn, fdOut, cellOut, size, 0, asyncResult(callback));
}
