/**
 * Whether the next bytes of a file can be sent without waiting for a disk (kernel-rules: cold-blocks).
 *
 * Only preadv2(RWF_NOWAIT) tells whether a byte can be had now, and only of the bytes it reads (kernel-rules:
 * nowait-one-page). Reading all of a window costs half as much as sending it does; so two cheaper questions come first:
 *
 *   1. its last byte by RWF_NOWAIT: the usual cold window, and the one whose read is under way, is found out here;
 *   2. cachestat(2), which tells whether any of its pages is missing, but counts pages whose read has only begun.
 *      It is believed unless this process itself has met cold pages of the file lately, which may still be on their way;
 *   3. else every byte by RWF_NOWAIT, into a buffer whose content is not used: as many as come are warm.
 *
 * CPU for 1 GiB in windows of 128 KiB | 2 MiB on a virtual machine whose system calls are slow (2.5 us each):
 *   the last byte 24 | 1 ms, cachestat 21 | 1 ms, every byte 73 | 49 ms; the sending itself 150 ms.
 * mincore(2) would be honest as well (Linux 6.18), at 33 | 8 ms, but says yes to all who do not own the file.
 *
 * A window that was warm makes the next one twice as large, so that a warm file costs few questions; a cold one starts
 * again from the smallest.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import { countColdPages, mayBeOnTheWay } from './cold-pages.js';
import { livesInMemory } from './source.js';

const KiB = 1024;
const WINDOW_MIN = 128 * KiB;
const WINDOW_MAX = 2048 * KiB;
const { EAGAIN, ENOSYS, RWF_NOWAIT } = constants;

/** Bytes of the buffer that is read into, over and over: it stays in the processor's cache. */
const SCRATCH_SIZE = 64 * KiB;
/** Made by the first question: an address is asked of koffi, which importing this module is not to load. */
let oneByte: syscalls.Iovec | undefined;
let scratch: syscalls.Iovec | undefined;

/** Bytes from `position` that are in the page cache, up to `count`; -EAGAIN if not even the first is; or why it cannot be told. */
function readNow(fd: number, iovec: syscalls.Iovec, position: number): number {
  return uninterrupted(() => syscalls.preadv2(fd, iovec, position, RWF_NOWAIT));
}

/** How many of the `count` bytes from `position` can be had without waiting: each of them is read. */
function countWarm(fd: number, position: number, count: number): number {
  scratch ??= syscalls.createIovec(Buffer.allocUnsafeSlow(SCRATCH_SIZE));
  let warm = 0;
  while (warm < count) {
    const wanted = Math.min(SCRATCH_SIZE, count - warm);
    const result = readNow(fd, syscalls.setIovecLength(scratch, wanted), position + warm);
    if (result <= 0) break;
    warm += result;
    if (result < wanted) break;
  }
  return warm;
}

/** cachestat(2)'s arguments, in 64-bit words of two halves: offset and length in bytes; its answer begins with the pages cached. */
const range = new Uint32Array(4);
const counts = new Uint32Array(10);
let hasCachestat = true;

/** Whether a page is there, or on its way, for each of the bytes. */
function isCached(fd: number, position: number, count: number): boolean {
  if (!hasCachestat) return false;
  range[0] = position >>> 0;
  range[1] = Math.floor(position / 2 ** 32);
  range[2] = count;
  const result = syscalls.cachestat(fd, range, counts);
  if (result === -ENOSYS) hasCachestat = false; // before Linux 6.5
  if (result < 0) return false;
  const size = syscalls.getpagesize();
  const pages = Math.floor((position + count - 1) / size) - Math.floor(position / size) + 1;
  return (counts[0] ?? 0) >= pages;
}

/** Asks how much of one open file can be sent on this thread, window after window. */
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
    oneByte ??= syscalls.createIovec(Buffer.allocUnsafeSlow(1));
    const last = readNow(this.#fd, oneByte, position + window - 1);
    if (last < 0 && last !== -EAGAIN) {
      this.#inMemory ??= livesInMemory(this.#fd);
      return this.#inMemory ? count : 0;
    }
    // 0: beyond the end of the file, where there is nothing to wait for, and nothing to be promised either.
    const warm = last < 0 ? 0 : this.#warmBytes(position, window);
    if (warm < window) {
      countColdPages(this.#fd);
      this.#window = WINDOW_MIN;
    } else this.#window = Math.min(WINDOW_MAX, this.#window * 2);
    this.#warmUntil = position + warm;
    return warm;
  }

  #warmBytes(position: number, window: number): number {
    if (isCached(this.#fd, position, window) && !mayBeOnTheWay(this.#fd)) return window;
    return countWarm(this.#fd, position, window);
  }
}
