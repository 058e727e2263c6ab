/** Calls on one open file: advice, allocation, size, cache state, ioctl, close. */
import { abi } from '../abi.js';
import { asyncResult, bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

const prototypes = {
  fadvise: 'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
  fallocate: 'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
  ioctl: 'int ioctl(int fd, ulong op, void *arg)',
  syncRange: 'int sync_file_range(int fd, int64_t offset, int64_t length, uint flags)',
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
};

let nativeFadvise: NativeFunction<[number, number, number, number]> | undefined;
let nativeFallocate: NativeFunction<[number, number, number, number]> | undefined;
let nativeFtruncate: NativeFunction<[number, number]> | undefined;
let nativeSyncRange: NativeFunction<[number, number, number, number]> | undefined;
let nativeCachestat: NativeFunction<[number, number, Pointer, Pointer, number]> | undefined;
let nativeIoctl: NativeFunction<[number, number, Pointer]> | undefined;
let nativeFstatfs: NativeFunction<[number, Pointer]> | undefined;
let nativeLseek: NativeFunction<[number, number, number]> | undefined;
let nativeClose: NativeFunction<[number]> | undefined;
let nativeMemfd: NativeFunction<[number, string, number]> | undefined;

/**
 * `int posix_fadvise(int fd, off_t offset, off_t size, int advice)`: says how a range of a file will be read.
 * @param offset the first byte.
 * @param length in bytes, 0: to the end of the file.
 * @param advice one of POSIX_FADV_*.
 * @returns 0 or a negative errno (the C function returns it positive): ESPIPE for a pipe.
 * @see https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
 */
export function posixFadvise(fd: number, offset: number, length: number, advice: number): number {
  nativeFadvise ??= bind(prototypes.fadvise);
  const result = nativeFadvise(fd, offset, length, advice);
  return result < 0 ? kernelResult(result) : 0 - result;
}

/**
 * {@link posixFadvise} on libuv's thread pool: POSIX_FADV_WILLNEED takes some 0.3 ms for 2 MiB, though it waits for no
 * disk.
 */
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

/**
 * `int sync_file_range(int fd, off64_t offset, off64_t nbytes, unsigned int flags)`: writes the dirty pages of a range, and
 * waits for them. It makes nothing durable: neither the file's metadata nor the cache of the disk is written.
 *
 * It waits for a disk, and so exists on libuv's thread pool only.
 * @param offset the first byte.
 * @param length in bytes, 0: to the end of the file.
 * @param flags SYNC_FILE_RANGE_* flags.
 * @param callback gets 0 or a negative errno: ESPIPE for a pipe; EIO if a write failed.
 * @see https://man7.org/linux/man-pages/man2/sync_file_range.2.html
 */
export function syncFileRangeAsync(
  fd: number,
  offset: number,
  length: number,
  flags: number,
  callback: (result: number) => void,
): void {
  nativeSyncRange ??= bind(prototypes.syncRange);
  nativeSyncRange.async(fd, offset, length, flags, asyncResult(callback));
}

/**
 * `int fallocate(int fd, int mode, off_t offset, off_t size)`: reserves the blocks of a range, so that ENOSPC comes here
 * and not at a later write.
 * @param mode FALLOC_FL_* flags; 0 makes the file longer where the range ends beyond it.
 * @param offset the first byte.
 * @param length in bytes, more than 0.
 * @returns 0 or a negative errno: EOPNOTSUPP where the filesystem cannot reserve.
 * @see https://man7.org/linux/man-pages/man2/fallocate.2.html
 */
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

/**
 * `int ftruncate(int fd, off_t length)`: makes a file that is open for writing exactly `length` bytes long.
 * @returns 0 or a negative errno: EPERM if a seal forbids it.
 * @see https://man7.org/linux/man-pages/man2/truncate.2.html
 */
export function ftruncate(fd: number, length: number): number {
  nativeFtruncate ??= bind('int ftruncate(int fd, int64_t length)');
  return kernelResult(nativeFtruncate(fd, length));
}

/**
 * `int cachestat(unsigned int fd, struct cachestat_range *range, struct cachestat *stat, unsigned int flags)`, since Linux
 * 6.5: counts the pages of a file's range that are in the page cache.
 *
 * Those whose read is still in flight count as well: it does not tell whether a range can be read without waiting
 * (kernel-rules: cold-blocks).
 * @param range two u64: offset and length in bytes (length 0: to the end).
 * @param result five u64, in pages: cached, dirty, under writeback, evicted, recently evicted.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/cachestat.2.html
 */
export function cachestat(fd: number, range: Pointer, result: Pointer): number {
  nativeCachestat ??= bind('intptr_t syscall(long number, long fd, void *range, void *stat, long flags)');
  return kernelResult(nativeCachestat(abi.numbers.cachestat, fd, range, result, 0));
}

/**
 * `int ioctl(int fd, unsigned long op, ... arg)`: an operation of the device, socket or filesystem.
 * @param argument an integer, or memory for the operations that take a struct.
 * @returns what the operation returns, or a negative errno: ENOTTY if there is no such operation on this file.
 * @see https://man7.org/linux/man-pages/man2/ioctl.2.html
 */
export function ioctl(fd: number, operation: number, argument: Pointer): number {
  nativeIoctl ??= bind(prototypes.ioctl);
  return kernelResult(nativeIoctl(fd, operation, argument));
}

/** {@link ioctl} on libuv's thread pool: for operations that may take long. */
export function ioctlAsync(fd: number, operation: number, argument: Pointer, callback: (result: number) => void): void {
  nativeIoctl ??= bind(prototypes.ioctl);
  nativeIoctl.async(fd, operation, argument, asyncResult(callback));
}

/**
 * `int memfd_create(const char *name, unsigned int flags)`, since Linux 3.17: a file in memory, of 0 bytes.
 * @param name shown in /proc only; it need not be unique.
 * @param flags MFD_* flags.
 * @returns a descriptor or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/memfd_create.2.html
 */
export function memfdCreate(name: string, flags: number): number {
  nativeMemfd ??= bind('intptr_t syscall(long number, const char *name, long flags)');
  return kernelResult(nativeMemfd(abi.numbers.memfdCreate, name, flags));
}

/** Bytes of a struct statfs on 64-bit architectures (include/uapi/asm-generic/statfs.h). */
export const STATFS_SIZE = 120;

/**
 * `int fstatfs(int fd, struct statfs *buf)`: what is known of the filesystem that an open file is on.
 * @param buffer at least {@link STATFS_SIZE} bytes; the filesystem's magic number is the first 32-bit word.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/statfs.2.html
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

/**
 * `off_t lseek(int fd, off_t offset, int whence)`: moves the file's own position.
 * @param offset in bytes, relative to what `whence` says.
 * @param whence SEEK_SET, SEEK_CUR, SEEK_DATA or SEEK_HOLE.
 * @returns the new position in bytes, or a negative errno: ESPIPE if the file is not seekable; ENXIO if no data follow.
 * @see https://man7.org/linux/man-pages/man2/lseek.2.html
 */
export function lseek(fd: number, offset: number, whence: number): number {
  nativeLseek ??= bind(prototypes.lseek);
  return kernelResult(nativeLseek(fd, offset, whence));
}

/** {@link lseek} on libuv's thread pool: SEEK_DATA and SEEK_HOLE may wait for a disk. */
export function lseekAsync(fd: number, offset: number, whence: number, callback: (result: number) => void): void {
  nativeLseek ??= bind(prototypes.lseek);
  nativeLseek.async(fd, offset, whence, asyncResult(callback));
}

/**
 * `int close(int fd)`: the number is free afterwards, whatever it returns. It must not be called again after EINTR.
 * @returns 0 or a negative errno: that of an earlier write, on some filesystems.
 * @see https://man7.org/linux/man-pages/man2/close.2.html
 */
export function close(fd: number): number {
  nativeClose ??= bind('int close(int fd)');
  return kernelResult(nativeClose(fd));
}
