/**
 * The files of which this process has met cold pages lately. Those pages have been asked for since, and may still be on
 * their way from the disk: the kernel then counts them as cached, and a read of them waits (kernel-rules: cold-blocks).
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';

/** Milliseconds for which pages may be on their way: 2 MiB of read-ahead from a disk that gives 70 KB/s. */
const ON_THE_WAY = 30_000;
/** Files that are remembered one by one; with more of them all files count as such. */
const FILES_MAX = 1024;
const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;

/** Until when, by performance.now(), for each file. */
const files = new Map<string, number>();
let allUntil = 0;

const statx = Buffer.alloc(syscalls.STATX_SIZE);

/** The same for the same file, by whatever descriptor or name. */
function identity(fd: number): string | undefined {
  const result = syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, statx);
  if (result < 0) return undefined;
  return syscalls.fileIdentity(statx);
}

/** Notes that cold pages of this file have been met, and are about to be asked for. */
export function countColdPages(fd: number): void {
  const until = performance.now() + ON_THE_WAY;
  const file = identity(fd);
  if (file !== undefined && (files.size < FILES_MAX || files.has(file))) files.set(file, until);
  else if (!forgetOld()) allUntil = until;
  else if (file !== undefined) files.set(file, until);
}

/** Drops the files whose pages have arrived since. @returns whether there is room again. */
function forgetOld(): boolean {
  const now = performance.now();
  for (const [file, until] of files) if (until <= now) files.delete(file);
  return files.size < FILES_MAX;
}

/** Whether pages of this file that the kernel calls cached may be still under way. */
export function mayBeOnTheWay(fd: number): boolean {
  if (files.size === 0 && allUntil === 0) return false;
  const now = performance.now();
  if (now < allUntil) return true;
  const file = identity(fd);
  const until = file === undefined ? undefined : files.get(file);
  if (until === undefined) return false;
  if (now < until) return true;
  files.delete(file as string);
  return false;
}
