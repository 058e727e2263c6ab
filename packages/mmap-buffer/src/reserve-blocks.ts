/** Disk blocks reserved before a file grows, so that a store into its mapping finds them there (kernel-rules: reserve-blocks). */
import { ftruncate, write } from 'node:fs';
import { promisify } from 'node:util';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { callOffThread } from '@zerocopy/transfer';
import { tellAlso } from './tell-also.js';

const { ENOSYS, EOPNOTSUPP, FALLOC_FL_KEEP_SIZE } = constants;
const writeAsync = promisify(write);
const truncateAsync = promisify(ftruncate);
const MiB = 1024 * 1024;

/**
 * Reserves `length` bytes from `end` on, which is where the file ends. Its size may be larger afterwards, by zeros.
 * @throws {SyscallError} ENOSPC, EDQUOT, EFBIG: then it is as it was.
 */
export async function reserveBlocks(fd: number, end: number, length: number, path: string): Promise<void> {
  try {
    const fallocate = (done: (result: number) => void): void =>
      syscalls.fallocateAsync(fd, FALLOC_FL_KEEP_SIZE, end, length, done);
    const result = await callOffThread((done) => uninterruptedAsync(fallocate, done));
    if (result >= 0) return;
    if (result !== -EOPNOTSUPP && result !== -ENOSYS) throw new SyscallError(result, 'fallocate', { path });
    await writeZeros(fd, end, length);
  } catch (error) {
    // Gives back what was reserved beyond the end.
    await truncateAsync(fd, end).catch(tellAlso(error, 'the file could not be cut back'));
    throw error;
  }
}

/** As posix_fallocate(3) does where the filesystem has no call for it. */
async function writeZeros(fd: number, end: number, length: number): Promise<void> {
  const zeros = Buffer.alloc(Math.min(length, MiB));
  for (let at = 0; at < length; ) {
    at += (await writeAsync(fd, zeros, 0, Math.min(zeros.length, length - at), end + at)).bytesWritten;
  }
}
