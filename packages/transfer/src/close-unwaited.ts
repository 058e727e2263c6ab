/** The end of a descriptor whose filesystem may wait for a server, or for a disk, when it is closed. */
import { close } from 'node:fs';
import { closeQuietly, closesAtOnce } from '@zerocopy/core-syscalls/descriptors';

/**
 * Closes it, by Node, and hears of nothing: here where that cannot wait, on the thread pool everywhere else, since close(2)
 * may flush to a server (kernel-rules: open-may-wait) or free the blocks of a file that was removed. The number is the
 * caller's no longer; -1 is none.
 */
export function closeUnwaited(fd: number): void {
  if (fd < 0) return;
  if (closesAtOnce(fd)) closeQuietly(fd);
  else close(fd, () => {});
}
