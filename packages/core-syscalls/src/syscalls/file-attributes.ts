/**
 * What a file has besides its bytes, set by its path: extended attributes, times to the nanosecond; and files that are
 * neither regular ones nor directories.
 */
import { abi } from '../abi.js';
import { constants } from '../constants.js';
import { bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

/** A path: a string, or the bytes of a name that is not UTF-8, without a NUL. */
export type SyscallPath = string | Uint8Array;

let nativeList: NativeFunction<[Pointer, Pointer, number]> | undefined;
let nativeGet: NativeFunction<[Pointer, Pointer, Pointer, number]> | undefined;
let nativeSet: NativeFunction<[Pointer, Pointer, Pointer, number, number]> | undefined;
let nativeTimes: NativeFunction<[number, Pointer, Pointer, number]> | undefined;
let nativeMknod: NativeFunction<[number, number, Pointer, number, number]> | undefined;

const terminated = (path: SyscallPath): Buffer =>
  typeof path === 'string' ? Buffer.from(`${path}\0`) : Buffer.concat([path, Buffer.of(0)]);

/**
 * `ssize_t llistxattr(const char *path, char *list, size_t size)`: the names of a file's extended attributes, each ended by
 * a NUL. A symbolic link is not followed.
 * @param list an empty one asks for the size, in bytes.
 * @returns bytes, or a negative errno: ERANGE if `list` is too small, EOPNOTSUPP where there are no such attributes.
 * @see https://man7.org/linux/man-pages/man2/listxattr.2.html
 */
export function llistxattr(path: SyscallPath, list: Uint8Array): number {
  nativeList ??= bind('intptr_t llistxattr(void *path, void *list, size_t size)');
  return kernelResult(nativeList(terminated(path), list.length === 0 ? null : list, list.length));
}

/**
 * `ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size)`: the value of an extended attribute.
 * @param value an empty one asks for the size, in bytes.
 * @returns bytes, or a negative errno: ENODATA if there is none, ERANGE if `value` is too small.
 * @see https://man7.org/linux/man-pages/man2/getxattr.2.html
 */
export function lgetxattr(path: SyscallPath, name: SyscallPath, value: Uint8Array): number {
  nativeGet ??= bind('intptr_t lgetxattr(void *path, void *name, void *value, size_t size)');
  return kernelResult(nativeGet(terminated(path), terminated(name), value.length === 0 ? null : value, value.length));
}

/**
 * `int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)`: sets an extended
 * attribute, whether or not there is one.
 * @returns 0 or a negative errno: EOPNOTSUPP where the filesystem has none, EPERM for a namespace that this user may not use.
 * @see https://man7.org/linux/man-pages/man2/setxattr.2.html
 */
export function lsetxattr(path: SyscallPath, name: SyscallPath, value: Uint8Array): number {
  nativeSet ??= bind('int lsetxattr(void *path, void *name, void *value, size_t size, int flags)');
  return kernelResult(nativeSet(terminated(path), terminated(name), value, value.length, 0));
}

const NANOSECONDS = 1_000_000_000n;
const AT_SYMLINK_NOFOLLOW = 0x100;

/**
 * `int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)`: sets both times of a file. A
 * symbolic link is not followed.
 * @param accessed, modified nanoseconds since 1970.
 * @returns 0 or a negative errno: EPERM for a file of another user.
 * @see https://man7.org/linux/man-pages/man2/utimensat.2.html
 */
export function utimensat(path: SyscallPath, accessed: bigint, modified: bigint): number {
  nativeTimes ??= bind('int utimensat(int dirfd, void *path, void *times, int flags)');
  const times = new BigInt64Array(4);
  for (const [index, time] of [accessed, modified].entries()) {
    const nanoseconds = ((time % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
    times[index * 2] = (time - nanoseconds) / NANOSECONDS;
    times[index * 2 + 1] = nanoseconds;
  }
  return kernelResult(nativeTimes(constants.AT_FDCWD, terminated(path), times, AT_SYMLINK_NOFOLLOW));
}

/**
 * `int mknodat(int dirfd, const char *path, mode_t mode, dev_t dev)`: makes a FIFO, a socket, a device or an empty file.
 * @param mode its type and permissions, of which the umask is taken.
 * @param device as `rdev` of fs.Stats; of a device only.
 * @returns 0 or a negative errno: EEXIST, EPERM for a device without CAP_MKNOD.
 * @see https://man7.org/linux/man-pages/man2/mknodat.2.html
 */
export function mknodat(path: SyscallPath, mode: number, device: number): number {
  nativeMknod ??= bind('intptr_t syscall(long number, long dirfd, void *path, ulong mode, ulong device)');
  return kernelResult(nativeMknod(abi.numbers.mknodat, constants.AT_FDCWD, terminated(path), mode, device));
}
