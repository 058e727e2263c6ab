/** What is known of an open file without asking the server that may keep it. */
import { fileStatus, filesystemOf, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';

/** Bytes; see fileStatus of core-syscalls. */
export function fileSize(fd: number): number {
  return fileStatus(fd).size;
}

/** Whether mapping the file waits for no server; else it is mapped on the thread pool (kernel-rules: open-may-wait). */
export function isMappedAtOnce(fd: number): boolean {
  return isLocalFilesystem(filesystemOf(fd));
}
