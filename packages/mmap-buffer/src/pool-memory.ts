/**
 * What the holders of a pool share: one memory file, sealed so that no process can shrink it, with its books at the start.
 *
 *   header | counts: for each buffer, how many references each holder has | tickets: references on their way | buffers
 *
 * A buffer is free if all its counts are zero; nothing else says so, and no step leaves the books in a state that a crash
 * could make permanent: a reference always belongs to a holder, and a holder that is gone loses what it had.
 */
import { fstatSync, openSync } from 'node:fs';
import { check, constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { nameOfDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { memoryAt, uninterrupted, untilMoved } from '@zerocopy/core-syscalls/native';
import { closeQuietly } from '@zerocopy/transfer';
import { HolderLocks } from './holder-locks.js';
import { Region, wholePages } from './region.js';

const { F_ADD_SEALS, F_GET_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, MAP_SHARED } = constants;
const { MFD_ALLOW_SEALING, MFD_CLOEXEC } = constants;
const SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

/** 'zcbp': marks a pool of this layout. */
const MAGIC = 0x7063627a;
const VERSION = 1;
/** Processes and threads that may have a pool open at a time. */
export const HOLDERS = 32;

// Words of the header.
const HEADER_WORDS = 16;
const PAGE_SIZE = 2;
const COUNT = 3;
const SIZE_LOW = 4;
const SIZE_HIGH = 5;
const ID_LOW = 6;
const ID_HIGH = 7;
const LAST_NONCE = 8;
// Words of a ticket.
const TICKET_WORDS = 3;
const NONCE = 0;
const BUFFER = 1;
const OWNER = 2;

const TWO_32 = 2 ** 32;

/** How a reference travels: as a message to another holder of the pool. Opened once. */
export interface SharedBufferHandle {
  /** Which pool it is of. */
  readonly pool: string;
  /** Its place in the pool's list of references that are under way. */
  readonly ticket: number;
  /** Which of all that have had that place it is: a handle that is opened twice is found by it. */
  readonly nonce: number;
}

export interface PoolShape {
  /** Bytes. */
  readonly bufferSize: number;
  readonly count: number;
}

class PoolError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const ticketsOf = (count: number): number => Math.max(64, 4 * count);
const booksSize = (count: number): number =>
  wholePages(4 * (HEADER_WORDS + count * HOLDERS + ticketsOf(count) * TICKET_WORDS));
const totalSize = ({ bufferSize, count }: PoolShape): number => booksSize(count) + count * wholePages(bufferSize);

/**
 * An open file description of its own for the file behind `fd`: locks are held by descriptions. A memory file has no path
 * but this one.
 * @throws {Error} ERR_ZEROCOPY_UNAVAILABLE where there is no /proc, or Node's permission model denies it.
 */
function reopen(fd: number): number {
  const path = nameOfDescriptor(fd);
  try {
    return openSync(path, 'r+');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EACCES' && code !== 'ERR_ACCESS_DENIED') throw cause;
    const message = `there can be no shared buffers: ${path} cannot be opened (${code}): a pool needs /proc`;
    throw Object.assign(new Error(message, { cause }), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
  }
}

export class PoolMemory {
  readonly shape: PoolShape;
  /** For handing on: shares nothing but the file. */
  readonly fd: number;
  readonly id: string;
  readonly #lockFd: number;
  readonly #locks: HolderLocks;
  readonly #region: Region;
  /** The books. */
  readonly #words: Int32Array;
  readonly #holder: number;
  /** Made as they are asked for. */
  readonly #buffers: (Buffer | undefined)[] = [];
  /** Where to look for a free buffer first. */
  #next = 0;
  #closed = false;
  #ended = false;

  /** @throws {SyscallError} */
  static create(shape: PoolShape): PoolMemory {
    const made = check(syscalls.memfdCreate('zerocopy-pool', MFD_CLOEXEC | MFD_ALLOW_SEALING), 'memfd_create');
    try {
      check(
        uninterrupted(() => syscalls.ftruncate(made, totalSize(shape))),
        'ftruncate',
      );
      check(syscalls.fcntl(made, F_ADD_SEALS, SEALS), 'fcntl(F_ADD_SEALS)');
      const header = new Int32Array(HEADER_WORDS);
      header.set([MAGIC, VERSION, syscalls.getpagesize(), shape.count]);
      header[SIZE_LOW] = shape.bufferSize % TWO_32;
      header[SIZE_HIGH] = Math.floor(shape.bufferSize / TWO_32);
      crypto.getRandomValues(header.subarray(ID_LOW, ID_HIGH + 1));
      const bytes = new Uint8Array(header.buffer);
      check(
        untilMoved(bytes.length, (done) => syscalls.pwrite(made, bytes.subarray(done), bytes.length - done, done)),
        'pwrite',
      );
      return new PoolMemory(made);
    } finally {
      syscalls.close(made);
    }
  }

  /** @param given stays the caller's. @throws {Error} ERR_INVALID_POOL if it is no pool that can be trusted. */
  constructor(given: number) {
    this.shape = inspect(given);
    const { count } = this.shape;
    const size = totalSize(this.shape);
    this.#region = new Region(size, () => this.#endUnseen());
    const opened: number[] = [];
    try {
      this.fd = reopen(given);
      opened.push(this.fd);
      this.#lockFd = reopen(given);
      opened.push(this.#lockFd);
      this.#locks = new HolderLocks(this.#lockFd);
      this.#region.placeFile(0, size, { fd: this.fd, offset: 0, sharing: MAP_SHARED });
      // Not a view of the region's, which would hold the region for as long as there is this.
      this.#words = new Int32Array(memoryAt(this.#region.address, booksSize(count)));
      this.id = `${hex(this.#words[ID_HIGH])}${hex(this.#words[ID_LOW])}`;
      this.#holder = this.#attach();
    } catch (error) {
      this.#ended = true; // there is nothing to give up
      this.#region.disown();
      for (const fd of opened) closeQuietly(fd);
      throw error;
    }
  }

  get free(): number {
    this.#assertOpen();
    let free = 0;
    for (let index = 0; index < this.shape.count; index++) if (this.#isFree(index)) free++;
    return free;
  }

  /** @returns the index of a buffer that was free, with one reference to it; or -1. */
  acquire(): number {
    this.#assertOpen();
    const { count } = this.shape;
    return this.#locks.exclusively(() => {
      for (let tried = 0; tried < count; tried++) {
        const index = (this.#next + tried) % count;
        if (!this.#isFree(index)) continue;
        Atomics.store(this.#words, this.#countAt(index, this.#holder), 1);
        this.#next = (index + 1) % count;
        return index;
      }
      return -1;
    });
  }

  release(index: number): void {
    if (!this.#closed) Atomics.sub(this.#words, this.#countAt(index, this.#holder), 1);
  }

  /** One more reference, on its way to the holder that opens the handle; until then it is this holder's. */
  share(index: number): SharedBufferHandle {
    this.#assertOpen();
    return this.#locks.exclusively(() => {
      const words = this.#words;
      for (let ticket = 0; ticket < ticketsOf(this.shape.count); ticket++) {
        const at = this.#ticketAt(ticket);
        if (Atomics.load(words, at + NONCE) !== 0) continue;
        const nonce = (unsigned(Atomics.load(words, LAST_NONCE)) % 0x7fffffff) + 1;
        Atomics.store(words, LAST_NONCE, nonce);
        Atomics.store(words, at + BUFFER, index);
        Atomics.store(words, at + OWNER, this.#holder);
        Atomics.add(words, this.#countAt(index, this.#holder), 1);
        Atomics.store(words, at + NONCE, nonce);
        return { pool: this.id, ticket, nonce };
      }
      throw new PoolError('ERR_POOL_TOO_MANY_HANDLES', 'too many handles have been made and not opened');
    });
  }

  /** @returns the index of its buffer. @throws {Error} ERR_INVALID_HANDLE if it is of another pool, or is not open to be opened. */
  open({ pool, ticket, nonce }: SharedBufferHandle): number {
    this.#assertOpen();
    if (pool !== this.id) throw new PoolError('ERR_INVALID_HANDLE', 'the handle is of another pool');
    return this.#locks.exclusively(() => {
      const words = this.#words;
      const valid = Number.isInteger(ticket) && ticket >= 0 && ticket < ticketsOf(this.shape.count) && nonce > 0;
      const at = valid ? this.#ticketAt(ticket) : 0;
      const index = valid && Atomics.load(words, at + NONCE) === nonce ? Atomics.load(words, at + BUFFER) : -1;
      if (index < 0 || index >= this.shape.count) {
        throw new PoolError(
          'ERR_INVALID_HANDLE',
          'the handle was opened before, or its sender has closed the pool or is gone',
        );
      }
      // In this order: at no point has it no holder.
      Atomics.add(words, this.#countAt(index, this.#holder), 1);
      Atomics.store(words, at + NONCE, 0);
      Atomics.sub(words, this.#countAt(index, unsigned(Atomics.load(words, at + OWNER)) % HOLDERS), 1);
      return index;
    });
  }

  /** Takes their references from holders that are gone. @returns how many buffers that freed. */
  reclaim(): number {
    this.#assertOpen();
    return this.#locks.exclusively(() => {
      const before = this.free;
      for (let holder = 0; holder < HOLDERS; holder++) {
        if (holder === this.#holder || !this.#hasReferences(holder) || !this.#locks.isGone(holder)) continue;
        if (!this.#locks.tryHold(holder)) continue;
        this.#forget(holder);
        this.#locks.release(holder);
      }
      return this.free - before;
    });
  }

  buffer(index: number): Buffer {
    this.#buffers[index] ??= this.#region.view(
      booksSize(this.shape.count) + index * wholePages(this.shape.bufferSize),
      this.shape.bufferSize,
    );
    return this.#buffers[index];
  }

  /** Gives up all references; views show zeros from now on. @throws {SyscallError} ENOMEM: then they stay what they are. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#end();
    } finally {
      this.#buffers.length = 0;
      try {
        this.#region.placeZeros(0);
      } finally {
        this.#region.disown();
      }
    }
  }

  /** Its SharedBufferPool is gone: it ends with the last view of one of its buffers, which is in use until then. */
  forget(): void {
    if (this.#closed) return;
    this.#buffers.length = 0;
    this.#region.disown();
  }

  #endUnseen(): void {
    this.#closed = true;
    try {
      this.#end();
    } catch {} // another holder keeps the pool's lock; it finds this one's gone
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    try {
      this.#locks.exclusively(() => this.#forget(this.#holder));
    } finally {
      // Whatever happens, the kernel gives up the lock, and with it what was held.
      closeQuietly(this.#lockFd);
      closeQuietly(this.fd);
    }
  }

  /** The lock's descriptor may be another file's by now (kernel-rules: fd-reuse). */
  #assertOpen(): void {
    if (this.#closed) throw new PoolError('ERR_POOL_CLOSED', 'the pool is closed');
  }

  #attach(): number {
    return this.#locks.exclusively(() => {
      for (let holder = 0; holder < HOLDERS; holder++) {
        if (!this.#locks.tryHold(holder)) continue;
        this.#forget(holder); // of the one that was it before, and crashed
        return holder;
      }
      throw new PoolError('ERR_POOL_TOO_MANY_HOLDERS', `${HOLDERS} processes or threads have the pool open already`);
    });
  }

  #forget(holder: number): void {
    for (let index = 0; index < this.shape.count; index++) Atomics.store(this.#words, this.#countAt(index, holder), 0);
    for (let ticket = 0; ticket < ticketsOf(this.shape.count); ticket++) {
      const at = this.#ticketAt(ticket);
      if (Atomics.load(this.#words, at + OWNER) === holder) Atomics.store(this.#words, at + NONCE, 0);
    }
  }

  #hasReferences(holder: number): boolean {
    for (let index = 0; index < this.shape.count; index++) {
      if (Atomics.load(this.#words, this.#countAt(index, holder)) !== 0) return true;
    }
    return false;
  }

  #isFree(index: number): boolean {
    const from = this.#countAt(index, 0);
    for (let at = from; at < from + HOLDERS; at++) if (Atomics.load(this.#words, at) !== 0) return false;
    return true;
  }

  #countAt(index: number, holder: number): number {
    return HEADER_WORDS + index * HOLDERS + holder;
  }

  #ticketAt(ticket: number): number {
    return HEADER_WORDS + this.shape.count * HOLDERS + ticket * TICKET_WORDS;
  }
}

/** Another process may have written a negative word, and the remainder of that would be an index of none. */
const unsigned = (word: number): number => word >>> 0;

const hex = (word: number | undefined): string =>
  unsigned(word ?? 0)
    .toString(16)
    .padStart(8, '0');

/** The shape of a pool that another process may have made, with nothing taken on trust. */
function inspect(fd: number): PoolShape {
  const invalid = (why: string): PoolError => new PoolError('ERR_INVALID_POOL', `the descriptor is no pool: ${why}`);
  const seals = syscalls.fcntl(fd, F_GET_SEALS);
  if (seals < 0) throw invalid(`it is not a memory file (${new SyscallError(seals, 'fcntl').code})`);
  if ((seals & SEALS) !== SEALS) throw invalid('it is not sealed: another process could shrink it under us');
  const header = new Int32Array(HEADER_WORDS);
  const bytes = new Uint8Array(header.buffer);
  const read = check(
    untilMoved(bytes.length, (done) => syscalls.pread(fd, bytes.subarray(done), bytes.length - done, done)),
    'pread',
  );
  if (read !== header.byteLength || header[0] !== MAGIC || header[1] !== VERSION)
    throw invalid('its header is another');
  if (header[PAGE_SIZE] !== syscalls.getpagesize()) throw invalid('it was made for another page size');
  const count = header[COUNT] as number;
  const bufferSize = ((header[SIZE_LOW] as number) >>> 0) + ((header[SIZE_HIGH] as number) >>> 0) * TWO_32;
  const shape = { bufferSize, count };
  if (count < 1 || bufferSize < 1 || fstatSync(fd).size !== totalSize(shape)) throw invalid('its size is another');
  return shape;
}
