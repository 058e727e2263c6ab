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

  /**
   * The first bytes, without a copy, as far as they lie in memory whose addresses are multiples of `alignment`, in pieces
   * that are multiples of `unit`.
   * @param most bytes, at most; a multiple of `unit`. @param piecesMost how many pieces, at most.
   */
  alignedPieces(alignment: number, unit: number, most: number, piecesMost: number): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let left = most;
    let offset = this.#offset;
    for (let index = this.#index; index < this.#chunks.length && pieces.length < piecesMost; index++) {
      const chunk = this.#chunks[index] as Uint8Array;
      const length = Math.min(chunk.length - offset, left);
      const whole = length - (length % unit);
      if (whole <= 0 || !isAligned(chunk, offset, alignment)) break;
      pieces.push(chunk.subarray(offset, offset + whole));
      left -= whole;
      if (offset + whole < chunk.length) break;
      offset = 0;
    }
    return pieces;
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
