/** What mmap(2) says of a file that is not mapped here, and may be read instead. */
import { constants } from '@zerocopy/core-syscalls';
import type { Refusal } from '@zerocopy/transfer';

const { EACCES, ENODEV, ENOSYS, EPERM } = constants;

const MMAP_REFUSALS: readonly Refusal[] = [
  {
    errno: ENODEV,
    reason: 'the filesystem maps no files',
    learnt: 'mmap(2); sysfs, FUSE with direct I/O for a shared mapping',
  },
  { errno: EACCES, reason: 'a sandbox forbids it', learnt: 'seccomp(2), gVisor, SELinux execmem' },
  {
    errno: EPERM,
    reason: 'a sandbox forbids it, or the memory file is sealed against writing',
    learnt: 'seccomp(2); mmap(2), of seals and shared mappings',
  },
  { errno: ENOSYS, reason: 'there is no mmap of files here', learnt: 'a seccomp filter' },
];

/**
 * Not by `refusalOf`, which asks the file about EACCES and EPERM: they do not speak of the file here, which is open with all
 * that a mapping needs.
 *
 * @param errno negative.
 */
export function saysUnmappable(errno: number): boolean {
  return MMAP_REFUSALS.some(({ errno: known }) => known === -errno);
}
