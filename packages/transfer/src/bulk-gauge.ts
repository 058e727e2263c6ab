/**
 * Whether a connection that Node reads carries so much that the kernel should move it, and whether one that the kernel
 * moves carries so little that Node should read it again.
 *
 *   observed ──so many full reads in a row──► taken ──little within IDLE_MS──► observed
 */
import { clearInterval, setInterval } from './timers.js';

/** Milliseconds after which it is looked at how much has been moved. */
const IDLE_MS = 200;
/** Fewer bytes in such a time are little. */
const IDLE_BYTES = 256 * 1024;

/** Counts the reads of one direction while it is observed, and the bytes while it is taken. */
export class BulkGauge {
  readonly #fullRead: number;
  readonly #fullReads: number;
  #inARow = 0;
  #moved = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param fullRead bytes of a read that shows that there is more. @param fullReads how many of them in a row are bulk. */
  constructor(fullRead: number, fullReads: number) {
    this.#fullRead = fullRead;
    this.#fullReads = fullReads;
  }

  /** Node reads from now on: a row of full reads starts from nothing. */
  observe(): void {
    this.#inARow = 0;
  }

  /** Counts a read of Node's. @returns whether it completes a row of full ones; the next row starts from nothing. */
  read(bytes: number): boolean {
    if (bytes < this.#fullRead) {
      this.#inARow = 0;
      return false;
    }
    this.#inARow++;
    if (this.#inARow < this.#fullReads) return false;
    this.#inARow = 0;
    return true;
  }

  /** Counts bytes that the kernel has moved. */
  moved(bytes: number): void {
    this.#moved += bytes;
  }

  /** Calls `look` every {@link IDLE_MS}, until {@link unwatch}, with whether little has been moved since the last time. */
  watch(look: (isLittle: boolean) => void): void {
    this.unwatch();
    this.#moved = 0;
    this.#timer = setInterval(() => {
      const isLittle = this.#moved < IDLE_BYTES;
      this.#moved = 0;
      look(isLittle);
    }, IDLE_MS);
    this.#timer.unref();
  }

  /** Idempotent. */
  unwatch(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
