/**
 * The mmap(2) family. Addresses are numbers: user space ends at 2^47 (2^48 on arm64), unless a program asks for more.
 */
import { abi } from '../abi.js';
import { asyncResult, bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

const prototypes = {
  mmap: 'intptr_t mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
  madvise: 'int madvise(void *addr, size_t length, int advice)',
  msync: 'int msync(void *addr, size_t length, int flags)',
  mlock: 'int mlock(void *addr, size_t length)',
};

let nativeMmap: NativeFunction<[Pointer, number, number, number, number, number]> | undefined;
let nativeMunmap: NativeFunction<[Pointer, number]> | undefined;
let nativeMremap: NativeFunction<[Pointer, number, number, number, Pointer]> | undefined;
let nativeMprotect: NativeFunction<[number, Pointer, number, number]> | undefined;
let nativeMadvise: NativeFunction<[Pointer, number, number]> | undefined;
let nativeMincore: NativeFunction<[Pointer, number, Pointer]> | undefined;
let nativeMsync: NativeFunction<[Pointer, number, number]> | undefined;
let nativeMlock: NativeFunction<[Pointer, number]> | undefined;
let nativeMunlock: NativeFunction<[Pointer, number]> | undefined;
let pageSize = 0;

/**
 * `void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)`: maps a file, or anonymous memory.
 * @param address a hint; with MAP_FIXED the address itself; null lets the kernel choose.
 * @param length in bytes, more than 0.
 * @param protection PROT_* flags.
 * @param flags MAP_* flags.
 * @param fd -1 with MAP_ANONYMOUS.
 * @param offset in bytes, a multiple of the page size (kernel-rules: page-alignment).
 * @returns the address, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/mmap.2.html
 */
export function mmap(
  address: Pointer,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
): number {
  nativeMmap ??= bind(prototypes.mmap);
  return kernelResult(nativeMmap(address, length, protection, flags, fd, offset));
}

/** {@link mmap} on libuv's thread pool: for a file whose filesystem may ask a server first (NFS revalidates its pages). */
export function mmapAsync(
  address: Pointer,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
  callback: (result: number) => void,
): void {
  nativeMmap ??= bind(prototypes.mmap);
  nativeMmap.async(address, length, protection, flags, fd, offset, asyncResult(callback));
}

/**
 * `int munmap(void *addr, size_t length)`: a view that is still over the range faults from then on (SIGSEGV).
 * @returns 0, also where nothing is mapped; or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/mmap.2.html
 */
export function munmap(address: Pointer, length: number): number {
  nativeMunmap ??= bind('int munmap(void *addr, size_t length)');
  return kernelResult(nativeMunmap(address, length));
}

/**
 * `void *mremap(void *old, size_t old_size, size_t new_size, int flags, void *new)`: resizes or moves a mapping.
 * @param oldSize, newSize in bytes.
 * @param flags MREMAP_* flags.
 * @param newAddress used with MREMAP_FIXED only.
 * @returns the new address, or a negative errno: ENOMEM if it cannot grow where it is.
 * @see https://man7.org/linux/man-pages/man2/mremap.2.html
 */
export function mremap(address: Pointer, oldSize: number, newSize: number, flags: number, newAddress: Pointer): number {
  nativeMremap ??= bind('intptr_t mremap(void *old, size_t old_size, size_t new_size, int flags, void *fixed)');
  return kernelResult(nativeMremap(address, oldSize, newSize, flags, newAddress));
}

/**
 * `int mprotect(void *addr, size_t size, int prot)`: changes how the pages of a range may be accessed.
 * @param protection PROT_* flags.
 * @returns 0 or a negative errno: EACCES if the file is not open for this.
 * @see https://man7.org/linux/man-pages/man2/mprotect.2.html
 */
export function mprotect(address: Pointer, length: number, protection: number): number {
  // By its number: musl's wrapper rounds the range to pages, and so protects one of another's instead of answering EINVAL.
  nativeMprotect ??= bind('intptr_t syscall(long number, void *addr, size_t length, long prot)');
  return kernelResult(nativeMprotect(abi.numbers.mprotect, address, length, protection));
}

/**
 * `int madvise(void *addr, size_t size, int advice)`: says how the pages of a range will be used.
 * @param advice one of MADV_*.
 * @returns 0 or a negative errno: EFAULT of MADV_POPULATE_* where an access would raise SIGBUS.
 * @see https://man7.org/linux/man-pages/man2/madvise.2.html
 */
export function madvise(address: Pointer, length: number, advice: number): number {
  nativeMadvise ??= bind(prototypes.madvise);
  return kernelResult(nativeMadvise(address, length, advice));
}

/** {@link madvise} on libuv's thread pool: it may wait for a disk. The range must stay mapped until `callback`. */
export function madviseAsync(
  address: Pointer,
  length: number,
  advice: number,
  callback: (result: number) => void,
): void {
  nativeMadvise ??= bind(prototypes.madvise);
  nativeMadvise.async(address, length, advice, asyncResult(callback));
}

/**
 * `int mincore(void *addr, size_t length, unsigned char *vec)`: which pages of a mapping are in memory.
 * @param vector receives a byte for each page, whose bit 0 is set if the page is in the cache. A page whose read is
 * still in flight counts as well (kernel-rules: cold-blocks).
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/mincore.2.html
 */
export function mincore(address: Pointer, length: number, vector: Pointer): number {
  nativeMincore ??= bind('int mincore(void *addr, size_t length, void *vec)');
  return kernelResult(nativeMincore(address, length, vector));
}

/**
 * `int msync(void *addr, size_t length, int flags)`: writes what was stored in a shared mapping to the file.
 * @param flags MS_SYNC waits for the disk, MS_ASYNC does not.
 * @returns 0 or a negative errno: EIO if a write failed.
 * @see https://man7.org/linux/man-pages/man2/msync.2.html
 */
export function msync(address: Pointer, length: number, flags: number): number {
  nativeMsync ??= bind(prototypes.msync);
  return kernelResult(nativeMsync(address, length, flags));
}

/** {@link msync} on libuv's thread pool: it may wait for a disk. The range must stay mapped until `callback`. */
export function msyncAsync(address: Pointer, length: number, flags: number, callback: (result: number) => void): void {
  nativeMsync ??= bind(prototypes.msync);
  nativeMsync.async(address, length, flags, asyncResult(callback));
}

/**
 * `int mlock(const void *addr, size_t size)`: brings the pages of a range into memory and keeps them there.
 * @returns 0 or a negative errno: ENOMEM beyond RLIMIT_MEMLOCK.
 * @see https://man7.org/linux/man-pages/man2/mlock.2.html
 */
export function mlock(address: Pointer, length: number): number {
  nativeMlock ??= bind(prototypes.mlock);
  return kernelResult(nativeMlock(address, length));
}

/**
 * {@link mlock} on libuv's thread pool: it reads what is not in memory. The range must stay mapped until `callback`.
 */
export function mlockAsync(address: Pointer, length: number, callback: (result: number) => void): void {
  nativeMlock ??= bind(prototypes.mlock);
  nativeMlock.async(address, length, asyncResult(callback));
}

/**
 * `int munlock(const void *addr, size_t size)`: lets the pages of a range leave memory again.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/mlock.2.html
 */
export function munlock(address: Pointer, length: number): number {
  nativeMunlock ??= bind('int munlock(void *addr, size_t length)');
  return kernelResult(nativeMunlock(address, length));
}

/**
 * `int getpagesize(void)`: the size of a page, which is not 4096 on every machine. Asked once.
 * @returns bytes; 4096 where libc cannot be asked.
 * @see https://man7.org/linux/man-pages/man2/getpagesize.2.html
 */
export function getpagesize(): number {
  if (pageSize === 0) {
    const size = bind<[]>('int getpagesize()')();
    pageSize = size > 0 ? size : 4096;
  }
  return pageSize;
}
