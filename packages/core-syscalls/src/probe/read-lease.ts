/** Whether a read lease can be had on an open file. */
import { constants } from '../constants.js';
import { fcntl } from '../syscalls/fcntl.js';

const { F_RDLCK, F_SETLEASE, F_UNLCK } = constants;

/**
 * Takes a read lease on a file, and gives it up at once.
 * @returns 0, or a negative errno: EAGAIN if the file is open for writing anywhere (kernel-rules: lease-who).
 */
export function tryReadLease(fd: number): number {
  const taken = fcntl(fd, F_SETLEASE, F_RDLCK);
  return taken < 0 ? taken : fcntl(fd, F_SETLEASE, F_UNLCK);
}
