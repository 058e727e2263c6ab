/**
 * What a system call's error means: "not this way", after which another way is tried at the same byte, or "not at all"
 * (kernel-rules: refused-not-failed). Each engine keeps the table of its call; this is the shape of the tables, and the one
 * way to ask them.
 */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { filesystemOf } from '@zerocopy/core-syscalls/descriptors';

/** One errno by which the kernel says that a call cannot be made this way. */
export interface Refusal {
  /** Positive, as in `constants`. */
  readonly errno: number;
  /** What it says, in words: to follow a colon. */
  readonly reason: string;
  /** Where it was learnt: a manual page, a kernel version, an issue. */
  readonly learnt: string;
  /** It is a refusal only if one of the two files is on one of these filesystems, by their names in `filesystemOf`. */
  readonly filesystems?: readonly string[];
}

const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, EACCES, EPERM, STATX_ATTR_IMMUTABLE } = constants;

const statx = Buffer.alloc(syscalls.STATX_SIZE);

/** Whether the file itself says why it cannot be written to (chattr(1) +i): no other way would do better. */
function forbidsWriting(fd: number): boolean {
  if (syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, statx) < 0) return false;
  return (syscalls.readStatx(statx).attributes & STATX_ATTR_IMMUTABLE) !== 0;
}

const isOn = (fd: number | undefined, filesystems: readonly string[]): boolean =>
  fd !== undefined && filesystems.includes(filesystemOf(fd).name);

/**
 * The row by which `table` takes a call's answer for a refusal; undefined: it is an error.
 *
 * EPERM and EACCES have two meanings: a filter or a filesystem forbids the call, or the file may not be written to.
 * They are believed to be a refusal only after the descriptors have been asked, and never where there is none to ask.
 *
 * @param errno as the kernel answers it: negative.
 * @param destination the descriptor that was written to.
 * @param source the descriptor that was read, for rows that hold on some filesystems only.
 */
export function refusalOf(
  table: readonly Refusal[],
  errno: number,
  destination?: number,
  source?: number,
): Refusal | undefined {
  const row = table.find(
    ({ errno: refused, filesystems }) =>
      refused === -errno && (filesystems === undefined || isOn(destination, filesystems) || isOn(source, filesystems)),
  );
  if (row === undefined || (errno !== -EPERM && errno !== -EACCES)) return row;
  return destination === undefined || destination < 0 || forbidsWriting(destination) ? undefined : row;
}

/** A refusal as a transfer tells it in its `fallbackReason`. @param call for instance 'sendfile'. */
export function describeRefusal(call: string, { errno, reason }: Refusal): string {
  return `${call} was refused by the kernel (${new SyscallError(errno, call).code}): ${reason}`;
}
