/** What is known of an open file without asking the server that may keep it. */
import { fstatSync } from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { filesystemOf, isLocalFilesystem, isRegularFile } from '@zerocopy/core-syscalls/descriptors';

const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;
const buffer = Buffer.alloc(syscalls.STATX_SIZE);

/** As the kernel knows it now: statx(2) with AT_STATX_DONT_SYNC; by fstat(2) where that cannot be called. Size in bytes. */
export function fileStatus(fd: number): { readonly isFile: boolean; readonly size: number } {
  const result = syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer);
  const status = result < 0 ? fstatSync(fd) : syscalls.readStatx(buffer);
  return { isFile: isRegularFile(status), size: status.size };
}

/** Bytes; see {@link fileStatus}. */
export function fileSize(fd: number): number {
  return fileStatus(fd).size;
}

/** Whether mapping the file waits for no server; else it is mapped on the thread pool (kernel-rules: open-may-wait). */
export function isMappedAtOnce(fd: number): boolean {
  return isLocalFilesystem(filesystemOf(fd));
}
