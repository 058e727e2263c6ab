/** A file as a Buffer: mmap(2). */
import { EventEmitter } from 'node:events';
import { ftruncate } from 'node:fs';
import { promisify } from 'node:util';
import { check, constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted, uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { runOffThread } from '@zerocopy/transfer';
import { type MapAccess, type MapOptions, planOf } from './map-options.js';
import { Mapping } from './mapping.js';
import { type Copied, openMapping, openMappingSync } from './open.js';
import { type ByteRange, resolveRange, validateChoice, validateCount } from './options.js';
import { reserveBlocks } from './reserve-blocks.js';
import { tellAlso } from './tell-also.js';
import { unwatchTruncation, watchTruncation } from './truncation-watch.js';
import { bufferTooLarge, MAX_VIEW } from './view.js';

const { EFAULT, EINVAL, MADV_POPULATE_READ, MADV_WILLNEED, MS_SYNC } = constants;
const MiB = 1024 * 1024;
const DEFAULT_WINDOW = 64 * MiB;
/** Pages that one mincore call is asked about. */
const RESIDENCY_PAGES = 65_536;

/** As in madvise(2). 'dontneed' throws away what was stored into a mapping that is not shared. */
export type MapAdvice =
  | 'normal'
  | 'random'
  | 'sequential'
  | 'willneed'
  | 'dontneed'
  | 'cold'
  | 'pageout'
  | 'hugepage'
  | 'nohugepage';

const ADVICE: Readonly<Record<MapAdvice, number>> = {
  normal: constants.MADV_NORMAL,
  random: constants.MADV_RANDOM,
  sequential: constants.MADV_SEQUENTIAL,
  willneed: constants.MADV_WILLNEED,
  dontneed: constants.MADV_DONTNEED,
  cold: constants.MADV_COLD,
  pageout: constants.MADV_PAGEOUT,
  hugepage: constants.MADV_HUGEPAGE,
  nohugepage: constants.MADV_NOHUGEPAGE,
};

export interface Residency {
  /** Of the pages that the range touches. */
  readonly pages: number;
  /** Of those, in memory. Pages that are being read count, and for somebody else's file, all do (mincore(2)). */
  readonly residentPages: number;
  /** Bytes of a page. */
  readonly pageSize: number;
}

interface MappedFileEvents {
  /** The file was cut short by somebody else. Seen within about 100 ms, if there is a listener; emitted once. */
  truncated: [];
}

const truncateAsync = promisify(ftruncate);

class MappingError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const closedError = (): Error => new MappingError('ERR_MAPPING_CLOSED', 'the mapping is closed');

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

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether somebody else has cut the file short: what was missing when it was touched reads as zeros from then on. */
  get truncated(): boolean {
    return this.#mapping?.truncated ?? false;
  }

  /**
   * All of it; empty when it is closed. The same Buffer each time, until {@link resize}.
   * @throws {RangeError} ERR_BUFFER_TOO_LARGE beyond what a Buffer can hold: see {@link view} and {@link windows}.
   */
  get buffer(): Buffer {
    if (this.#closed) return Buffer.alloc(0);
    this.#buffer ??= this.#viewOf(0, this.length);
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
    if (this.#buffer !== undefined) return this.#buffer.subarray(range.offset, range.offset + range.length);
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
    const { address, length } = pages;
    const result = await this.#offThread((done) => syscalls.madviseAsync(address, length, MADV_POPULATE_READ, done));
    if (result === -EINVAL) return void syscalls.madvise(address, length, MADV_WILLNEED);
    if (result === -EFAULT) throw this.#truncatedError();
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
   * @throws {SyscallError} EIO. An Error ERR_FILE_TRUNCATED: stores into what was cut off are lost.
   */
  flush(range: ByteRange = {}): void {
    const pages = this.#storedPages(range);
    if (pages === undefined) return;
    check(
      uninterrupted(() => syscalls.msync(pages.address, pages.length, MS_SYNC)),
      'msync',
    );
    if (this.truncated) throw this.#truncatedError();
  }

  /** {@link flush} on another thread. */
  async flushAsync(range: ByteRange = {}): Promise<void> {
    const pages = this.#storedPages(range);
    if (pages === undefined) return;
    check(await this.#offThread((done) => syscalls.msyncAsync(pages.address, pages.length, MS_SYNC, done)), 'msync');
    if (this.truncated) throw this.#truncatedError();
  }

  /**
   * Makes the file, and the mapping, end `length` bytes after the mapping's start. Longer: blocks are reserved first, so
   * that a full disk is an error here and not a fault later (rule 30). Shorter: what earlier views show of the rest is
   * zeros. Views stay valid either way; {@link buffer} is a new one.
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
    const before = mapping.length;
    if (this.truncated) throw this.#truncatedError();
    const end = mapping.offset + before;
    if (mapping.fileSize() > end) {
      throw new MappingError(
        'ERR_INVALID_STATE',
        `the file goes on after the mapping's ${before} bytes: it is not cut`,
      );
    }
    if (length === before) return;
    const letGo = mapping.holdDescriptor();
    try {
      if (length > before) await this.#extend(mapping, length);
      else await this.#cut(mapping, length);
    } finally {
      this.#buffer = undefined;
      letGo();
    }
  }

  async #extend(mapping: Mapping, length: number): Promise<void> {
    const end = mapping.offset + mapping.length;
    await reserveBlocks(mapping.fd, end, length - mapping.length, mapping.path);
    try {
      await truncateAsync(mapping.fd, mapping.offset + length);
      if (mapping.closed) throw closedError();
      mapping.grow(length);
    } catch (error) {
      await truncateAsync(mapping.fd, end).catch(tellAlso(error, 'the file could not be cut back'));
      throw error;
    }
  }

  async #cut(mapping: Mapping, length: number): Promise<void> {
    const before = mapping.length;
    try {
      mapping.shrink(length);
      await truncateAsync(mapping.fd, mapping.offset + length);
    } catch (error) {
      try {
        if (!mapping.closed) mapping.unshrink(before);
      } catch (second) {
        tellAlso(error, `the mapping has become ${mapping.length} bytes, the file has not`)(second);
      }
      throw error;
    }
    if (mapping.closed) throw closedError();
  }

  /**
   * Ends it: all views show zeros from now on. The address space goes back when they have been collected. Any number of
   * times; what is under way on other threads is not disturbed.
   * @throws {SyscallError} ENOMEM where there is none for that, once: views stay what they are then, guarded, and all of it
   * goes back with the last of them.
   */
  async close(): Promise<void> {
    this.#end();
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (this.#mapping === undefined) buffer?.fill(0);
    else {
      forgotten.unregister(this);
      unwatchTruncation(this.#mapping);
      this.#mapping.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onNewListener = (event: unknown): void => {
    const mapping = this.#mapping as Mapping;
    if (event === 'truncated' && !this.#closed) watchTruncation(mapping, teller(new WeakRef(this)));
  };

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
    if (this.truncated) throw this.#truncatedError();
    return this.#pagesOf(range);
  }

  #writable(what: string): Mapping {
    if (this.access === 'write' && this.#mapping !== undefined) return this.#mapping;
    throw new MappingError(
      'ERR_INVALID_STATE',
      `${what} is for mappings with access 'write'; this one has '${this.access}'`,
    );
  }

  #truncatedError(): Error {
    return new MappingError(
      'ERR_FILE_TRUNCATED',
      'the file was truncated under its mapping: missing bytes read as zeros',
    );
  }

  /** The pages stay mapped for as long as the call is under way. */
  async #offThread(call: (done: (result: number) => void) => void): Promise<number> {
    const region = (this.#mapping as Mapping).region;
    region?.retain();
    try {
      return await new Promise<number>((resolve) => runOffThread((done) => uninterruptedAsync(call, done), resolve));
    } finally {
      region?.release();
    }
  }
}

/**
 * Maps a file. Where that is not possible its bytes are read instead: see {@link MappedFile.method}.
 *
 * @throws Node's own error if it cannot be opened; {@link SyscallError} ENODEV for what is no regular file, EISDIR;
 * RangeError if the file does not hold the range; ERR_ZEROCOPY_UNAVAILABLE if it must be mapped and cannot be.
 * @see https://man7.org/linux/man-pages/man2/mmap.2.html
 */
export async function mapFile(path: string | Buffer | URL, options: MapOptions = {}): Promise<MappedFile> {
  const plan = planOf(path, options);
  const file = new MappedFile(await openMapping(plan), plan.access);
  if (plan.populate) {
    try {
      await file.populate();
    } catch (error) {
      await file.close();
      throw error;
    }
  }
  return file;
}

/**
 * {@link mapFile} at once. It takes no lease, for which a thread has to be started: 'both' is the trap alone.
 * @throws also ERR_INVALID_ARG_VALUE for `guard: 'lease'`.
 */
export function mapFileSync(path: string | Buffer | URL, options: MapOptions = {}): MappedFile {
  const plan = planOf(path, options);
  if (plan.guard === 'lease') {
    throw Object.assign(new TypeError("mapFileSync takes no leases: use mapFile for guard 'lease'"), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
  const source = openMappingSync(plan);
  if (plan.populate && source instanceof Mapping) {
    const { address, length } = source.pagesOf(0, source.length);
    const result = length === 0 ? 0 : uninterrupted(() => syscalls.madvise(address, length, MADV_POPULATE_READ));
    if (result < 0 && result !== -EINVAL) {
      source.close();
      throw new SyscallError(result, 'madvise', { path: source.path });
    }
  }
  return new MappedFile(source, plan.access);
}
