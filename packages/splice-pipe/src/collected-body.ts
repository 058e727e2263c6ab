/**
 * Small bodies are collected in memory, and written at once: for each piece that is written by itself, a call on the thread
 * pool and back costs more CPU than the bytes do. All of them together have one budget of memory for each thread: when it
 * is used up, bodies are written as they come.
 */

/**
 * Bytes of a body up to which all of it is collected, and written at once. Measured: by `receiveFile` the kernel's way costs 1.6
 * times as much CPU at 512 KiB, and the same at 1 MiB.
 */
export const COLLECT_MAX: number = 512 * 1024;
/** The same for what is piped into a stream, of which each piece costs more: beyond, the kernel's way costs less. */
export const COLLECT_PIPED_MAX: number = 256 * 1024;
/** Bytes of one body that are in memory, at most. */
const BODY_MAX = 2 * 1024 * 1024;
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
  readonly chunks: Uint8Array[] = [];
  /** Bytes in `chunks`. */
  bytes = 0;
  #reserved = 0;

  /** @returns false, and nothing is added, if it is not bytes, there is no budget for it, or the body gets too large. */
  add(chunk: unknown): boolean {
    if (!(chunk instanceof Uint8Array)) return false;
    const size = chunk.length + PIECE_OVERHEAD;
    if (used + size > BUDGET || this.#reserved + size > BODY_MAX) return false;
    used += size;
    this.#reserved += size;
    this.bytes += chunk.length;
    this.chunks.push(chunk);
    return true;
  }

  /** Adds a piece that has no part of the budget, since it is in memory already. */
  addUnreserved(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    this.chunks.push(chunk);
  }

  /** Gives its part of the budget back. Idempotent. */
  release(): void {
    used -= this.#reserved;
    this.#reserved = 0;
  }
}
