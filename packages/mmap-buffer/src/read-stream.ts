/**
 * A drop-in for fs.createReadStream whose chunks are views of the mapped file: nothing is copied in user space.
 *
 * It is an fs.ReadStream: options, events, properties and errors are Node's own code. What it replaces is where `_read`
 * gets its bytes.
 */
import { type createReadStream, ReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { fileStatus, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import {
  CacheDrop,
  type CachePolicy,
  closeIfOpenedTooLate,
  copyOptions,
  KernelPathUnavailableError,
  StreamScope,
  validateChoice,
} from '@zerocopy/transfer';
import { isMemoryTracked } from './external-memory.js';
import { feature } from './feature.js';
import { cutShort, FileWindows } from './file-windows.js';

const KiB = 1024;
/** Bytes of a chunk: it costs as much for a large one as for a small one. */
const CHUNK = 256 * KiB;
/** Bytes up to which, inclusive, a file is read instead: that costs less than mapping it. */
const SMALL = 64 * KiB;

/** The options of `fs.createReadStream`, and ours. */
export type MmapReadStreamOptions = Exclude<Parameters<typeof createReadStream>[1], string | undefined> & {
  /** A descriptor or FileHandle to read from, in place of the path; mapped if `start` is given, too. */
  fd?: number | FileHandle | undefined;
  /** Destroys the stream. */
  signal?: AbortSignal | null | undefined;
  /** Bytes of a chunk, at most. Default 262144. */
  highWaterMark?: number | undefined;
  /**
   * 'auto' (the default): what cannot be mapped is read, as by Node's own stream.
   * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
   */
  fallback?: 'auto' | 'never';
  /**
   * 'drop': pages that the stream has brought into the page cache leave it again when no chunk of theirs is left; those that
   * were there before stay. Default 'keep'.
   */
  cache?: CachePolicy;
};

const unavailable = (name: 'mmap' | 'sigbusTrap'): string | undefined => {
  const { available, reason } = feature(name);
  return available ? undefined : (reason ?? `${name} is not available`);
};

/** A chunk may be kept, or its memory transferred, for longer than the stream lives. */
const untracked = (): string | undefined =>
  isMemoryTracked() ? undefined : 'when the last view of its memory is gone cannot be learnt in this process';

/** See {@link createMmapReadStream}. */
export class MmapReadStream extends ReadStream {
  // fs.ReadStream's own, not in its types.
  /** Where the next read starts, in bytes; undefined: at the descriptor's own position. */
  declare pos: number | undefined;
  /** The last byte of the range, inclusive; Infinity: the file's last. */
  declare end: number;
  /** The descriptor that is read; null until the file is open, and again once it is closed. */
  declare fd: number | null;
  declare bytesRead: number;

  #windows: FileWindows | undefined;
  #method: 'mmap' | 'copy' | undefined;
  #fallbackReason: string | undefined;
  readonly #told: StreamScope;
  readonly #refused: string | undefined;
  readonly #isLent: boolean;
  readonly #staysOpen: boolean;
  readonly #neverFallBack: boolean;
  readonly #cache: CachePolicy;
  /** Of what Node reads. */
  #drop: CacheDrop | undefined;
  /** What Node reads: bytes of the file, and where it is read from; undefined: it is not known. */
  #begun: { readonly size: number; readonly from: number } | undefined;

  /** See {@link createMmapReadStream}, which makes one. */
  constructor(path: string | Buffer | URL, options?: MmapReadStreamOptions | BufferEncoding | null) {
    const given: MmapReadStreamOptions = typeof options === 'string' ? { encoding: options } : (options ?? {});
    const { fallback = 'auto', cache = 'keep', ...rest } = copyOptions(given);
    validateChoice(fallback, 'fallback', ['auto', 'never']);
    validateChoice(cache, 'cache', ['keep', 'drop']);
    const isBag = options === undefined || options === null || ['object', 'string'].includes(typeof options);
    // @ts-expect-error the types declare no constructor parameters; createReadStream calls it with these
    super(path, isBag ? { highWaterMark: CHUNK, ...rest } : options);
    closeIfOpenedTooLate(this);
    this.#told = new StreamScope(this, 'read', path);
    this.#neverFallBack = fallback === 'never';
    this.#cache = cache;
    this.#isLent = rest.fd !== undefined && rest.fd !== null;
    this.#staysOpen = rest.autoClose === false;
    if (rest.fs !== undefined && rest.fs !== null) this.#refused = 'it has an fs of its own';
    else if (this.#isLent && rest.start === undefined) {
      this.#refused = "it is read from the descriptor's own position";
    }
  }

  /** 'mmap', or 'copy' for Node's own reading; undefined while that is not decided. */
  get method(): 'mmap' | 'copy' | undefined {
    return this.#method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#fallbackReason;
  }

  override _read(size: number): void {
    this.#told.start(this.bytesRead);
    if (this.destroyed) return; // by a subscriber
    if (this.#method === undefined && !this.#decide()) return;
    if (this.destroyed) return;
    const windows = this.#windows;
    if (windows === undefined) {
      super._read(size);
      return;
    }
    windows.read(size, (error, bytes) => {
      if (this.destroyed) return;
      if (error !== null) {
        this.#fail(error);
        return;
      }
      if (bytes === null) windows.close();
      else {
        this.bytesRead += bytes.length;
        if (this.pos !== undefined) this.pos += bytes.length;
      }
      this.push(bytes);
    });
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (chunk instanceof Uint8Array) this.#drop?.moved(chunk.length);
    else if (chunk === null) {
      void this.#drop?.end();
      if (this.#isCutShort()) {
        this.#fail(cutShort());
        return false;
      }
      if (this.#staysOpen) this.once('end', () => this.#tell(null)); // it may never be destroyed
    }
    return super.push(chunk, encoding);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Node's constructor destroys the stream if `signal` has been aborted already, before the fields exist.
    if (#windows in this) {
      this.#windows?.close();
      void this.#drop?.end();
      this.#tell(error);
    }
    super._destroy(error, callback);
  }

  /** As fs.ReadStream does: with `autoClose: false` an error leaves the stream and its descriptor open. */
  #fail(error: Error): void {
    if (!this.#staysOpen) {
      this.destroy(error);
      return;
    }
    this.#windows?.close();
    this.#tell(error);
    this.emit('error', error);
  }

  #tell(error: Error | null): void {
    const { method, fallbackReason } = this;
    this.#told.end(this.readableEnded, error, { bytes: this.bytesRead, method, fallbackReason }, this.readableLength);
  }

  /** Finds out how it is read. @returns whether it can be. */
  #decide(): boolean {
    try {
      const reason =
        this.#refused ?? unavailable('mmap') ?? unavailable('sigbusTrap') ?? untracked() ?? this.#refusalOfFile();
      if (reason === undefined) {
        this.#method = 'mmap';
        const onRefused = (code: string): void =>
          this.#copyInstead(`its filesystem, or a sandbox, does not let it be mapped (${code})`);
        this.#windows = new FileWindows(this.fd as number, this.pos ?? 0, this.end + 1, this.#cache, onRefused);
      } else {
        this.#copyInstead(reason);
        const position = this.pos ?? (this.#isLent ? undefined : this.bytesRead);
        if (position !== undefined && this.#refused === undefined) {
          this.#drop = CacheDrop.of(this.#cache, this.fd as number, position);
          const status = fileStatus(this.fd as number);
          if (isRegularFile(status)) this.#begun = { size: status.size, from: position };
        }
      }
      return true;
    } catch (error) {
      this.#fail(error as Error);
      return false;
    }
  }

  /** Files that say they are larger than they are, as in /sys, keep their size (kernel-rules: st-size-lies). */
  #isCutShort(): boolean {
    if (this.#begun === undefined || typeof this.fd !== 'number') return false;
    const { size, from } = this.#begun;
    if (from + this.bytesRead >= Math.min(size, this.end + 1)) return false;
    try {
      return fileStatus(this.fd).size < size;
    } catch {
      return true; // its owner has closed the descriptor meanwhile: it cannot be told from a file that was cut
    }
  }

  /** @throws {KernelPathUnavailableError} if that is not wanted. */
  #copyInstead(reason: string): void {
    this.#method = 'copy';
    this.#fallbackReason = reason;
    if (!this.#neverFallBack) return;
    throw new KernelPathUnavailableError('the file cannot be mapped', reason);
  }

  #refusalOfFile(): string | undefined {
    const stat = fileStatus(this.fd as number);
    if (!isRegularFile(stat)) return 'it is no regular file';
    // Under /proc a file has no size until it is read (kernel-rules: st-size-lies).
    if (stat.size === 0) return 'the file says that it is empty';
    const small = Math.min(stat.size - 1, this.end) - (this.pos ?? 0) < SMALL;
    return small && !this.#neverFallBack ? 'so few bytes cost less to read' : undefined;
  }
}

/**
 * As `fs.createReadStream(path, options)`, with chunks that are views of the mapped file. A chunk stays valid, and its
 * memory mapped, for as long as it, or an ArrayBuffer that it was transferred to, is left. If the file is cut short
 * while it is read, the stream fails with ERR_FILE_TRUNCATED instead of ending.
 */
export function createMmapReadStream(
  path: string | Buffer | URL,
  options?: MmapReadStreamOptions | BufferEncoding | null,
): MmapReadStream {
  return new MmapReadStream(path, options);
}
