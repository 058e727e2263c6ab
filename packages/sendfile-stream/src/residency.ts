/**
 * Whether the next bytes of a file can be sent without waiting for a disk (rule 10).
 *
 * preadv2(RWF_NOWAIT) of a window's last byte is the honest question; mincore and cachestat count pages whose read
 * is still in flight. A window that was warm makes the next one twice as large, so that a warm file costs few
 * questions; a cold one starts again from the smallest.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { livesInMemory } from './source.js';

const KiB = 1024;
const WINDOW_MIN = 128 * KiB;
const WINDOW_MAX = 2048 * KiB;
const { EAGAIN, EINTR, RWF_NOWAIT } = constants;

const oneByte = syscalls.createIovec(Buffer.allocUnsafeSlow(1));

/** Whether the byte at `position` is in the page cache: 'unknown' where the filesystem cannot say. */
function byteIsResident(fd: number, position: number): boolean | 'unknown' {
  let result = syscalls.preadv2(fd, oneByte, position, RWF_NOWAIT);
  while (result === -EINTR) result = syscalls.preadv2(fd, oneByte, position, RWF_NOWAIT);
  if (result >= 0) return true; // 0: beyond the end, where there is nothing to wait for
  return result === -EAGAIN ? false : 'unknown';
}

export class ResidencyGate {
  readonly #fd: number;
  #window = WINDOW_MIN;
  /** Every byte before this position, from where the transfer is, has been found warm. */
  #warmUntil = 0;
  #inMemory: boolean | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * How many of the `count` bytes from `position` may be sent on this thread now; 0: the next ones are cold.
   * Where the filesystem cannot say, they count as cold, unless it lives in memory.
   */
  warm(position: number, count: number): number {
    if (this.#inMemory === true) return count;
    if (position < this.#warmUntil) return Math.min(count, this.#warmUntil - position);
    const window = Math.min(this.#window, count);
    const resident = byteIsResident(this.#fd, position + window - 1);
    if (resident === 'unknown') {
      this.#inMemory ??= livesInMemory(this.#fd);
      return this.#inMemory ? count : 0;
    }
    if (!resident) {
      this.#window = WINDOW_MIN;
      return 0;
    }
    this.#warmUntil = position + window;
    this.#window = Math.min(WINDOW_MAX, this.#window * 2);
    return window;
  }
}
