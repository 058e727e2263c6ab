/**
 * What must be a multiple of what for O_DIRECT (kernel-rules: direct-alignment): asked of the kernel, assumed where it does
 * not tell, and found out by trying where the file can be read.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { alignedBuffer } from './aligned-memory.js';

/** What must be a multiple of what, in bytes. All are 1 where the bytes go through the page cache. */
export interface Alignment {
  /** The address of the memory: whole pages at least, which the kernel does not ask for (kernel-rules: direct-memory-pages). */
  readonly memory: number;
  /** Offset and length of a write. */
  readonly offset: number;
  /** Offset and length of a read: at most `offset`. */
  readonly readOffset: number;
}

/** Through the page cache nothing needs to be aligned. */
export const UNALIGNED: Alignment = { memory: 1, offset: 1, readOffset: 1 };

/** What is assumed where the kernel does not tell. */
const ASSUMED = 4096;
/** What is tried where the kernel does not tell: sectors, pages, and the largest blocks that filesystems have. */
const TRIED = [512, ASSUMED, 65_536];

const { AT_EMPTY_PATH, EINVAL, STATX_DIOALIGN, STATX_DIO_READ_ALIGN } = constants;
const status = Buffer.alloc(syscalls.STATX_SIZE);

/**
 * What the kernel tells of an open file, since Linux 6.1.
 * @returns undefined: it does not tell; null: the filesystem does not support direct I/O on this file.
 */
export function toldAlignment(fd: number): Alignment | undefined | null {
  const asked = STATX_DIOALIGN | STATX_DIO_READ_ALIGN;
  if (syscalls.statx(fd, '', AT_EMPTY_PATH, asked, status) < 0) return undefined;
  const { mask, dioMemAlign, dioOffsetAlign, dioReadOffsetAlign } = syscalls.readStatx(status);
  if ((mask & STATX_DIOALIGN) === 0) return undefined;
  if (dioOffsetAlign === 0 || dioMemAlign === 0) return null;
  const readOffset = (mask & STATX_DIO_READ_ALIGN) === 0 ? 0 : dioReadOffsetAlign;
  const memory = Math.max(dioMemAlign, syscalls.getpagesize());
  return { memory, offset: dioOffsetAlign, readOffset: readOffset || dioOffsetAlign };
}

/** Reads at the start of a file that is open with O_DIRECT, and calls back with a count or a negative errno. */
export type TryRead = (memory: Buffer, length: number) => Promise<number>;

/**
 * Where the kernel does not tell: the smallest alignment of {@link TRIED} that reads take, and 4096 at least for writes.
 * @param tryRead undefined: the file cannot be read, and 4096 is assumed.
 * @returns undefined if it takes none of them.
 */
export async function foundAlignment(tryRead: TryRead | undefined): Promise<Alignment | undefined> {
  const page = Math.max(ASSUMED, syscalls.getpagesize());
  if (tryRead === undefined) return { memory: page, offset: ASSUMED, readOffset: ASSUMED };
  for (const size of TRIED) {
    const memory = Math.max(size, page); // that of the memory is not what is tried
    if ((await tryRead(alignedBuffer(size, memory), size)) === -EINVAL) continue;
    return { memory, offset: Math.max(size, ASSUMED), readOffset: size };
  }
  return undefined;
}
