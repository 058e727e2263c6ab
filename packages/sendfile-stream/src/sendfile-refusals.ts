/** The errors by which sendfile(2) says "not this way", and not "not at all" (kernel-rules: refused-not-failed). */
import { constants } from '@zerocopy/core-syscalls';
import type { Refusal } from '@zerocopy/transfer';

const { EACCES, EAGAIN, EINVAL, ENOSYS, EOPNOTSUPP, EOVERFLOW, EPERM } = constants;

/** Into whatever it goes. */
export const SENDFILE_REFUSALS: readonly Refusal[] = [
  {
    errno: EINVAL,
    reason: 'the file cannot be sent, or its destination is open for appending',
    learnt: 'sendfile(2); several files of procfs; Go #79660',
  },
  { errno: ENOSYS, reason: 'there is no such call here', learnt: 'sendfile(2); a seccomp filter, gVisor' },
  { errno: EOPNOTSUPP, reason: 'the filesystem does not do it', learnt: "Go's sendfile_unix.go" },
  { errno: EOVERFLOW, reason: 'the range is too large for the filesystem', learnt: 'sendfile(2)' },
  { errno: EPERM, reason: 'a filter forbids the call', learnt: 'seccomp(2); Bun #41474' },
  { errno: EACCES, reason: 'a filter forbids the call', learnt: 'seccomp(2), whose filters choose the error' },
];

/** Into a file, too: none says EAGAIN, and what else may be open as one is left to Node. */
export const FILE_SENDFILE_REFUSALS: readonly Refusal[] = [
  ...SENDFILE_REFUSALS,
  {
    errno: EAGAIN,
    reason: 'the destination is not ready, and cannot be waited for',
    learnt: 'splice(2) into a file (kernel-rules: not-pollable)',
  },
];
