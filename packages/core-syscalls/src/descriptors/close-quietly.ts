/** The end of a descriptor that nothing was written to. */
import { closeSync } from 'node:fs';

/** Closes it, by Node, whatever close(2) says: the number is free then, and what that says is about writes. */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {} // EINTR (kernel-rules: eintr), EIO
}
