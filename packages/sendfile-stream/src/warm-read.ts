/** Reading what is in the page cache, on this thread, without waiting for a disk. */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { countColdPages } from './cold-pages.js';
import { feature } from './feature.js';
import { livesInMemory } from './source.js';

const { EAGAIN, EINTR, EOPNOTSUPP, RWF_NOWAIT } = constants;

/** Whether {@link readWarm} ever reads anything here. */
export const canReadWarm = (): boolean => feature('preadvNowait').available;

/**
 * Reads up to `length` bytes into the target of `memory`.
 * @param inMemory whether the file is known to live on a filesystem that is in memory, which refuses RWF_NOWAIT.
 * @returns bytes, of which fewer than `length` are in the page cache, or in the file; 0 at its end; a negative errno, for
 * instance EAGAIN where not even the first byte can be had without waiting.
 */
export function readWarm(
  fd: number,
  memory: syscalls.Iovec,
  length: number,
  position: number,
  inMemory = false,
): number {
  if (!canReadWarm()) return -EOPNOTSUPP;
  syscalls.setIovecLength(memory, length);
  let result = -EOPNOTSUPP;
  if (!inMemory) {
    do result = syscalls.preadv2(fd, memory, position, RWF_NOWAIT);
    while (result === -EINTR);
  }
  if (result === -EOPNOTSUPP && (inMemory || livesInMemory(fd))) {
    do result = syscalls.pread(fd, memory.target, length, position);
    while (result === -EINTR);
  }
  if (result !== length && (result >= 0 || result === -EAGAIN)) countColdPages(fd);
  return result;
}
