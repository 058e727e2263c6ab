/** The end of a descriptor that was only mapped or read: nothing can be lost with it. */
import { closeSync } from 'node:fs';

/** Closes it. It is gone even if close(2) fails, and what that says is about writes, of which there were none. */
export function closeDescriptor(fd: number): void {
  try {
    closeSync(fd);
  } catch {}
}
