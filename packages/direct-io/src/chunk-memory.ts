/**
 * The memory of the chunks of one stream, each of which has an ArrayBuffer of its own.
 *
 *   idle ──take──► ahead ──handOver──► handed over ──release──► idle    detached first: who still has the chunk sees none
 *                    └──────────────────recycle───────────────► idle    nobody else has seen it
 *
 * What is handed over and never released is collected like any other Buffer. Of memory that is used again the kernel has
 * neither to find the pages nor to fill them with zeros, which takes more CPU than to read into them.
 */
import { alignedBuffer } from './aligned-memory.js';

const MiB = 1024 * 1024;
/** Bytes of the block by which malloc learns to keep memory: at most twice as many. glibc learns from up to 32 MiB. */
const LESSON = 24 * MiB;
/** Bytes of new memory for chunks, before it is worth while. */
const LESSON_AFTER = 16 * MiB;
/** Bytes that one stream keeps for what it reads next. */
const IDLE_MAX = 16 * MiB;
/** Bytes that all streams of this thread may have read ahead, before each gets one chunk at a time only. */
const AHEAD_MAX = 64 * MiB;

/** Bytes that have been taken and not handed over. */
let ahead = 0;

/** Bytes of new memory that chunks have had so far, up to {@link LESSON_AFTER}. */
let made = 0;

/**
 * Chunks that are never released are freed by the garbage collector, and malloc gives large blocks back to the kernel at once,
 * which has to find each page and fill it with zeros again for the next chunk. But glibc's malloc keeps twice as much, at the
 * end of its heap, as the largest block that it has mapped and freed again (mallopt(3), M_MMAP_THRESHOLD). So such a block is
 * made here: nothing refers to it, none of its pages is ever touched, and the next collection frees it. Other allocators make
 * nothing of it.
 */
function teachToKeep(length: number): void {
  if (made >= LESSON_AFTER) return;
  made += length;
  if (made < LESSON_AFTER) return;
  try {
    Buffer.allocUnsafeSlow(LESSON);
  } catch {} // there is no room for it: then there is none to be kept, either
}

/** How many chunks of that many bytes may be taken now: one at least. */
export const chunksLeft = (size: number): number => Math.max(1, Math.floor((AHEAD_MAX - ahead) / size));

const { transfer } = ArrayBuffer.prototype as { transfer?: (this: ArrayBufferLike) => ArrayBuffer };

/** Moves memory to an ArrayBuffer of which nobody knows: the old one is detached, and has no bytes. */
function moved(memory: ArrayBuffer): ArrayBuffer {
  return transfer === undefined ? structuredClone(memory, { transfer: [memory] }) : transfer.call(memory); // Node 22
}

/** Makes the class that extends it put its fields on the object that it is given. */
const Given = function given(object: object) {
  return object;
} as unknown as new (
  object: object,
) => object;

/**
 * What a chunk is a part of, noted in a private field of its ArrayBuffer. A WeakMap would say the same, but what is in one
 * outlives the collections of young memory: then chunks stay for much longer, and take far more CPU to collect.
 */
class Note extends Given {
  #whole: Buffer | undefined;
  #owner: ChunkMemory;

  constructor(whole: Buffer, owner: ChunkMemory) {
    super(whole.buffer);
    this.#whole = whole;
    this.#owner = owner;
  }

  static of(memory: object, owner: ChunkMemory): Buffer | undefined {
    return #whole in memory && memory.#owner === owner ? memory.#whole : undefined;
  }

  static put(whole: Buffer, owner: ChunkMemory): void {
    const { buffer } = whole as { buffer: object };
    if (#whole in buffer) buffer.#whole = whole;
    else new Note(whole, owner);
  }

  static remove(memory: object): void {
    if (#whole in memory) memory.#whole = undefined;
  }
}

/** See above. */
export class ChunkMemory {
  readonly #size: number;
  readonly #alignment: number;
  readonly #idle: Buffer[] = [];

  /** @param size of a chunk, in bytes. @param alignment of its first byte's address. */
  constructor(size: number, alignment: number) {
    this.#size = size;
    this.#alignment = alignment;
  }

  /**
   * Memory for a chunk.
   * @param length in bytes, at most the size of a chunk.
   * @throws {RangeError} if there is none.
   */
  take(length: number): Buffer {
    const whole = this.#idle.pop() ?? this.#make(length);
    Note.put(whole, this);
    ahead += whole.length;
    return whole.subarray(0, length);
  }

  /** It is somebody else's now. */
  handOver(chunk: Buffer): void {
    ahead -= Note.of(chunk.buffer, this)?.length ?? 0;
  }

  /** A chunk that has been handed over comes back. @returns false if it is none, or has come back already. */
  release(chunk: Uint8Array): boolean {
    const whole = Note.of(chunk.buffer, this);
    if (whole === undefined || whole.length === 0) return false;
    const { byteOffset, length } = whole;
    try {
      const memory = moved(whole.buffer as ArrayBuffer);
      Note.remove(chunk.buffer);
      this.#keep(Buffer.from(memory, byteOffset, length));
      return true;
    } catch {
      return false; // marked as untransferable
    }
  }

  /** A chunk comes back that nobody else has. */
  recycle(chunk: Buffer): void {
    const whole = Note.of(chunk.buffer, this);
    if (whole === undefined) return;
    Note.remove(chunk.buffer);
    this.#keep(whole);
  }

  #make(length: number): Buffer {
    teachToKeep(length);
    return alignedBuffer(length, this.#alignment);
  }

  #keep(whole: Buffer): void {
    if (whole.length === this.#size && this.#idle.length * this.#size < IDLE_MAX) this.#idle.push(whole);
  }
}
