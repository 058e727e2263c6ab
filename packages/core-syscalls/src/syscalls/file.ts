/** Calls on one open file: advice, allocation, size, cache state, ioctl, close. */
import { abi } from '../abi.js';
import { asyncResult, bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

const prototypes = {
  fadvise: 'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
  fallocate: 'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
  ioctl: 'int ioctl(int fd, ulong op, void *arg)',
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
};

let nativeFadvise: NativeFunction<[number, number, number, number]> | undefined;
let nativeFallocate: NativeFunction<[number, number, number, number]> | undefined;
let nativeFtruncate: NativeFunction<[number, number]> | undefined;
let nativeCachestat: NativeFunction<[number, number, Pointer, Pointer, number]> | undefined;
let nativeIoctl: NativeFunction<[number, number, Pointer]> | undefined;
let nativeFstatfs: NativeFunction<[number, Pointer]> | undefined;
let nativeLseek: NativeFunction<[number, number, number]> | undefined;
let nativeClose: NativeFunction<[number]> | undefined;
let nativeMemfd: NativeFunction<[number, string, number]> | undefined;

/** `int posix_fadvise(int fd, off_t offset, off_t size, int advice)`: 0 or a negative errno (the C function returns it positive). */
export function posixFadvise(fd: number, offset: number, length: number, advice: number): number {
  nativeFadvise ??= bind(prototypes.fadvise);
  const result = nativeFadvise(fd, offset, length, advice);
  return result < 0 ? kernelResult(result) : 0 - result;
}

/** {@link posixFadvise} on libuv's thread pool: POSIX_FADV_WILLNEED takes some 0.3 ms for 2 MiB, though it waits for no disk. */
export function posixFadviseAsync(
  fd: number,
  offset: number,
  length: number,
  advice: number,
  callback: (result: number) => void,
): void {
  nativeFadvise ??= bind(prototypes.fadvise);
  const done = asyncResult(callback);
  nativeFadvise.async(fd, offset, length, advice, (error, result) =>
    result > 0 ? callback(0 - result) : done(error, result),
  );
}

/** `int fallocate(int fd, int mode, off_t offset, off_t size)`: 0 or a negative errno. Reserves blocks; ENOSPC comes here and not later. */
export function fallocate(fd: number, mode: number, offset: number, length: number): number {
  nativeFallocate ??= bind(prototypes.fallocate);
  return kernelResult(nativeFallocate(fd, mode, offset, length));
}

/** {@link fallocate} on libuv's thread pool: it may take long. */
export function fallocateAsync(
  fd: number,
  mode: number,
  offset: number,
  length: number,
  callback: (result: number) => void,
): void {
  nativeFallocate ??= bind(prototypes.fallocate);
  nativeFallocate.async(fd, mode, offset, length, asyncResult(callback));
}

/** `int ftruncate(int fd, off_t length)`: 0 or a negative errno. */
export function ftruncate(fd: number, length: number): number {
  nativeFtruncate ??= bind('int ftruncate(int fd, int64_t length)');
  return kernelResult(nativeFtruncate(fd, length));
}

/**
 * `int cachestat(unsigned int fd, struct cachestat_range *range, struct cachestat *stat, unsigned int flags)`, since Linux 6.5.
 *
 * It counts pages whose read is still in flight: never ask it whether a range can be read without waiting.
 * @param range two u64: offset and length in bytes (length 0: to the end).
 * @param result five u64, in pages: cached, dirty, under writeback, evicted, recently evicted.
 * @returns 0 or a negative errno.
 */
export function cachestat(fd: number, range: Pointer, result: Pointer): number {
  nativeCachestat ??= bind('intptr_t syscall(long number, long fd, void *range, void *stat, long flags)');
  return kernelResult(nativeCachestat(abi.numbers.cachestat, fd, range, result, 0));
}

/** `int ioctl(int fd, unsigned long op, ... arg)`: what the operation returns, or a negative errno. */
export function ioctl(fd: number, operation: number, argument: Pointer): number {
  nativeIoctl ??= bind(prototypes.ioctl);
  return kernelResult(nativeIoctl(fd, operation, argument));
}

/** {@link ioctl} on libuv's thread pool: for operations that may take long. */
export function ioctlAsync(fd: number, operation: number, argument: Pointer, callback: (result: number) => void): void {
  nativeIoctl ??= bind(prototypes.ioctl);
  nativeIoctl.async(fd, operation, argument, asyncResult(callback));
}

/** `int memfd_create(const char *name, unsigned int flags)`, since Linux 3.17: a descriptor or a negative errno. */
export function memfdCreate(name: string, flags: number): number {
  nativeMemfd ??= bind('intptr_t syscall(long number, const char *name, long flags)');
  return kernelResult(nativeMemfd(abi.numbers.memfdCreate, name, flags));
}

/** Bytes of a struct statfs on 64-bit architectures (include/uapi/asm-generic/statfs.h). */
export const STATFS_SIZE = 120;

/**
 * `int fstatfs(int fd, struct statfs *buf)`: 0 or a negative errno.
 * @param buffer at least {@link STATFS_SIZE} bytes; the filesystem's magic number is the first 32-bit word.
 */
export function fstatfs(fd: number, buffer: Pointer): number {
  nativeFstatfs ??= bind('int fstatfs(int fd, void *buf)');
  return kernelResult(nativeFstatfs(fd, buffer));
}

/** {@link fstatfs} on libuv's thread pool: a FUSE or NFS mount asks its server. */
export function fstatfsAsync(fd: number, buffer: Pointer, callback: (result: number) => void): void {
  nativeFstatfs ??= bind('int fstatfs(int fd, void *buf)');
  nativeFstatfs.async(fd, buffer, asyncResult(callback));
}

/** `off_t lseek(int fd, off_t offset, int whence)`: the new position in bytes, or a negative errno (ESPIPE: not seekable). */
export function lseek(fd: number, offset: number, whence: number): number {
  nativeLseek ??= bind(prototypes.lseek);
  return kernelResult(nativeLseek(fd, offset, whence));
}

/** {@link lseek} on libuv's thread pool: SEEK_DATA and SEEK_HOLE may wait for a disk. */
export function lseekAsync(fd: number, offset: number, whence: number, callback: (result: number) => void): void {
  nativeLseek ??= bind(prototypes.lseek);
  nativeLseek.async(fd, offset, whence, asyncResult(callback));
}

/** `int close(int fd)`: 0 or a negative errno. The descriptor is gone either way; never repeat it after EINTR. */
export function close(fd: number): number {
  nativeClose ??= bind('int close(int fd)');
  return kernelResult(nativeClose(fd));
}
