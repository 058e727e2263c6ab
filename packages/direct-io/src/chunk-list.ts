/** The bytes of several chunks as one sequence, which is taken from its front. */
import { isAligned } from './aligned-memory.js';

/** See above. The chunks are not copied, and must not be changed until they have been taken. */
export class ChunkList {
  readonly #chunks: readonly Uint8Array[];
  #index = 0;
  /** Within the chunk at the front, in bytes. */
  #offset = 0;
  /** Bytes that have not been taken. */
  left: number;

  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks;
    this.left = chunks.reduce((sum, { length }) => sum + length, 0);
  }

  /** How many bytes at the front are in one piece; 0: none are left. */
  get front(): number {
    let chunk = this.#chunks[this.#index];
    while (chunk !== undefined && chunk.length <= this.#offset) {
      this.#index++;
      this.#offset = 0;
      chunk = this.#chunks[this.#index];
    }
    return chunk === undefined ? 0 : chunk.length - this.#offset;
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
      const { front } = this;
      if (front === 0) return;
      const part = Math.min(front, rest);
      this.#offset += part;
      rest -= part;
    }
  }
}
