/**
 * A file read in order, with several direct requests under way. A request brings several chunks at once, more each time: one
 * call, one thread and one answer for up to 4 MiB. Every chunk has memory of its own.
 *
 *   asked ──► answered ──► taken, chunk by chunk in the order of the file
 *                └──► dropped: an earlier one has met the end of the file, or an error
 *
 * A file may grow or be cut while it is read. So what was asked for behind an end is not believed when that end is met, but
 * asked for again: like fs.ReadStream, this ends where a read at the position that was reached answers nothing.
 */
import { ChunkMemory, chunksLeft } from './chunk-memory.js';
import type { DirectDescriptor } from './direct-descriptor.js';

/** One request. */
interface Request {
  /** Its first byte in the file. */
  readonly start: number;
  /** Bytes in front of the first one that is wanted, for the alignment. */
  readonly before: number;
  /** Bytes from `start` to the end of what is wanted. */
  readonly length: number;
  /** The chunks, all as long as a chunk is but for the last one. */
  readonly memory: readonly Buffer[];
  /** How many of them have been taken. */
  taken: number;
  /** Bytes that have come, from `start` on; undefined: it is under way. */
  got: number | undefined;
  error: Error | null;
}

/** Gets the next bytes, or null at the end. */
export type NextChunk = (error: Error | null, chunk: Buffer | null) => void;

/** What is asked for first behind what the file was said to end at, in bytes: there is nothing, as a rule. */
const BEHIND_END = 4096;
/** Bytes and chunks of a request, at most. */
const REQUEST_MAX = 4 * 1024 * 1024;
const CHUNKS_MAX = 64;

/** See above. */
export class ReadAhead {
  readonly #descriptor: DirectDescriptor;
  readonly #memory: ChunkMemory;
  readonly #end: number;
  readonly #chunk: number;
  readonly #chunksMax: number;
  readonly #depth: number;
  /** What the file was said to hold: nothing is asked for ahead behind that. */
  readonly #size: number;
  #next: number;
  /** Chunks of the next request: few for who reads only the start of a file. */
  #chunks = 1;
  /** What is asked for behind {@link #size}: more each time, of a file that grows. */
  #behind = BEHIND_END;
  /** In the order of the file. */
  #requests: Request[] = [];
  #underWay = 0;
  #waiting: NextChunk | undefined;
  #unread: Buffer | undefined;
  #onIdle: (() => void) | undefined;

  /**
   * @param start the first byte. @param end behind the last one; Infinity: to the end of the file.
   * @param size what the file is said to hold, in bytes. @param chunk bytes of a chunk: a multiple of the alignment.
   * @param depth how many requests are under way at most.
   */
  constructor(descriptor: DirectDescriptor, start: number, end: number, size: number, chunk: number, depth: number) {
    this.#descriptor = descriptor;
    this.#memory = new ChunkMemory(chunk, descriptor.alignment.memory);
    this.#next = start;
    this.#end = end;
    this.#size = size;
    this.#chunk = chunk;
    this.#chunksMax = Math.max(1, Math.min(CHUNKS_MAX, Math.floor(REQUEST_MAX / chunk)));
    this.#depth = depth;
  }

  /** Calls back once with what comes next. It is not called again before that. */
  read(callback: NextChunk): void {
    const unread = this.#unread;
    this.#unread = undefined;
    if (unread !== undefined) return callback(null, unread);
    this.#waiting = callback;
    try {
      this.#ask();
    } catch (error) {
      if (this.#requests.length === 0) return this.#answer(error as Error, null); // there is no memory
    }
    this.#deliver();
  }

  /** The chunk that was read last comes with the next {@link read}. */
  unread(chunk: Buffer): void {
    this.#unread = chunk;
  }

  /** What {@link read} was called for is not wanted now: it comes with the next one. */
  forget(): void {
    this.#waiting = undefined;
  }

  /** The memory of a chunk that was read is used again. @returns false if it is not known, or has been given back. */
  release(chunk: Uint8Array): boolean {
    return this.#memory.release(chunk);
  }

  /** {@link release}, of a chunk that nobody but this package has seen. */
  recycle(chunk: Buffer): void {
    this.#memory.recycle(chunk);
  }

  /** Nothing more is read. Resolves when no request is under way. */
  async idle(): Promise<void> {
    this.#waiting = undefined;
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    this.#drop();
  }

  /** What has been asked for is not wanted; what is under way keeps its memory. */
  #drop(): void {
    for (const { memory, taken, got } of this.#requests) {
      for (const chunk of memory.slice(taken)) {
        this.#memory.handOver(chunk);
        if (got !== undefined) this.#memory.recycle(chunk);
      }
    }
    this.#requests = [];
  }

  #ask(): void {
    while (this.#requests.length < this.#depth && this.#next < this.#end) {
      if (this.#requests.length > 0 && this.#next >= this.#size) return;
      this.#requests.push(this.#request(this.#next));
    }
  }

  #request(position: number): Request {
    const { readOffset } = this.#descriptor.alignment;
    const before = position % readOffset;
    const start = position - before;
    const known = position < this.#size ? this.#size - position : this.#behind;
    if (position >= this.#size) this.#behind = Math.min(this.#behind * 4, this.#chunk);
    const most = Math.min(this.#chunks, chunksLeft(this.#chunk)) * this.#chunk;
    const end = Math.min(start + most, this.#end, position + known);
    const whole = Math.ceil((end - start) / readOffset) * readOffset;
    const memory = this.#takeMemory(whole);
    const request: Request = { start, before, length: end - start, memory, taken: 0, got: undefined, error: null };
    this.#next = end;
    this.#chunks = Math.min(this.#chunks * 2, this.#chunksMax);
    this.#underWay++;
    this.#descriptor.read(memory, start, whole, (error, bytes) => {
      request.got = Math.min(request.length, bytes);
      request.error = error;
      this.#underWay--;
      if (this.#underWay === 0) this.#onIdle?.();
      this.#deliver();
    });
    return request;
  }

  /** @throws {RangeError} if there is no memory. */
  #takeMemory(length: number): Buffer[] {
    const memory: Buffer[] = [];
    try {
      for (let at = 0; at < length; at += this.#chunk) {
        memory.push(this.#memory.take(Math.min(this.#chunk, length - at)));
      }
      return memory;
    } catch (error) {
      for (const chunk of memory) {
        this.#memory.handOver(chunk);
        this.#memory.recycle(chunk);
      }
      throw error;
    }
  }

  #deliver(): void {
    const [first] = this.#requests;
    if (this.#waiting === undefined) return;
    if (first === undefined) return this.#answer(null, null);
    if (first.got === undefined) return;
    const { start, before, length, memory, got, error } = first;
    const offset = first.taken * this.#chunk;
    const chunk = memory[first.taken++] as Buffer;
    const until = Math.min(got, offset + this.#chunk);
    this.#memory.handOver(chunk);
    if (until === length) this.#requests.shift();
    else if (until === got) {
      this.#drop();
      this.#next = start + Math.max(before, got);
    }
    const from = Math.max(before, offset);
    if (until > from) this.#answer(null, chunk.subarray(from - offset, until - offset));
    else {
      this.#memory.recycle(chunk);
      this.#answer(error, null);
    }
  }

  #answer(error: Error | null, chunk: Buffer | null): void {
    const callback = this.#waiting;
    this.#waiting = undefined;
    callback?.(error, chunk);
  }
}
