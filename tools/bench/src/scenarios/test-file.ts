/** Files to be served: no two blocks alike, so that a lost or repeated one shows in the hash. */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';

export const KiB = 1024;
export const MiB: number = 1024 * KiB;
export const GiB: number = 1024 * MiB;

export interface TestFile {
  readonly path: string;
  readonly size: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** @param without a byte that is not to be found in it, for those who search. */
export function writeTestFile(path: string, size: number, without?: number): TestFile {
  const block = Buffer.allocUnsafe(Math.min(size, MiB));
  for (let at = 0; at + 4 <= block.length; at += 4) {
    block.writeUInt32LE((Math.imul(at, 2654435761) ^ (at >>> 7)) >>> 0, at);
  }
  const hash = createHash('sha256');
  const fd = openSync(path, 'w');
  for (let at = 0, n = 0; at < size; at += MiB, n++) {
    if (block.length >= 4) block.writeUInt32LE(n, 0);
    if (without !== undefined) replaceByte(block, without);
    const part = block.subarray(0, Math.min(MiB, size - at));
    writeSync(fd, part);
    hash.update(part);
  }
  closeSync(fd);
  return { path, size, sha256: hash.digest('hex') };
}

function replaceByte(block: Buffer, byte: number): void {
  for (let at = block.indexOf(byte); at >= 0; at = block.indexOf(byte, at)) block[at] = byte ^ 0xff;
}

/** Drops what the page cache has of a file: posix_fadvise(2), POSIX_FADV_DONTNEED; only clean pages go. */
export function dropFromCache(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_DONTNEED);
  closeSync(fd);
}

/** Bytes of a file in the page cache. */
export function residentBytes(path: string): number {
  const fd = openSync(path, 'r');
  const counts = new BigUint64Array(5);
  const told = syscalls.cachestat(fd, BigUint64Array.of(0n, 0n), counts);
  closeSync(fd);
  return told < 0 ? Number.NaN : Number(counts[0]) * syscalls.getpagesize();
}

export function sizeName(size: number): string {
  if (size < MiB) return `${size / KiB} KiB`;
  return size < GiB ? `${size / MiB} MiB` : `${size / GiB} GiB`;
}
