/** statx(2), since Linux 4.11, and statmount(2), since Linux 6.8. */
import { abi } from '../abi.js';
import { asyncResult, bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

/** Bytes of a struct statx (include/uapi/linux/stat.h). */
export const STATX_SIZE = 256;

const prototype = 'intptr_t syscall(long number, long dirfd, const char *path, long flags, long mask, void *buf)';
let native: NativeFunction<[number, number, string, number, number, Buffer]> | undefined;
let nativeStatmount: NativeFunction<[number, Pointer, Pointer, number, number]> | undefined;

/**
 * `int statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *statxbuf)`: the status of a file.
 * @param path relative to `dirfd`; '' with AT_EMPTY_PATH: the file that `dirfd` is a descriptor of.
 * @param flags AT_* flags.
 * @param mask STATX_* flags: what is wanted. More, or less, may be answered.
 * @param buffer at least {@link STATX_SIZE} bytes; read it with {@link readStatx}.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/statx.2.html
 */
export function statx(dirfd: number, path: string, flags: number, mask: number, buffer: Buffer): number {
  native ??= bind(prototype);
  return kernelResult(native(abi.numbers.statx, dirfd, path, flags, mask, buffer));
}

/**
 * `int statmount(struct mnt_id_req *request, struct statmount *result, size_t size, unsigned int flags)`, since Linux 6.8.
 * It answers from what the kernel holds, where fstatfs(2) asks the server of a FUSE or NFS mount.
 * @param request u32 size, u32 unused, u64 unique mount id, u64 mask of what is wanted.
 * @returns 0 or a negative errno: ENOENT for mounts that are not in this namespace.
 * @see https://man7.org/linux/man-pages/man2/statmount.2.html
 */
export function statmount(request: Pointer, result: Pointer, size: number): number {
  nativeStatmount ??= bind('intptr_t syscall(long number, void *request, void *result, size_t size, long flags)');
  return kernelResult(nativeStatmount(abi.numbers.statmount, request, result, size, 0));
}

/** {@link statx} on libuv's thread pool: for paths that may lead to a server. */
export function statxAsync(
  dirfd: number,
  path: string,
  flags: number,
  mask: number,
  buffer: Buffer,
  callback: (result: number) => void,
): void {
  native ??= bind(prototype);
  native.async(abi.numbers.statx, dirfd, path, flags, mask, buffer, asyncResult(callback));
}

/** The fields of a struct statx that this project uses. Sizes in bytes. */
export interface Statx {
  /** Which fields the filesystem filled in. */
  readonly mask: number;
  /** STATX_ATTR_* flags, those of the first 32 bits. */
  readonly attributes: number;
  /** Names the file has; 0: closing it frees its blocks. */
  readonly nlink: number;
  /** Type and permissions: S_IFMT and the lower 12 bits. */
  readonly mode: number;
  /** Size of the file, in bytes. */
  readonly size: number;
  /** What it takes on the disk, in units of 512 bytes. */
  readonly blocks: number;
  /** When the content was last modified: milliseconds since 1970, with fractions. */
  readonly modifiedMs: number;
  /** Alignment of memory for O_DIRECT, in bytes; 0: not supported. Meaningful if `mask` has STATX_DIOALIGN. */
  readonly dioMemAlign: number;
  /** Alignment of offsets and lengths for O_DIRECT, in bytes; 0: not supported. */
  readonly dioOffsetAlign: number;
}

const uint64 = (buffer: Buffer, at: number): number => buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
const seconds = (buffer: Buffer, at: number): number => buffer.readUInt32LE(at) + buffer.readInt32LE(at + 4) * 2 ** 32;

/**
 * Reads what {@link statx} has written.
 * @param buffer at least {@link STATX_SIZE} bytes.
 */
export function readStatx(buffer: Buffer): Statx {
  return {
    mask: buffer.readUInt32LE(0),
    attributes: buffer.readUInt32LE(8),
    nlink: buffer.readUInt32LE(16),
    mode: buffer.readUInt16LE(28),
    size: uint64(buffer, 40),
    blocks: uint64(buffer, 48),
    modifiedMs: seconds(buffer, 112) * 1e3 + buffer.readUInt32LE(120) / 1e6,
    dioMemAlign: buffer.readUInt32LE(152),
    dioOffsetAlign: buffer.readUInt32LE(156),
  };
}

/** Device and inode of a struct statx, as one text: the same for two descriptors if, and only if, they are the same file. */
export function fileIdentity(buffer: Buffer): string {
  const [major, minor] = [buffer.readUInt32LE(136), buffer.readUInt32LE(140)];
  return `${major}:${minor}:${buffer.readBigUInt64LE(32)}`;
}

/** Bytes of what {@link copyStatxIdentity} copies. */
export const STATX_IDENTITY_SIZE = 60;

/**
 * Copies what stays the same as long as a path leads to the same file and that has not been changed: inode (u64, at 0),
 * size in bytes (u64, at 8), last change and last modification (at 16 and 32, each s64 seconds and u32 nanoseconds, padded
 * to 16 bytes), major and minor number of the device (u32, at 48 and 52), type and permissions (u16, at 56, padded).
 * @param target at least {@link STATX_IDENTITY_SIZE} bytes.
 */
export function copyStatxIdentity(buffer: Buffer, target: Buffer): void {
  buffer.copy(target, 0, 32, 48);
  buffer.copy(target, 16, 96, 128);
  buffer.copy(target, 48, 136, 144);
  buffer.copy(target, 56, 28, 32);
}

/** Where a word of an identity is in a struct statx. */
const placeOf = (at: number): number => (at < 16 ? 32 + at : at < 48 ? 80 + at : at < 56 ? 88 + at : 28);

const sameWords = (buffer: Buffer, identity: Buffer, from: number, to: number): boolean => {
  for (let at = from; at < to; at += 4) {
    if (buffer.readUInt32LE(placeOf(at)) !== identity.readUInt32LE(at)) return false;
  }
  return true;
};

/** Whether {@link copyStatxIdentity} would copy what is in `identity` already: the same file, unchanged. Copies nothing. */
export function hasStatxIdentity(buffer: Buffer, identity: Buffer): boolean {
  return sameWords(buffer, identity, 0, STATX_IDENTITY_SIZE);
}

/** Whether device and inode are those of `identity`: the same file, changed since or not. */
export function isSameStatxFile(buffer: Buffer, identity: Buffer): boolean {
  return sameWords(buffer, identity, 0, 8) && sameWords(buffer, identity, 48, 56);
}
