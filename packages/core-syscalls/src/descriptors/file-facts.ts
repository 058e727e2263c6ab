/** What an open file is, asked once and without waiting for anybody: one statx(2), whose answer is handed on. */
import { fstatSync } from 'node:fs';
import { constants } from '../constants.js';
import { copyStatxIdentity, readStatx, STATX_SIZE, type Statx, statx } from '../syscalls/statx.js';
import { type Filesystem, filesystemOf, filesystemOfMagic } from './filesystem.js';

const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, STATX_MNT_ID_UNIQUE } = constants;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFSOCK = 0o140000;
const S_IFIFO = 0o010000;
const S_IFDIR = 0o040000;
const S_IFBLK = 0o060000;

/** The facts of an open file. Also of one that was opened with O_PATH, only to be looked at. */
export interface FileFacts {
  /** Its type and permissions, as `mode` of fs.Stats. */
  readonly mode: number;
  /** Bytes; not to be believed on a filesystem of kind 'pseudo' (kernel-rules: st-size-lies). */
  readonly size: number;
  /** Units of 512 bytes that it occupies. 0: it is a hole, stored in its inode, or its filesystem does not tell. */
  readonly blocks: number;
  /** Names that it has; 0: it has been removed, and its last close frees its blocks. */
  readonly links: number;
  /** When its content was last modified: milliseconds since 1970, with fractions, as `mtimeMs` of fs.Stats. */
  readonly modifiedMs: number;
  /** The filesystem it is on; of a socket, a pipe or a FIFO, whose bytes are on none, the kernel's own. */
  readonly filesystem: Filesystem;
}

/** For what is in the kernel only: PIPEFS_MAGIC, include/uapi/linux/magic.h. */
const PIPEFS_MAGIC = 0x50495045;

const buffer = Buffer.alloc(STATX_SIZE);

/**
 * Asks the kernel for what it knows of an open file; no server is asked (AT_STATX_DONT_SYNC), where there is statx(2).
 * @param identity is filled in, where it is given and there is statx(2): see copyStatxIdentity.
 * @throws Node's error, for instance EBADF: `fd` is not open.
 */
export function factsOf(fd: number, identity?: Buffer): FileFacts {
  const mask = STATX_BASIC_STATS | STATX_MNT_ID_UNIQUE;
  if (statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mask, buffer) < 0) {
    const { mode, size, blocks, nlink, mtimeMs } = fstatSync(fd);
    const filesystem = isPollable({ mode }) ? filesystemOfMagic(PIPEFS_MAGIC) : filesystemOf(fd);
    return { mode, size, blocks, links: nlink, modifiedMs: mtimeMs, filesystem };
  }
  if (identity !== undefined) copyStatxIdentity(buffer, identity);
  const { mode, size, blocks, nlink, modifiedMs }: Statx = readStatx(buffer);
  const filesystem = isPollable({ mode }) ? filesystemOfMagic(PIPEFS_MAGIC) : filesystemOf(fd, buffer);
  return { mode, size, blocks, links: nlink, modifiedMs, filesystem };
}

/** Whether it is a regular file: bytes at positions, neither a directory nor a device nor a pipe. */
export function isRegularFile({ mode }: Pick<FileFacts, 'mode'>): boolean {
  return (mode & S_IFMT) === S_IFREG;
}

/** Whether it is a directory. */
export function isDirectory({ mode }: Pick<FileFacts, 'mode'>): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

/** Whether it is a disk, or a part of one. */
export function isBlockDevice({ mode }: Pick<FileFacts, 'mode'>): boolean {
  return (mode & S_IFMT) === S_IFBLK;
}

/** Whether it is a socket, a pipe or a FIFO: what libuv can wait for. */
export function isPollable({ mode }: Pick<FileFacts, 'mode'>): boolean {
  const type = mode & S_IFMT;
  return type === S_IFSOCK || type === S_IFIFO;
}
