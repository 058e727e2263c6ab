/** What mmap(2) says of a file that is not mapped here, and may be read instead. */
import { constants } from '@zerocopy/core-syscalls';

const { EACCES, ENODEV, ENOSYS, EPERM } = constants;

/**
 * With the reason that a kernel has for each. EACCES and EPERM here do not speak of the file, which is open with all that a
 * mapping needs.
 */
const REFUSALS: readonly (readonly [errno: number, reason: string])[] = [
  [ENODEV, 'the filesystem maps no files: sysfs, FUSE with direct I/O for a shared mapping'],
  [EACCES, 'a sandbox (seccomp, gVisor, SELinux execmem)'],
  [EPERM, 'a sandbox; a memory file sealed against writing, for a shared mapping'],
  [ENOSYS, 'a sandbox that knows no mmap of files'],
];

/** @param errno negative. */
export function saysUnmappable(errno: number): boolean {
  return REFUSALS.some(([known]) => known === -errno);
}
