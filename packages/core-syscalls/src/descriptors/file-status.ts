/** What is known of an open file without asking the server that may keep it (kernel-rules: open-may-wait). */
import { fstatSync } from 'node:fs';
import { constants } from '../constants.js';
import { libcStatus } from '../libc.js';
import { readStatx, STATX_SIZE, statx } from '../syscalls/statx.js';

const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;
/** Of struct statx, in bytes from its start. */
const [INODE, DEVICE] = [32, 136];

const buffer = Buffer.alloc(STATX_SIZE);

const isKnown = (fd: number): boolean =>
  libcStatus().available && statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer) >= 0;

/**
 * Type and permissions, as `mode` of fs.Stats, and bytes, as the kernel knows them now: by statx(2) with AT_STATX_DONT_SYNC, and
 * by fstat(2) where that cannot be called.
 * @throws Node's error, for instance EBADF: `fd` is not open.
 */
export const fileStatus = (fd: number): { readonly mode: number; readonly size: number } =>
  isKnown(fd) ? readStatx(buffer) : fstatSync(fd);

/** Device and inode: the same text for the same file. @throws as {@link fileStatus}. */
export function fileIdentity(fd: number): string {
  if (isKnown(fd)) return `${buffer.readBigUInt64LE(DEVICE)}:${buffer.readBigUInt64LE(INODE)}`;
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return `${dev}:${ino}`;
}
