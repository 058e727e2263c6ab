/** What the page cache holds of a file, and the calls by which it is written back and dropped. */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { callOffThread } from './off-thread.js';

const { MAP_SHARED, POSIX_FADV_DONTNEED, PROT_NONE } = constants;
const { SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE } = constants;
const WRITE_BACK = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

/** A part of a file, in bytes: `end` is exclusive. */
export interface FileRange {
  readonly start: number;
  readonly end: number;
}

const asked = new BigUint64Array(2);
const counted = new BigUint64Array(5);

/**
 * The parts of a range whose pages are not in the page cache; none where that cannot be asked.
 * @param range `start` lies at the beginning of a page.
 */
export function missingPages(fd: number, { start, end }: FileRange): readonly FileRange[] {
  const page = syscalls.getpagesize();
  asked[0] = BigInt(start);
  asked[1] = BigInt(end - start);
  if (syscalls.cachestat(fd, asked, counted) === 0) {
    const resident = Number(counted[0]);
    if (resident === 0) return [{ start, end }];
    if (resident >= (end - start) / page) return [];
  }
  const address = syscalls.mmap(null, end - start, PROT_NONE, MAP_SHARED, fd, start);
  if (address < 0) return [];
  const vector = new Uint8Array(Math.ceil((end - start) / page));
  const told = syscalls.mincore(address, end - start, vector);
  syscalls.munmap(address, end - start);
  if (told < 0) return [];
  const missing: FileRange[] = [];
  let from = -1;
  for (let index = 0; index <= vector.length; index++) {
    const isMissing = index < vector.length && ((vector[index] as number) & 1) === 0;
    if (isMissing && from < 0) from = index;
    else if (!isMissing && from >= 0) {
      missing.push({ start: start + from * page, end: start + index * page });
      from = -1;
    }
  }
  return missing;
}

/** Starts to write the dirty pages of a range to the disk. @returns 0, or a negative errno. */
export function beginWriteBack(fd: number, start: number, length: number): Promise<number> {
  return callOffThread((done) => syscalls.syncFileRangeAsync(fd, start, length, SYNC_FILE_RANGE_WRITE, done));
}

/** Writes the dirty pages of a range to the disk, and waits for it. @returns 0, or a negative errno. */
export function writeBack(fd: number, start: number, length: number): Promise<number> {
  return callOffThread((done) => syscalls.syncFileRangeAsync(fd, start, length, WRITE_BACK, done));
}

/**
 * Drops the pages of a range, but those that are dirty, mapped, or still being sent. @param length 0: to the end of the file.
 * @returns 0, or a negative errno.
 */
export function dropPages(fd: number, start: number, length: number): Promise<number> {
  return callOffThread((done) => syscalls.posixFadviseAsync(fd, start, length, POSIX_FADV_DONTNEED, done));
}
