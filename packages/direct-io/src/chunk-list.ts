/** The bytes of several chunks as one sequence, which is taken from its front. */
import { isAligned } from './aligned-memory.js';

/** See above. The chunks are not copied, and must not be changed until they have been taken. */
export class ChunkList {
  readonly #chunks: readonly Uint8Array[];
  /** A chunk whose memory is detached says that it has none. */
  readonly #lengths: readonly number[];
  #index = 0;
  /** Within the chunk at the front, in bytes. */
  #offset = 0;
  /** Bytes that have not been taken. */
  left: number;

  /** @param chunks those that are empty count for nothing. */
  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks.filter(({ length }) => length > 0);
    this.#lengths = this.#chunks.map(({ length }) => length);
    this.left = this.#lengths.reduce((sum, length) => sum + length, 0);
  }

  /** How many bytes at the front are in one piece; 0: none are left, or their memory has been detached. */
  get front(): number {
    const chunk = this.#chunks[this.#index];
    return chunk === undefined ? 0 : Math.max(0, chunk.length - this.#offset);
  }

  /** Whether the address of the first byte is a multiple of `alignment`. */
  isAligned(alignment: number): boolean {
    const chunk = this.#chunks[this.#index];
    return this.front > 0 && chunk !== undefined && isAligned(chunk, this.#offset, alignment);
  }

  /** The first `length` bytes, without a copy. @param length at most {@link front}. */
  peek(length: number): Uint8Array {
    return (this.#chunks[this.#index] as Uint8Array).subarray(this.#offset, this.#offset + length);
  }

  /**
   * Copies the first bytes, and takes none.
   * @returns how many have been copied: `length`, unless the memory of a chunk has been detached meanwhile.
   */
  copy(target: Buffer, length: number): number {
    let copied = 0;
    let [index, offset] = [this.#index, this.#offset];
    while (copied < length && index < this.#chunks.length) {
      const chunk = this.#chunks[index] as Uint8Array;
      if (chunk.length <= offset) return copied; // detached: it cannot even be sliced
      const part = chunk.subarray(offset, offset + length - copied);
      target.set(part, copied);
      copied += part.length;
      index++;
      offset = 0;
    }
    return copied;
  }

  /** Takes the first `length` bytes. */
  take(length: number): void {
    this.left -= length;
    let rest = length;
    while (rest > 0) {
      const length = this.#lengths[this.#index] as number;
      const part = Math.min(length - this.#offset, rest);
      this.#offset += part;
      rest -= part;
      if (this.#offset < length) return;
      this.#index++;
      this.#offset = 0;
    }
  }
}
