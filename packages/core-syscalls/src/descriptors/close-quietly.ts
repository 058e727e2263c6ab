/** Closing a descriptor that nothing was written to. */
import { closeSync } from 'node:fs';

/**
 * Closes `fd` by node:fs and ignores errors: the number is free in any case, and an error would be about what was
 * written.
 */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {} // EINTR (kernel-rules: eintr), EIO
}
