/** A file as a Buffer: mmap(2). */
import { EventEmitter } from 'node:events';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted, uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { callOffThread, validateChoice, validateCount } from '@zerocopy/transfer';
import { ADVICE, type MapAdvice } from './map-advice.js';
import type { mapFile, mapFileSync } from './map-file.js';
import type { MapAccess } from './map-options.js';
import { Mapping } from './mapping.js';
import { closedError, MappingError, truncatedError } from './mapping-error.js';
import type { Copied } from './open.js';
import { type ByteRange, resolveRange } from './options.js';
import { resizeMapping } from './resize.js';
import { unwatchTruncation, watchTruncation } from './truncation-watch.js';
import { bufferTooLarge, MAX_VIEW } from './view.js';

const { EFAULT, EINVAL, MADV_POPULATE_READ, MADV_WILLNEED, MS_SYNC } = constants;
const MiB = 1024 * 1024;
const DEFAULT_WINDOW = 64 * MiB;
/** Pages that one mincore call is asked about. */
const RESIDENCY_PAGES = 65_536;

/** How much of a range is in memory. */
export interface Residency {
  /** Of the pages that the range touches. */
  readonly pages: number;
  /** Of those, in memory. Pages that are being read count, and of another user's file all do (mincore(2)). */
  readonly residentPages: number;
  /** Bytes of a page. */
  readonly pageSize: number;
}

interface MappedFileEvents {
  /** The file was cut short by another process. Seen within about 100 ms, if there is a listener; emitted once. */
  truncated: [];
}

/** Emits for as long as the MappedFile is there: the mapping itself must not keep it. */
function teller(file: WeakRef<MappedFile>): () => void {
  return () => void file.deref()?.emit('truncated');
}

const forgotten = new FinalizationRegistry<Mapping>((mapping) => {
  unwatchTruncation(mapping);
  mapping.forget();
});

/** Made by {@link mapFile} and {@link mapFileSync}. */
export class MappedFile extends EventEmitter<MappedFileEvents> implements Disposable, AsyncDisposable {
  /** As it was asked for. */
  readonly access: MapAccess;
  /** 'mmap'; or 'copy' where it could not be mapped, and was read instead. */
  readonly method: 'mmap' | 'copy';
  /** Why `method` is 'copy', in words. */
  readonly fallbackReason: string | undefined;
  readonly #mapping: Mapping | undefined;
  /** All of it, made when it is asked for. */
  #buffer: Buffer | undefined;
  #closed = false;
  #resizing: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(source: Mapping | Copied, access: MapAccess) {
    super();
    this.access = access;
    if (source instanceof Mapping) {
      this.method = 'mmap';
      this.#mapping = source;
      forgotten.register(this, source, this);
      super.on('newListener' as 'truncated', this.#onNewListener as () => void);
    } else {
      this.method = 'copy';
      this.fallbackReason = source.reason;
      this.#buffer = source.bytes;
    }
  }

