/**
 * Small bodies are collected in memory, and written at once: for each piece that is written by itself, a call on the thread
 * pool and back costs more CPU than the bytes do. All of them together have one budget of memory for each thread: when it
 * is used up, bodies are written as they come.
 */

/** Bytes of a body up to which it is collected. Measured: above, taking the connection over costs less. */
export const COLLECT_MAX: number = 1024 * 1024;
/** Bytes of memory for all collected bodies of a thread. */
const BUDGET = 32 * 1024 * 1024;
/** What a piece takes besides its bytes, about: a client may send one byte at a time. */
const PIECE_OVERHEAD = 256;

let used = 0;

/** Bytes of the budget that are in use. */
export const collectedBytes = (): number => used;

/** The pieces of one body, in their order. */
export class CollectedBody {
  /** Those that have been added. */
  readonly chunks: Buffer[] = [];
  /** Bytes in `chunks`. */
  bytes = 0;
  #reserved = 0;

  /** @returns false, and nothing is added, if it is no Buffer, there is no budget for it, or the body gets too large. */
  add(chunk: unknown): boolean {
    if (!Buffer.isBuffer(chunk)) return false;
    const size = chunk.length + PIECE_OVERHEAD;
    if (used + size > BUDGET || this.#reserved + size > 2 * COLLECT_MAX) return false;
    used += size;
    this.#reserved += size;
    this.bytes += chunk.length;
    this.chunks.push(chunk);
    return true;
  }

  /** Adds a piece that has no part of the budget, since it is in memory already. */
  addUnreserved(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.chunks.push(chunk);
  }

  /** Gives its part of the budget back. Idempotent. */
  release(): void {
    used -= this.#reserved;
    this.#reserved = 0;
  }
}
