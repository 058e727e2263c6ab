/** What of a file is in the page cache. */
import { closeSync, fsyncSync, openSync, readSync } from 'node:fs';
import koffi from 'koffi';

const CACHESTAT = 451; // the same number on x86-64 and arm64
const DONTNEED = 4;
const library = process.platform === 'linux' ? koffi.load(null) : undefined;
const cachestat = library?.func('intptr_t syscall(long number, long fd, void *range, void *stat, long flags)');
const fadvise = library?.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');

/** Bytes of the range that are resident; undefined where the kernel does not tell (before 6.5). `length` 0: to the end. */
export function residentBytes(path: string, start = 0, length = 0): number | undefined {
  const fd = openSync(path, 'r');
  try {
    const counts = new BigUint64Array(5);
    const range = BigUint64Array.of(BigInt(start), BigInt(length));
    return cachestat?.(CACHESTAT, fd, range, counts, 0) === 0 ? Number(counts[0]) * 4096 : undefined;
  } finally {
    closeSync(fd);
  }
}

/** Takes all of a file out of the page cache. */
export function evict(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  fadvise?.(fd, 0, 0, DONTNEED);
  closeSync(fd);
}

/** Brings a range into the page cache, a little at a time: nothing is read ahead that is not meant. */
export function touch(path: string, start: number, length: number): void {
  const fd = openSync(path, 'r');
  fadvise?.(fd, 0, 0, 1); // POSIX_FADV_RANDOM
  const buffer = Buffer.alloc(65_536);
  for (let at = start; at < start + length; at += buffer.length) readSync(fd, buffer, 0, buffer.length, at);
  closeSync(fd);
}
