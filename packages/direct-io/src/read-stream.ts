/**
 * A drop-in for fs.createReadStream that reads past the page cache.
 *
 * It is an fs.ReadStream: options, events, properties and errors are Node's own code. What it replaces is where `_read`
 * gets its bytes.
 */
import { type createReadStream, fstat, ReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { isUint8Array } from 'node:util/types';
import {
  closeIfOpenedTooLate,
  copyOptions,
  invalidArgument,
  nextTick,
  pipesOf,
  validateCount,
} from '@zerocopy/transfer';
import { DirectDescriptor } from './direct-descriptor.js';
import { DirectRoute, isDirectWriter } from './direct-route.js';
import { ReadAhead } from './read-ahead.js';
import { CHUNK, type Fallback, isBag, validateFallback } from './stream-options.js';
import { StreamRecord } from './stream-record.js';

/** The options of `fs.createReadStream`, and ours. */
export type DirectReadStreamOptions = Exclude<Parameters<typeof createReadStream>[1], string | undefined> & {
  /** A descriptor or FileHandle to read from, in place of the path; directly if `start` is given, too. */
  fd?: number | FileHandle | undefined;
  /** Destroys the stream. */
  signal?: AbortSignal | null | undefined;
  /** Bytes of a chunk, at most, and of a request. Default 1048576. */
  highWaterMark?: number | undefined;
  /** How many requests are under way at once: 1 to 64. Default 2. */
  queueDepth?: number;
  /**
   * 'auto' (the default): what cannot be read directly is read as by Node's own stream.
   * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
   */
  fallback?: Fallback;
};

const DEPTH_MAX = 64;
const fstatAsync = promisify(fstat);

/** What {@link createDirectReadStream} makes: an fs.ReadStream that says how its bytes came. */
export class DirectReadStream extends ReadStream {
  // fs.ReadStream's own, not in its types.
  /** @internal Where the next read starts, in bytes; undefined: at the descriptor's own position. */
  declare pos: number | undefined;
  /** @internal The last byte of the range, inclusive; Infinity: the file's last. */
  declare end: number;
  /** @internal The descriptor that is read; null until the file is open, and again once it is closed. */
  declare fd: number | null;
  declare bytesRead: number;

  readonly #told: StreamRecord;
  readonly #refused: string | undefined;
  readonly #staysOpen: boolean;
  readonly #depth: number;
  readonly #chunk: number;
  #descriptor: DirectDescriptor | undefined;
  #ahead: ReadAhead | undefined;
  #route: DirectRoute | undefined;
  /** Resolves, never rejects, when it is known how the file is read. */
  #deciding: Promise<void> | undefined;
  #ended = false;

  /** As {@link createDirectReadStream}. */
  constructor(path: string | Buffer | URL, options?: DirectReadStreamOptions | BufferEncoding | null) {
    const given: DirectReadStreamOptions = typeof options === 'string' ? { encoding: options } : (options ?? {});
    const { fallback = 'auto', queueDepth = 2, ...rest } = copyOptions(given);
    validateFallback(fallback);
    validateCount(queueDepth, 'queueDepth', 1, DEPTH_MAX);
    // @ts-expect-error the types declare no constructor parameters; createReadStream calls it with these
    super(path, isBag(options) ? { highWaterMark: CHUNK, ...rest } : options);
    closeIfOpenedTooLate(this);
    this.#told = new StreamRecord(
      this,
      'read',
      path,
      fallback === 'never' ? 'the file cannot be read directly' : undefined,
    );
    this.#staysOpen = rest.autoClose === false;
    this.#depth = queueDepth;
    this.#chunk = rest.highWaterMark ?? CHUNK;
    const isLent = rest.fd !== undefined && rest.fd !== null;
    if (rest.fs !== undefined && rest.fs !== null) this.#refused = 'it has an fs of its own';
    else if (isLent && rest.start === undefined) this.#refused = "it is read from the descriptor's own position";
  }

  /** 'direct', or 'copy' for reads through the page cache; undefined while that is not decided. */
  get method(): 'direct' | 'copy' | undefined {
    return this.#told.record.method as 'direct' | 'copy' | undefined;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#told.record.fallbackReason;
  }

  /**
   * The bytes of a chunk are not needed any more: its memory is used for what is read next, before the garbage collector
   * would have found it. The chunk, and all that shares its memory, has no bytes from then on (its ArrayBuffer is detached), so
   * nothing that goes on reading it may be under way: neither a write of it nor a hash. To be called or not, as suits.
   * @param chunk what the stream has given, or a part of it.
   * @returns whether it was a chunk of this stream that has not been released yet.
   * @throws {TypeError} ERR_INVALID_ARG_TYPE for what is no Uint8Array, such as a chunk of a stream with an encoding.
   */
  release(chunk: Uint8Array): boolean {
    if (!isUint8Array(chunk)) throw invalidArgument('chunk', 'a Buffer or Uint8Array', chunk);
    return this.#ahead?.release(chunk) ?? false;
  }

  /** As of fs.ReadStream. Into a direct write stream the chunks go beneath the pipe, and their memory is used again. */
  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: { end?: boolean | undefined }): T {
    const writer: unknown = destination;
    const mayRoute = isDirectWriter(writer) && pipesOf(this)?.length === 0 && !this.#route?.moving;
    if (!mayRoute) this.#route?.leave();
    super.pipe(destination, options);
    if (mayRoute && pipesOf(this)?.length === 1) {
      const took = (bytes: number): void => this.#count(bytes);
      this.#route = new DirectRoute(
        this,
        writer,
        () => this.#ahead,
        took,
        (error) => this.#fail(error),
      );
    }
    return destination;
  }

  override _read(size: number): void {
    this.#told.start(this.bytesRead);
    if (this.destroyed) return;
    if (this.#deciding === undefined) {
      this.#deciding = this.#decide().catch((error: Error) => this.#fail(error));
      // What throws later than in read(), such as an allocation of Node's own _read, is the stream's error as there.
      void this.#deciding
        .then(() => {
          if (!this.destroyed) this._read(size);
        })
        .catch((error: Error) => this.#fail(error));
    } else if (this.#ahead !== undefined) {
      if (!this.#route?.read()) this.#readNext(this.#ahead);
    } else if (this.method === 'copy') super._read(size);
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (chunk === null && !this.#ended) {
      this.#ended = true;
      if (this.#staysOpen) {
        this.once('end', () => this.#told.end(true, null, this.bytesRead)); // it may never be destroyed
        void this.#released();
      }
    }
    return super.push(chunk, encoding);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Node's constructor destroys the stream if `signal` has been aborted already, before the fields exist.
    if (!(#told in this)) return super._destroy(error, callback);
    this.#told.end(this.readableEnded, error, this.bytesRead, this.readableLength);
    const close = (): void => {
      if (this.#deciding === undefined) super._destroy(error, callback);
      else this.#released().then(() => super._destroy(error, callback));
    };
    if (this.#route === undefined) close();
    else this.#route.close(close);
  }

  /** Nothing is under way, and the descriptor with O_DIRECT is closed. Never rejects. */
  async #released(): Promise<void> {
    await this.#deciding;
    await this.#ahead?.idle();
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    await descriptor?.close();
  }

  /**
   * Answers after `_read` has returned, as fs.ReadStream does: if a chunk came in the midst of `read()`, that would take
   * it together with the one that is there already, and copy both.
   */
  #readNext(ahead: ReadAhead): void {
    let isWithin = true;
    ahead.read((error, chunk) => {
      if (isWithin) nextTick(this.#onChunk, error, chunk);
      else this.#onChunk(error, chunk);
    });
    isWithin = false;
  }

  readonly #onChunk = (error: Error | null, chunk: Buffer | null): void => {
    if (this.destroyed) return;
    if (error !== null) {
      this.#fail(error);
      return;
    }
    if (chunk !== null) this.#count(chunk.length);
    this.push(chunk);
  };

  #count(bytes: number): void {
    this.bytesRead += bytes;
    if (this.pos !== undefined) this.pos += bytes;
  }

  /** As fs.ReadStream does: with `autoClose: false` an error leaves the stream and its descriptor open. */
  #fail(error: Error): void {
    if (this.destroyed) return;
    if (this.#staysOpen) {
      void this.#released();
      this.emit('error', error);
    } else this.destroy(error);
  }

  /** Finds out how the file is read. */
  async #decide(): Promise<void> {
    const { record } = this.#told;
    if (this.#refused !== undefined) return record.fallBack(this.#refused);
    const fd = this.fd as number;
    const onCopy = (reason: string): void => record.fallBack(reason);
    const descriptor = await DirectDescriptor.over(fd, { onCopy });
    this.#descriptor = descriptor;
    const { fallbackReason, alignment } = descriptor;
    const chunk = this.#chunk - (this.#chunk % alignment.readOffset);
    if (fallbackReason !== undefined) return record.fallBack(fallbackReason);
    if (chunk === 0) return record.fallBack('highWaterMark is less than the alignment');
    const stats = await fstatAsync(fd);
    record.goes('direct');
    // A block device says that it has no bytes.
    const size = stats.isFile() ? stats.size : Number.POSITIVE_INFINITY;
    this.#ahead = new ReadAhead(descriptor, this.pos ?? 0, this.end + 1, size, chunk, this.#depth);
  }
}

/**
 * As `fs.createReadStream(path, options)`, past the page cache: several requests are under way at once, and the file's
 * pages are neither looked for in the cache nor left there. A chunk has memory of its own, which lives as long as anything
 * refers to it. Where the file cannot be read directly the stream is Node's own; `method` and `fallbackReason` tell.
 */
export function createDirectReadStream(
  path: string | Buffer | URL,
  options?: DirectReadStreamOptions | BufferEncoding | null,
): DirectReadStream {
  return new DirectReadStream(path, options);
}
