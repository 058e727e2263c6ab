/** statx(2), since Linux 4.11. */
import { abi } from '../abi.js';
import { bind, kernelResult, type NativeFunction } from '../libc.js';

/** Bytes of a struct statx (include/uapi/linux/stat.h). */
export const STATX_SIZE = 256;

let native: NativeFunction<[number, number, string, number, number, Buffer]> | undefined;

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
  native ??= bind('intptr_t syscall(long number, long dirfd, const char *path, long flags, long mask, void *buf)');
  return kernelResult(native(abi.numbers.statx, dirfd, path, flags, mask, buffer));
}

/** The fields of a struct statx that this project uses. Sizes in bytes. */
export interface Statx {
  /** Which fields the filesystem filled in. */
  readonly mask: number;
  /** Names the file has; 0: closing it frees its blocks. */
  readonly nlink: number;
  /** Type and permissions: S_IFMT and the lower 12 bits. */
  readonly mode: number;
  /** Size of the file, in bytes. */
  readonly size: number;
  /** What it takes on the disk, in units of 512 bytes. */
  readonly blocks: number;
  /** Alignment of memory for O_DIRECT, in bytes; 0: not supported. Meaningful if `mask` has STATX_DIOALIGN. */
  readonly dioMemAlign: number;
  /** Alignment of offsets and lengths for O_DIRECT, in bytes; 0: not supported. */
  readonly dioOffsetAlign: number;
}

const uint64 = (buffer: Buffer, at: number): number => buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;

/**
 * Reads what {@link statx} has written.
 * @param buffer at least {@link STATX_SIZE} bytes.
 */
export function readStatx(buffer: Buffer): Statx {
  return {
    mask: buffer.readUInt32LE(0),
    nlink: buffer.readUInt32LE(16),
    mode: buffer.readUInt16LE(28),
    size: uint64(buffer, 40),
    blocks: uint64(buffer, 48),
    dioMemAlign: buffer.readUInt32LE(152),
    dioOffsetAlign: buffer.readUInt32LE(156),
  };
}
