/** The errors by which splice(2) says "not this way", and not "not at all" (kernel-rules: refused-not-failed). */
import { constants } from '@zerocopy/core-syscalls';
import type { Refusal } from '@zerocopy/transfer';

const { EINVAL, ENOSYS, EOPNOTSUPP, EPERM } = constants;

/** Of either end: of the source into a pipe, and out of a pipe to the destination. */
export const SPLICE_REFUSALS: readonly Refusal[] = [
  {
    errno: EINVAL,
    reason: 'one of the two cannot be spliced, or the destination is open for appending',
    learnt: 'splice(2); Linux 5.10 and later, for files without splice operations',
  },
  { errno: ENOSYS, reason: 'there is no such call here', learnt: 'splice(2); a seccomp filter, gVisor' },
  {
    errno: EOPNOTSUPP,
    reason: 'the socket or filesystem does not do it',
    learnt: "not named by splice(2); the kernel's general answer, as to sendfile(2)",
  },
  { errno: EPERM, reason: 'a filter forbids the call', learnt: 'seccomp(2)' },
];
