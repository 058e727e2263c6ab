/** splice(2), tee(2), vmsplice(2): pages through a pipe. */
import { asyncResult, bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';
import { createOffsetCell, type OffsetCell, setOffset } from './offset.js';

let nativeSplice: NativeFunction<[number, OffsetCell | null, number, OffsetCell | null, number, number]> | undefined;
const splicePrototype = 'intptr_t splice(int fd_in, void *off_in, int fd_out, void *off_out, size_t size, uint flags)';
let nativeTee: NativeFunction<[number, number, number, number]> | undefined;
let nativeVmsplice: NativeFunction<[number, Pointer, number, number]> | undefined;
const cellIn = createOffsetCell();
const cellOut = createOffsetCell();

/**
 * `ssize_t splice(int fd_in, off_t *off_in, int fd_out, off_t *off_out, size_t size, unsigned int flags)`:
 * moves pages between a pipe and another descriptor.
 *
 * One of the two descriptors must be a pipe. SPLICE_F_NONBLOCK covers the pipe only (kernel-rules: nonblock-both).
 * @param offIn, offOut in bytes; null uses and moves the file's own position, and is the only choice for a pipe or a
 * socket.
 * @param size in bytes, at most.
 * @param flags SPLICE_F_* flags.
 * @returns bytes moved, 0 at the end of the input, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/splice.2.html
 */
export function splice(
  fdIn: number,
  offIn: number | null,
  fdOut: number,
  offOut: number | null,
  size: number,
  flags: number,
): number {
  nativeSplice ??= bind(splicePrototype);
  const from = offIn === null ? null : setOffset(cellIn, offIn);
  const to = offOut === null ? null : setOffset(cellOut, offOut);
  return kernelResult(nativeSplice(fdIn, from, fdOut, to, size, flags));
}

/**
 * {@link splice} on libuv's thread pool: where a file would make the calling thread wait for a disk.
 * @param cellIn, cellOut memory for the offsets, one for each call in flight; or null, as above.
 */
export function spliceAsync(
  fdIn: number,
  cellIn: OffsetCell | null,
  fdOut: number,
  cellOut: OffsetCell | null,
  size: number,
  flags: number,
  callback: (result: number) => void,
): void {
  nativeSplice ??= bind(splicePrototype);
  nativeSplice.async(fdIn, cellIn, fdOut, cellOut, size, flags, asyncResult(callback));
}

/**
 * `ssize_t tee(int fd_in, int fd_out, size_t size, unsigned int flags)`: duplicates a pipe's content without
 * consuming it.
 * @param size in bytes, at most.
 * @param flags SPLICE_F_* flags.
 * @returns bytes duplicated, 0 if the input is empty and has no writer, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/tee.2.html
 */
export function tee(fdIn: number, fdOut: number, size: number, flags: number): number {
  nativeTee ??= bind('intptr_t tee(int fd_in, int fd_out, size_t size, uint flags)');
  return kernelResult(nativeTee(fdIn, fdOut, size, flags));
}

/**
 * `ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned int flags)`: memory into a pipe.
 *
 * The pages stay shared with the pipe and there is no completion: only for memory that never changes again
 * (kernel-rules: vmsplice-gift).
 * @param iov one or more struct iovec, see {@link createIovec}.
 * @param count of them.
 * @param flags SPLICE_F_* flags.
 * @returns bytes moved into the pipe, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/vmsplice.2.html
 */
export function vmsplice(fd: number, iov: Pointer, count: number, flags: number): number {
  nativeVmsplice ??= bind('intptr_t vmsplice(int fd, void *iov, size_t count, uint flags)');
  return kernelResult(nativeVmsplice(fd, iov, count, flags));
}
