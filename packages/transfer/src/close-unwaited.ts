/** The end of a descriptor whose filesystem may wait for a server when it is closed. */
import { close } from 'node:fs';
import { closeQuietly, filesystemOf, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';

/**
 * Closes it, by Node, and hears of nothing: here where its filesystem is known to be local, on the thread pool everywhere
 * else, since close(2) may flush to a server (kernel-rules: open-may-wait). The number is the caller's no longer.
 */
export function closeUnwaited(fd: number): void {
  if (isLocalFilesystem(filesystemOf(fd))) closeQuietly(fd);
  else close(fd, () => {});
}
