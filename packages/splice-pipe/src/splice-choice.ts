/**
 * Whether one direction is spliced or copied, and why. While what flows is small, it is copied: one read, which libuv makes
 * anyway, and one write. A read that fills its buffer shows that there is more, and splicing begins; a few wake-ups in a row
 * that bring little end it again. A side that refuses splice(2) does so for good.
 */
import { describeRefusal, refusalOf, type Side } from '@zerocopy/transfer';
import { WATCH_SIZE_MAX } from './read-watcher.js';
import { SPLICE_REFUSALS } from './splice-refusals.js';

/** A wake-up that brings fewer bytes is small. */
const SMALL = 16 * 1024;
/** So many of them in a row, and copying is cheaper. */
const SMALL_WAKEUPS_MAX = 4;

export class SpliceChoice {
  /** The source is not spliced from any more. */
  sourceRefuses = false;
  /** The destination is not spliced to any more. */
  destinationRefuses = false;
  /** The last attempt found no pipe to be had. */
  withoutPipe = false;
  /** What flows is worth to be spliced. */
  #worth: boolean;
  #refusal: string | undefined;
  #copied = false;
  #spliced = false;
  #smallWakeups = 0;

  /** @param worth whether to begin by splicing. */
  constructor(worth: boolean) {
    this.#worth = worth;
  }

  /** Whether the source is to be spliced from. */
  get fillsPipe(): boolean {
    return this.#worth && !this.sourceRefuses;
  }

  /** Why it has been copied; undefined: it has been spliced, or nothing has moved. */
  get reason(): string | undefined {
    if (this.#refusal !== undefined) return this.#refusal;
    if (this.#spliced || !this.#copied) return undefined;
    if (this.withoutPipe) return 'no pipe could be had (see pipePoolStats)';
    return 'what came was too little for splice to be worth while, or in user space already';
  }

  /** Whether a splice that has answered `result` is refused by that side, which is remembered. @param fd of that call. */
  isRefused(side: Side, result: number, fd: number): boolean {
    const refusal = refusalOf(SPLICE_REFUSALS, result, fd);
    if (refusal === undefined) return false;
    if (side === 'source') this.sourceRefuses = true;
    else this.destinationRefuses = true;
    this.#refusal = describeRefusal(
      side === 'source' ? 'splice from the source' : 'splice to the destination',
      refusal,
    );
    return true;
  }

  /** Bytes have been spliced to the destination. */
  spliced(): void {
    this.#spliced = true;
  }

  /** So many bytes have been written in the destination's stream. */
  copied(bytes: number): void {
    if (bytes > 0) this.#copied = true;
  }

  /** One read has brought so many bytes. */
  read(bytes: number): void {
    if (bytes === WATCH_SIZE_MAX && !this.sourceRefuses) this.#worth = true;
  }

  /** A wake-up has brought so many bytes into the pipe. */
  wokeUpFor(bytes: number): void {
    if (bytes >= SMALL) this.#smallWakeups = 0;
    else if (++this.#smallWakeups >= SMALL_WAKEUPS_MAX) {
      this.#smallWakeups = 0;
      this.#worth = false;
    }
  }
}
