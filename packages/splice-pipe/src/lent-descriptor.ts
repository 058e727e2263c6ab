/**
 * Descriptors that callers lend by their number. libuv puts what it opens into non-blocking mode, and that belongs to the
 * open file, which the caller, its children and its parent may share: a shell whose terminal or pipe stays non-blocking
 * fails with EAGAIN. So the mode is taken back as soon as no transfer of this thread uses the open file any more.
 */
import { fstatSync } from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { OwnedDescriptor } from '@zerocopy/transfer';

const { F_GETFL, F_SETFL, O_NONBLOCK } = constants;
/** O_RDONLY, O_WRONLY or O_RDWR: the two ends of a pipe are open files of their own. */
const ACCESS_MODE = 3;

interface Lent {
  users: number;
  readonly restore: (() => void)[];
}

const lent = new Map<string, Lent>();

/** A duplicate is kept meanwhile: the one in use is closed where its connection fails. */
function restorer(fd: number): (() => void) | undefined {
  const own = OwnedDescriptor.tryDuplicate(fd);
  if (own === null) return undefined;
  return () => {
    const flags = syscalls.fcntl(own.fd, F_GETFL);
    if (flags >= 0) syscalls.fcntl(own.fd, F_SETFL, flags & ~O_NONBLOCK);
    own.close();
  };
}

/**
 * To be called before libuv is given a duplicate of `fd`.
 * @returns gives it back: in blocking mode, if it was in it, once nobody else uses it. Idempotent.
 */
export function lend(fd: number): () => void {
  const flags = syscalls.fcntl(fd, F_GETFL);
  if (flags < 0) return () => {};
  const { dev, ino } = fstatSync(fd, { bigint: true });
  const key = `${dev}:${ino}:${flags & ACCESS_MODE}`;
  const entry = lent.get(key) ?? { users: 0, restore: [] };
  lent.set(key, entry);
  entry.users++;
  const restore = (flags & O_NONBLOCK) === 0 ? restorer(fd) : undefined;
  if (restore !== undefined) entry.restore.push(restore);
  let given = false;
  return () => {
    if (given) return;
    given = true;
    if (--entry.users > 0) return;
    lent.delete(key);
    for (const take of entry.restore) take();
  };
}
