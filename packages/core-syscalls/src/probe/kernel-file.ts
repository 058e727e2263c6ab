/** What the kernel says of itself in files, below /proc/sys and /sys. */
import { openSync, readSync } from 'node:fs';
import { closeQuietly } from '../descriptors/close-quietly.js';

/** The text of a small file of the kernel's, without white space at its ends; undefined if it cannot be read. */
export function readKernelFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined; // not on this kernel, or not visible from this container
  }
  try {
    const buffer = Buffer.alloc(4096);
    return buffer.toString('utf8', 0, readSync(fd, buffer)).trim();
  } catch {
    return undefined; // sysfs answers EINVAL for what an interface does not have
  } finally {
    closeQuietly(fd);
  }
}

/** {@link readKernelFile} where the file holds one number; undefined if it does not. */
export function readKernelNumber(path: string): number | undefined {
  const text = readKernelFile(path);
  const number = text === undefined || text === '' ? Number.NaN : Number(text);
  return Number.isFinite(number) ? number : undefined;
}
