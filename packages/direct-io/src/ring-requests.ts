/**
 * Reads by io_uring, for all files of this process together: what is asked for in one turn of the event loop is handed over
 * in one call, and what has been completed is fetched without any.
 *
 *   asked ──► waiting ──► in a slot ──► completed     as many are in slots as the ring has
 *                            └──► by a thread         the kernel has not taken it, or wants it to be asked for again
 *
 * The kernel writes to the memory of a request until that has been completed. So the memory is referred to from its slot; and
 * only the main thread has a ring: a worker may be terminated at any time, its memory is freed then, and no JavaScript is left
 * that could wait. When the process ends, the kernel waits itself (kernel-rules: ring-memory).
 *
 * Writes are not made by it: they would wait for locks and journals on the thread of the event loop.
 */
import { constants, SyscallError } from '@zerocopy/core-syscalls';
import { isMainThread } from '@zerocopy/core-syscalls/descriptors';
import { addressOf } from '@zerocopy/core-syscalls/native';
import { nextTick, setImmediate } from '@zerocopy/transfer';
import { CompletionWatch } from './completion-watch.js';
import { feature } from './feature.js';
import { type Done, detached, type ThreadRequests } from './requests.js';
import { Ring } from './ring.js';

/** As many as are worth having under way at once on one disk; a power of two. */
const ENTRIES = 128;
/** Bytes: to hand over a larger request takes longer than a thread costs. */
const LENGTH_MAX = 1024 * 1024;
const { EAGAIN, EBUSY, ECANCELED, EINTR, ENOMEM } = constants;
/** What a thread may do better, and says nothing about the request. */
const PASSING: readonly number[] = [-EAGAIN, -EBUSY, -ECANCELED, -EINTR, -ENOMEM];

/** One request, and who makes it if the ring does not. */
interface Read {
  readonly fd: number;
  readonly memory: Buffer;
  readonly length: number;
  readonly position: number;
  readonly done: Done;
  readonly threads: ThreadRequests;
}

class SharedRing {
  readonly #watch: CompletionWatch;
  readonly #ring: Ring;
  /** What is under way, by slot. */
  readonly #slots: (Read | undefined)[];
  readonly #free: number[];
  #waiting: Read[] = [];
  #submitting = false;
  /** Its memory must not be looked at any more. */
  #isClosed = false;
  /** Files that use it. */
  users = 0;

  /** @throws {SyscallError} where there can be none. */
  constructor() {
    this.#watch = new CompletionWatch(() => this.#fetch());
    try {
      this.#ring = new Ring(ENTRIES, this.#watch.eventfd);
    } catch (error) {
      this.#watch.close();
      throw error;
    }
    this.#slots = new Array(this.#ring.size).fill(undefined);
    this.#free = Array.from(this.#slots.keys());
  }

  read(request: Read): void {
    this.#waiting.push(request);
    this.#submitSoon();
  }

  /** To be called when nothing is under way. */
  close(): void {
    this.#isClosed = true;
    this.#ring.close();
    this.#watch.close();
  }

  #submitSoon(): void {
    if (this.#submitting) return;
    this.#submitting = true;
    nextTick(this.#submit);
  }

  readonly #submit = (): void => {
    this.#submitting = false;
    if (this.#isClosed) return;
    const wasIdle = this.#free.length === this.#slots.length;
    let taken = 0;
    for (const request of this.#waiting) {
      if (this.#free.length === 0) break;
      taken++;
      if (request.memory.length < request.length) {
        setImmediate(request.done, detached(), 0);
        continue;
      }
      const slot = this.#free.pop() as number;
      this.#slots[slot] = request;
      // The address of now: until now the memory might have been moved.
      this.#ring.pushRead(slot, request.fd, addressOf(request.memory), request.length, request.position);
    }
    this.#waiting.splice(0, taken);
    const result = this.#ring.submit();
    if (result < 0) this.#refused(result);
    if (wasIdle && this.#free.length < this.#slots.length) this.#watch.keepAlive(true);
  };

  /**
   * What the kernel has not taken is made by threads, and so is all that comes, if it is not about its load
   * (kernel-rules: ring-taken-back).
   */
  #refused(result: number): void {
    for (const slot of this.#ring.takeBack()) byThread(this.#release(slot));
    if (PASSING.includes(result)) {
      if (this.#waiting.length > 0) this.#submitSoon(); // perhaps nothing is under way whose end would do so
      return;
    }
    isForbidden = true;
    for (const request of this.#waiting.splice(0)) byThread(request);
  }

  #release(slot: number): Read {
    const request = this.#slots[slot] as Read;
    this.#slots[slot] = undefined;
    this.#free.push(slot);
    return request;
  }

  #fetch(): void {
    if (this.#isClosed) return;
    let isEmpty = false;
    try {
      while (this.#ring.completed(this.#complete));
      isEmpty = true;
    } finally {
      if (!isEmpty) setImmediate(() => this.#fetch()); // somebody's callback has thrown: the others' are still called
    }
  }

  readonly #complete = (slot: number, result: number): void => {
    const request = this.#release(slot);
    if (this.#waiting.length > 0) this.#submitSoon();
    else if (this.#free.length === this.#slots.length) this.#watch.keepAlive(false);
    if (PASSING.includes(result)) byThread(request);
    else request.done(result < 0 ? new SyscallError(result, 'read') : null, Math.max(0, result));
  };
}

function byThread({ threads, fd, memory, length, position, done }: Read): void {
  threads.read(fd, [memory], length, position, done);
}

let shared: SharedRing | undefined;
/** It was allowed at first. */
let isForbidden = false;

/** Whether reads of this thread may go by io_uring; if the probe says that they may not, it says why. */
function isRingAllowed(): boolean {
  if (!isMainThread() || 'bun' in process.versions) return false; // Bun has no libuv that would watch the eventfd
  return !isForbidden && feature('ioUring').available;
}

/** The direct reads of one file. */
export class RingReads {
  readonly #threads: ThreadRequests;
  #ring: SharedRing | undefined;
  /** There is none for this file, or not any more. */
  #isRefused = false;

  /** @param threads make what is not made by the ring. */
  constructor(threads: ThreadRequests) {
    this.#threads = threads;
  }

  /** Whether they go by io_uring, as far as is known. */
  get isByRing(): boolean {
    return !this.#isRefused && isRingAllowed();
  }

  /** Reads up to `length` bytes, which is what the memory has. */
  read(fd: number, memory: Buffer, length: number, position: number, done: Done): void {
    const ring = length > LENGTH_MAX ? undefined : this.#get();
    const request = { fd, memory, length, position, done, threads: this.#threads };
    if (ring === undefined) byThread(request);
    else ring.read(request);
  }

  /** To be called when no read is under way. Idempotent. */
  close(): void {
    this.#isRefused = true;
    const ring = this.#ring;
    this.#ring = undefined;
    if (ring === undefined) return;
    ring.users--;
    if (ring.users > 0) return;
    if (shared === ring) shared = undefined;
    ring.close();
  }

  /** The ring is made when the first file reads, and closed with the last one. */
  #get(): SharedRing | undefined {
    if (isForbidden || this.#isRefused) return undefined;
    if (this.#ring !== undefined) return this.#ring;
    this.#isRefused = !isRingAllowed();
    if (this.#isRefused) return undefined;
    try {
      shared ??= new SharedRing();
    } catch {
      this.#isRefused = true; // no descriptor is left, or no memory
      return undefined;
    }
    shared.users++;
    this.#ring = shared;
    return shared;
  }
}
