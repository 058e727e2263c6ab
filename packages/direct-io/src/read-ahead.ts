/**
 * A file read in order, with several direct requests under way.
 *
 *   asked ──► answered ──► taken, in the order of the file
 *                └──► dropped: an earlier one has met the end of the file, or an error
 *
 * A file may grow or be cut while it is read. So what was asked for behind an end is not believed when that end is met, but
 * asked for again: like fs.ReadStream, this ends where a read at the position that was reached answers nothing.
 */
import { alignedBuffer } from './aligned-memory.js';
import type { DirectDescriptor } from './direct-descriptor.js';

/** One request. */
interface Request {
  /** The first byte that is wanted of it. */
  readonly position: number;
  /** Behind the last one. */
  readonly end: number;
  /** Bytes in front of the first one, for the alignment. */
  readonly before: number;
  readonly memory: Buffer;
  /** Bytes that were wanted and have come; undefined: it is under way. */
  got: number | undefined;
  error: Error | null;
}

/** Gets the next bytes, or null at the end. */
export type NextChunk = (error: Error | null, chunk: Buffer | null) => void;

/** What is asked for first behind what the file was said to end at, in bytes: there is nothing, as a rule. */
const BEHIND_END = 4096;

/** See above. */
export class ReadAhead {
  readonly #descriptor: DirectDescriptor;
  readonly #end: number;
  readonly #chunk: number;
  readonly #depth: number;
  /** What the file was said to hold: nothing is asked for ahead behind that. */
  readonly #size: number;
  #next: number;
  /** What is asked for behind {@link #size}: more each time, of a file that grows. */
  #behind = BEHIND_END;
  /** In the order of the file. */
  #requests: Request[] = [];
  #underWay = 0;
  #waiting: NextChunk | undefined;
  #onIdle: (() => void) | undefined;

  /**
   * @param start the first byte. @param end behind the last one; Infinity: to the end of the file.
   * @param size what the file is said to hold, in bytes. @param chunk bytes of a request: a multiple of the alignment.
   * @param depth how many requests are under way at most.
   */
  constructor(descriptor: DirectDescriptor, start: number, end: number, size: number, chunk: number, depth: number) {
    this.#descriptor = descriptor;
    this.#next = start;
    this.#end = end;
    this.#size = size;
    this.#chunk = chunk;
    this.#depth = depth;
  }

  /** Calls back once with what comes next. It is not called again before that. */
  read(callback: NextChunk): void {
    this.#waiting = callback;
    try {
      this.#ask();
    } catch (error) {
      if (this.#requests.length === 0) return this.#answer(error as Error, null); // there is no memory
    }
    this.#deliver();
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    this.#waiting = undefined;
    if (this.#underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #ask(): void {
    while (this.#requests.length < this.#depth && this.#next < this.#end) {
      if (this.#requests.length > 0 && this.#next >= this.#size) return;
      this.#requests.push(this.#request(this.#next));
    }
  }

  #request(position: number): Request {
    const { memory, readOffset } = this.#descriptor.alignment;
    const before = position % readOffset;
    const known = position < this.#size ? this.#size - position : this.#behind;
    if (position >= this.#size) this.#behind = Math.min(this.#behind * 4, this.#chunk);
    const end = Math.min(position - before + this.#chunk, this.#end, position + known);
    const length = Math.ceil((end - position + before) / readOffset) * readOffset;
    const request: Request = {
      position,
      end,
      before,
      memory: alignedBuffer(length, memory),
      got: undefined,
      error: null,
    };
    this.#next = end;
    this.#underWay++;
    this.#descriptor.read(request.memory, position - before, length, (error, bytes) => {
      request.got = Math.min(end - position, Math.max(0, bytes - before));
      request.error = error;
      this.#underWay--;
      if (this.#underWay === 0) this.#onIdle?.();
      this.#deliver();
    });
    return request;
  }

  #deliver(): void {
    const [first] = this.#requests;
    if (this.#waiting === undefined) return;
    if (first === undefined) return this.#answer(null, null);
    if (first.got === undefined) return;
    const { position, end, before, memory, got, error } = first;
    this.#requests.shift();
    if (position + got < end) {
      this.#requests = [];
      this.#next = position + got;
    }
    if (got > 0) this.#answer(null, memory.subarray(before, before + got));
    else this.#answer(error, null);
  }

  #answer(error: Error | null, chunk: Buffer | null): void {
    const callback = this.#waiting;
    this.#waiting = undefined;
    callback?.(error, chunk);
  }
}
