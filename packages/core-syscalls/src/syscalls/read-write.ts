/** read(2), write(2), pread(2), pwrite(2), and their vector forms with flags. */
import { abi } from '../abi.js';
import { bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';
import type { Iovec } from './iovec.js';

let nativeRead: NativeFunction<[number, Pointer, number]> | undefined;
let nativeWrite: NativeFunction<[number, Pointer, number]> | undefined;
let nativePread: NativeFunction<[number, Pointer, number, number]> | undefined;
let nativePwrite: NativeFunction<[number, Pointer, number, number]> | undefined;
let nativeReadv: NativeFunction<[number, Pointer, number]> | undefined;
let nativeWritev: NativeFunction<[number, Pointer, number]> | undefined;
let nativeVector: NativeFunction<[number, number, Pointer, number, number, number, number]> | undefined;

/**
 * `ssize_t read(int fd, void *buf, size_t count)`, at the file's own position.
 * @param count in bytes.
 * @returns bytes read, 0 at the end, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/read.2.html
 */
export function read(fd: number, buffer: Pointer, count: number): number {
  nativeRead ??= bind('intptr_t read(int fd, void *buf, size_t count)');
  return kernelResult(nativeRead(fd, buffer, count));
}

/**
 * `ssize_t write(int fd, const void *buf, size_t count)`, at the file's own position.
 * @param count in bytes.
 * @returns bytes written, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/write.2.html
 */
export function write(fd: number, buffer: Pointer, count: number): number {
  nativeWrite ??= bind('intptr_t write(int fd, void *buf, size_t count)');
  return kernelResult(nativeWrite(fd, buffer, count));
}

/**
 * `ssize_t pread(int fd, void *buf, size_t count, off_t offset)`: the file's own position stays.
 * @param count, offset in bytes.
 * @returns bytes read, 0 at the end, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/pread.2.html
 */
export function pread(fd: number, buffer: Pointer, count: number, offset: number): number {
  nativePread ??= bind('intptr_t pread(int fd, void *buf, size_t count, int64_t offset)');
  return kernelResult(nativePread(fd, buffer, count, offset));
}

/**
 * `ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)`: the file's own position stays.
 * @param count, offset in bytes. With O_APPEND the offset is ignored.
 * @returns bytes written, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/pwrite.2.html
 */
export function pwrite(fd: number, buffer: Pointer, count: number, offset: number): number {
  nativePwrite ??= bind('intptr_t pwrite(int fd, void *buf, size_t count, int64_t offset)');
  return kernelResult(nativePwrite(fd, buffer, count, offset));
}

/**
 * `ssize_t readv(int fd, const struct iovec *iov, int iovcnt)`, with one buffer.
 * @returns bytes read, 0 at the end, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/readv.2.html
 */
export function readv(fd: number, iovec: Iovec): number {
  nativeReadv ??= bind('intptr_t readv(int fd, void *iov, int iovcnt)');
  return kernelResult(nativeReadv(fd, iovec, 1));
}

/**
 * `ssize_t writev(int fd, const struct iovec *iov, int iovcnt)`, with one buffer.
 * @returns bytes written, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/readv.2.html
 */
export function writev(fd: number, iovec: Iovec): number {
  nativeWritev ??= bind('intptr_t writev(int fd, void *iov, int iovcnt)');
  return kernelResult(nativeWritev(fd, iovec, 1));
}

function vectorCall(number: number, fd: number, iovec: Iovec, offset: number, flags: number): number {
  // The kernel takes the offset in two halves; on 64-bit architectures the first is all of it (fs/read_write.c,
  // pos_from_hilo).
  nativeVector ??= bind(
    'intptr_t syscall(long number, long fd, void *iov, long iovcnt, long low, long high, long flags)',
  );
  return kernelResult(nativeVector(number, fd, iovec, 1, offset, 0, flags));
}

/**
 * `ssize_t preadv2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags)`, with one buffer.
 *
 * With RWF_NOWAIT it reads what is in the page cache and answers EAGAIN for what is not, which no other call tells as
 * exactly (kernel-rules: cold-blocks). EOPNOTSUPP on tmpfs, procfs and sysfs.
 * @param offset in bytes; -1 uses and moves the file's own position.
 * @param flags RWF_* flags.
 * @returns bytes read, 0 at the end, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/preadv2.2.html
 */
export function preadv2(fd: number, iovec: Iovec, offset: number, flags: number): number {
  return vectorCall(abi.numbers.preadv2, fd, iovec, offset, flags);
}

/**
 * `ssize_t pwritev2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags)`, with one buffer.
 * @param offset in bytes; -1 uses and moves the file's own position.
 * @param flags RWF_* flags.
 * @returns bytes written, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/pwritev2.2.html
 */
export function pwritev2(fd: number, iovec: Iovec, offset: number, flags: number): number {
  return vectorCall(abi.numbers.pwritev2, fd, iovec, offset, flags);
}
