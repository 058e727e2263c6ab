/**
 * Memory whose address is a multiple of what O_DIRECT asks for. All of it is V8's own: an ArrayBuffer somewhat larger than
 * what is wanted, and a view from the first address in it that is aligned. So nothing has to be freed, a Buffer may be
 * kept, transferred or collected like any other, and a worker thread that is terminated waits for its requests, as it does
 * for those of node:fs.
 */
import { addressOf } from '@zerocopy/core-syscalls/native';

const KiB = 1024;
/** Bytes of a small and of a large buffer of the pools. */
const SMALL = 64 * KiB;
const LARGE = 1024 * KiB;
/** No filesystem asks for more. */
const ALIGNMENT_MAX = 64 * KiB;

/**
 * A Buffer whose address is a multiple of `alignment`, a power of two. It has an ArrayBuffer of its own. Not filled.
 * @param length in bytes.
 * @throws {RangeError} if there is no memory for it.
 */
export function alignedBuffer(length: number, alignment: number): Buffer {
  const memory = Buffer.allocUnsafeSlow(length + alignment);
  const over = addressOf(memory) % alignment;
  const start = over === 0 ? 0 : alignment - over;
  return memory.subarray(start, start + length);
}

/** Whether the address of the byte at `offset` is a multiple of `alignment`. */
export function isAligned(view: NodeJS.ArrayBufferView, offset: number, alignment: number): boolean {
  return alignment === 1 || (addressOf(view) + offset) % alignment === 0;
}

/** A bounded number of aligned buffers that nothing outside of this package ever sees: they are used again and again. */
export class BufferPool {
  readonly #size: number;
  readonly #limit: number;
  /** The one that was used last comes first: it is in the processor's cache. */
  readonly #idle: Buffer[] = [];
  readonly #waiting: ((buffer: Buffer) => void)[] = [];
  #made = 0;

  /** @param size of a buffer, in bytes. @param limit how many there may be. */
  constructor(size: number, limit: number) {
    this.#size = size;
    this.#limit = limit;
  }

  /**
   * Calls `use` with a buffer, as soon as there is one: perhaps before it returns. It is to be given back.
   * @throws {RangeError} if there is no memory, and no buffer that could be waited for.
   */
  take(use: (buffer: Buffer) => void): void {
    const idle = this.#idle.pop() ?? this.#make();
    if (idle === undefined) this.#waiting.push(use);
    else use(idle);
  }

  /** Gives back what {@link take} has given. */
  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(buffer);
    else next(buffer);
  }

  #make(): Buffer | undefined {
    if (this.#made >= this.#limit) return undefined;
    try {
      const buffer = alignedBuffer(this.#size, ALIGNMENT_MAX);
      this.#made++;
      return buffer;
    } catch (error) {
      if (this.#made === 0) throw error;
      return undefined; // one of the others comes back
    }
  }
}

const small = new BufferPool(SMALL, 64);
const large = new BufferPool(LARGE, 8);

/** The pool for a request of `length` bytes, which may be more than one of its buffers holds. */
export const poolFor = (length: number): BufferPool => (length <= SMALL ? small : large);