  /** In bytes; 0 when it is closed. */
  get length(): number {
    if (this.#closed) return 0;
    return this.#mapping?.length ?? (this.#buffer as Buffer).length;
  }

  /** Whether {@link close} has been called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether another process has cut the file short: what was missing when it was touched reads as zeros from then on. */
  get truncated(): boolean {
    return this.#mapping?.truncated ?? false;
  }

  /**
   * Pages within the file that the kernel could not provide when they were touched: the filesystem was full, or the disk
   * is bad. Each is a copy since, of what could be read, and a store into it is lost, which {@link flush} tells.
   */
  get lostPages(): number {
    return this.#mapping?.faults().copied ?? 0;
  }

  /**
   * All of it; empty when it is closed. The same Buffer each time, until {@link resize}, or until its
   * memory is transferred.
   * @throws {RangeError} ERR_BUFFER_TOO_LARGE beyond what a Buffer can hold: see {@link view} and {@link windows}.
   */
  get buffer(): Buffer {
    if (this.#closed) return Buffer.alloc(0);
    this.#buffer = this.#whole() ?? this.#viewOf(0, this.length);
    return this.#buffer;
  }

  /**
   * A part of it, at any place of a mapping of any size.
   * @param offset, length in bytes; the length defaults to the rest.
   * @throws {RangeError} ERR_OUT_OF_RANGE, ERR_BUFFER_TOO_LARGE.
   */
  view(offset: number, length?: number): Buffer {
    this.#assertOpen();
    const range = resolveRange(length === undefined ? { offset } : { offset, length }, this.length);
    const whole = this.#whole();
    if (whole !== undefined) return whole.subarray(range.offset, range.offset + range.length);
    return this.#viewOf(range.offset, range.length);
  }

  /** One view after the other, of `size` bytes each (the last may be shorter). Default 64 MiB. */
  *windows(size: number = DEFAULT_WINDOW): Generator<Buffer, void, void> {
    validateCount(size, 'size', 1, MAX_VIEW);
    for (let at = 0; at < this.length; at += size) yield this.view(at, Math.min(size, this.length - at));
  }

  /**
   * madvise(2). Nothing is promised, except for 'dontneed'.
   * @throws {SyscallError} EINVAL where the kernel does not know the advice.
   */
  advise(advice: MapAdvice, range: ByteRange = {}): void {
    validateChoice(advice, 'advice', Object.keys(ADVICE) as MapAdvice[]);
    const pages = this.#pagesOf(range);
    if (pages === undefined) return;
    check(
      uninterrupted(() => syscalls.madvise(pages.address, pages.length, ADVICE[advice])),
      'madvise',
    );
  }

  /**
   * Reads the range into memory and maps its pages, on another thread: touching it costs no fault and waits for no disk
   * afterwards. (MADV_POPULATE_READ, since Linux 5.14; before that it is asked for and not waited for.)
   * @throws {Error} ERR_FILE_TRUNCATED.
   */
  async populate(range: ByteRange = {}): Promise<void> {
    const pages = this.#pagesOf(range);
    if (pages === undefined) return;
    const mapping = this.#mapping as Mapping;
    const { address, length } = pages;
    const result = await this.#offThread((done) => syscalls.madviseAsync(address, length, MADV_POPULATE_READ, done));
    if (result === -EINVAL) return void syscalls.madvise(address, length, MADV_WILLNEED);
    if (result === -EFAULT && this.truncated) throw truncatedError();
    // A page within the file that there is none of: touching it is answered by the trap
    // (kernel-rules: sigbus-not-truncation).
    if (result === -EFAULT && mapping.isTrapped) return;
    check(result, 'madvise');
  }

  /** How much of the range is in memory: mincore(2). It does not say that a page can be read without waiting. */
  residency(range: ByteRange = {}): Residency {
    const pageSize = syscalls.getpagesize();
    const pages = this.#pagesOf(range);
    if (pages === undefined) {
      const count = Math.ceil(resolveRange(range, this.length).length / pageSize);
      return { pages: count, residentPages: count, pageSize };
    }
    const count = pages.length / pageSize;
    const vector = Buffer.allocUnsafe(Math.min(count, RESIDENCY_PAGES));
    let residentPages = 0;
    for (let at = 0; at < count; at += vector.length) {
      const asked = Math.min(vector.length, count - at);
      check(syscalls.mincore(pages.address + at * pageSize, asked * pageSize, vector), 'mincore');
      for (let page = 0; page < asked; page++) residentPages += (vector[page] as number) & 1;
    }
    return { pages: count, residentPages, pageSize };
  }

  /**
   * Reads the range into memory and keeps it there: mlock(2), on another thread.
   * @throws {SyscallError} ENOMEM or EPERM beyond RLIMIT_MEMLOCK.
   */
  async lock(range: ByteRange = {}): Promise<void> {
    const pages = this.#pagesOf(range);
    if (pages === undefined) return;
    const result = await this.#offThread((done) => syscalls.mlockAsync(pages.address, pages.length, done));
    check(result, 'mlock');
  }

  /** munlock(2). Pages are unlocked whole, however often they were locked. */
  unlock(range: ByteRange = {}): void {
    const pages = this.#pagesOf(range);
    if (pages !== undefined) check(syscalls.munlock(pages.address, pages.length), 'munlock');
  }

  /**
   * Waits, on this thread, until what was stored in the range is on the disk: msync(2) with MS_SYNC.
   * @throws {SyscallError} EIO. An Error ERR_FILE_TRUNCATED: stores into what was cut off are lost; ERR_STORE_LOST: stores
   * into holes are lost for which the filesystem had no room.
   */
  flush(range: ByteRange = {}): void {
    const pages = this.#storedPages(range);
    if (pages === undefined) return;
    check(
      uninterrupted(() => syscalls.msync(pages.address, pages.length, MS_SYNC)),
      'msync',
    );
    this.#assertStored();
  }

  /** {@link flush} on another thread. */
  async flushAsync(range: ByteRange = {}): Promise<void> {
    const pages = this.#storedPages(range);
    if (pages === undefined) return;
    check(await this.#offThread((done) => syscalls.msyncAsync(pages.address, pages.length, MS_SYNC, done)), 'msync');
    this.#assertStored();
  }

  /**
   * Makes the file, and the mapping, end `length` bytes after the mapping's start. Longer: blocks are reserved first, so
   * that a full disk is an error here and not a fault later (kernel-rules: reserve-blocks). Shorter: what earlier views
   * show of the rest is zeros. Views stay valid either way; {@link buffer} is a new one.
   *
   * @throws {SyscallError} ENOSPC, EFBIG, EDQUOT; the file is what it was. An Error ERR_INVALID_STATE unless the mapping
   * is writable and ends where the file does.
   */
  resize(length: number): Promise<void> {
    const resized = this.#resizing.then(() => this.#resize(length));
    this.#resizing = resized.catch(() => {});
    return resized;
  }

  async #resize(length: number): Promise<void> {
    this.#assertOpen();
    validateCount(length, 'length');
    const mapping = this.#writable('resize');
    try {
      await resizeMapping(mapping, length);
    } finally {
      this.#buffer = undefined;
    }
  }

  /**
   * Ends it: all views show zeros from now on. The address space goes back when no ArrayBuffer over it is
   * left, one that it was transferred to included. Idempotent; what is under way on other threads is not disturbed.
   * @throws {SyscallError} ENOMEM where there is none for that, once: views stay what they are then, guarded, and all of it
   * goes back with the last of them.
   */
  async close(): Promise<void> {
    this.#end();
  }

  /** {@link close}. */
  [Symbol.dispose](): void {
    this.#end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (this.#mapping === undefined) {
      if (buffer !== undefined && buffer.length > 0) buffer.fill(0); // none if its memory was transferred
    } else {
      forgotten.unregister(this);
      unwatchTruncation(this.#mapping);
      this.#mapping.close();
    }
  }

  /** {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onNewListener = (event: unknown): void => {
    const mapping = this.#mapping as Mapping;
    if (event === 'truncated' && !this.#closed) watchTruncation(mapping, teller(new WeakRef(this)));
  };

  /**
   * The Buffer of all of it, if there is one. A mapping makes another in the place of one whose memory was transferred; of
   * a copy nothing is left then.
   */
  #whole(): Buffer | undefined {
    if (this.#mapping !== undefined && this.#buffer?.length !== this.#mapping.length) this.#buffer = undefined;
    return this.#buffer;
  }

  #viewOf(offset: number, length: number): Buffer {
    if (length > MAX_VIEW) throw bufferTooLarge(length);
    return (this.#mapping as Mapping).view(offset, length);
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }

  /** Undefined where there are none: an empty range, or a copy. */
  #pagesOf(range: ByteRange): { address: number; length: number } | undefined {
    this.#assertOpen();
    const { offset, length } = resolveRange(range, this.length);
    if (this.#mapping === undefined || length === 0) return undefined;
    return this.#mapping.pagesOf(offset, length);
  }

  #storedPages(range: ByteRange): { address: number; length: number } | undefined {
    this.#assertOpen();
    this.#writable('flush');
    this.#assertStored();
    return this.#pagesOf(range);
  }

  /** Whether what was stored could get to the file at all. */
  #assertStored(): void {
    if (this.truncated) throw truncatedError();
    const { copied, unreadable } = (this.#mapping as Mapping).faults();
    if (unreadable > 0) throw new MappingError('EIO', `${unreadable} pages of the mapping could not be read`);
    if (copied === 0) return;
    const why = `the filesystem had no room for ${copied} pages of the mapping`;
    throw new MappingError('ERR_STORE_LOST', `${why}: what was stored into them is lost`);
  }

  #writable(what: string): Mapping {
    if (this.access === 'write' && this.#mapping !== undefined) return this.#mapping;
    throw new MappingError(
      'ERR_INVALID_STATE',
      `${what} is for mappings with access 'write'; this one has '${this.access}'`,
    );
  }

  /** The pages stay mapped for as long as the call is under way. */
  async #offThread(call: (done: (result: number) => void) => void): Promise<number> {
    const region = (this.#mapping as Mapping).region;
    region?.retain();
    try {
      return await callOffThread((done) => uninterruptedAsync(call, done));
    } finally {
      region?.release();
    }
  }
}
