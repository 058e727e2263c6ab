/**
 * A drop-in for fs.createWriteStream that writes past the page cache.
 *
 * It is an fs.WriteStream: options, events, properties and errors are Node's own code. What it replaces is what becomes of
 * the chunks: those that have gathered while the last were written are written together, whole pages of them directly. A
 * callback is called, as ever, when its bytes are in the file.
 */
import { type createWriteStream, WriteStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import {
  closedEarly,
  closeIfOpenedTooLate,
  copyOptions,
  failureOf,
  kTellsOf,
  validateChoice,
} from '@zerocopy/transfer';
import { DirectDescriptor } from './direct-descriptor.js';
import type { Datasync } from './options.js';
import { CHUNK, type Fallback, isBag, validateFallback } from './stream-options.js';
import { StreamRecord } from './stream-record.js';

/** The options of `fs.createWriteStream`, and ours. */
export type DirectWriteStreamOptions = Exclude<Parameters<typeof createWriteStream>[1], string | undefined> & {
  /** A descriptor or FileHandle to write to, in place of the path; directly if `start` is given, too. */
  fd?: number | FileHandle | undefined;
  /** Destroys the stream. */
  signal?: AbortSignal | null | undefined;
  /** Bytes that gather before `write` answers false. Default 1048576. */
  highWaterMark?: number | undefined;
  /**
   * 'none' (the default): nothing is made durable. 'end': 'finish' comes when it is (fdatasync(2)). 'each': a write's
   * callback does.
   */
  datasync?: Datasync;
  /**
   * 'auto' (the default): where the file cannot be written directly, the stream is Node's own.
   * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
   */
  fallback?: Fallback;
};

type WriteCallback = (error?: Error | null) => void;
type Chunk = { readonly chunk: Buffer; readonly encoding: BufferEncoding };

/** What {@link createDirectWriteStream} makes: an fs.WriteStream that says how its bytes went. */
export class DirectWriteStream extends WriteStream {
  // fs.WriteStream's own, not in its types.
  /** @internal Where the next write goes, in bytes; undefined: to the descriptor's own position. */
  declare pos: number | undefined;
  /** @internal The descriptor; null while the file is not open. */
  declare fd: number | null;
  declare bytesWritten: number;

  readonly #told: StreamRecord;
  /** Why the source that was piped into it has not brought all. */
  #brokenOff: Error | undefined;
  /** What was piped into it last. */
  #source: Readable | undefined;
  readonly #refused: string | undefined;
  readonly #datasync: Datasync;
  readonly #staysOpen: boolean;
  #descriptor: DirectDescriptor | undefined;
  /** Resolves, never rejects, when it is known how the file is written. */
  #deciding: Promise<void> | undefined;
  #decided = false;
  #finished = false;
  /** Resolves when the request that is under way has ended. */
  #underWay: Promise<void> | undefined;

  /** As {@link createDirectWriteStream}. */
  constructor(path: string | Buffer | URL, options?: DirectWriteStreamOptions | BufferEncoding | null) {
    const given: DirectWriteStreamOptions = typeof options === 'string' ? { encoding: options } : (options ?? {});
    const { fallback = 'auto', datasync = 'none', ...rest } = copyOptions(given);
    validateFallback(fallback);
    validateChoice(datasync, 'datasync', ['none', 'end', 'each']);
    // @ts-expect-error the types declare no constructor parameters; createWriteStream calls it with these
    super(path, isBag(options) ? { highWaterMark: CHUNK, ...rest } : options);
    closeIfOpenedTooLate(this);
    const refuses = fallback === 'never' ? 'the file cannot be written directly' : undefined;
    this.#told = new StreamRecord(this, 'write', path, refuses);
    this.#datasync = datasync;
    this.#staysOpen = rest.autoClose === false;
    const isLent = rest.fd !== undefined && rest.fd !== null;
    if (rest.fs !== undefined && rest.fs !== null) this.#refused = 'it has an fs of its own';
    else if (isLent && rest.start === undefined) this.#refused = "it is written to the descriptor's own position";
    this.on('pipe', (source) => this.#follow(source as unknown as Readable));
  }

  /** @internal Whoever it is piped from need not. */
  [kTellsOf](): boolean {
    return true;
  }

  /** A source that breaks off leaves the destination of its pipe open: then this is over, and what is written later is new. */
  #follow(source: Readable): void {
    this.#source = source;
    const stop = (): void => {
      source.off('close', onClose);
      this.off('unpipe', onUnpipe).off('close', stop);
    };
    const onClose = (): void => {
      if (source.readableEnded) return;
      stop();
      this.#brokenOff = failureOf(source) ?? closedEarly('source', this.bytesWritten);
      if (this.writableLength === 0) this.#tellBrokenOff();
    };
    const onUnpipe = (from: unknown): void => {
      if (from === source && !source.destroyed) stop(); // one that fails is unpiped before it has closed
    };
    source.on('close', onClose);
    this.on('unpipe', onUnpipe).on('close', stop);
  }

  /** 'direct', or 'copy' for writes through the page cache; undefined while nothing has been written. */
  get method(): 'direct' | 'copy' | undefined {
    return this.#told.record.method as 'direct' | 'copy' | undefined;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#told.record.fallbackReason;
  }

  /** What was in the queue when the source broke off has been written. */
  #tellBrokenOff(): void {
    const error = this.#brokenOff;
    if (error === undefined) return;
    this.#brokenOff = undefined;
    this.#told.end(false, error, this.bytesWritten);
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: WriteCallback): void {
    this.#write([chunk], callback, (done) => super._write(chunk, encoding, done));
  }

  override _writev(chunks: Chunk[], callback: WriteCallback): void {
    const byNode = (done: WriteCallback): void => super._writev?.(chunks, done);
    this.#write(
      chunks.map(({ chunk }) => chunk),
      callback,
      byNode,
    );
  }

  override _final(callback: WriteCallback): void {
    const finished: WriteCallback = (error) => {
      this.#finished = !error;
      if (!error) this.#told.end(true, null, this.bytesWritten);
      if (this.#staysOpen) void this.#released(); // it may never be destroyed
      callback(error);
    };
    if (this.#datasync !== 'end') finished();
    else this.#sync(finished);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Node's constructor destroys the stream if `signal` has been aborted already, before the fields exist.
    if (!(#told in this)) return super._destroy(error, callback);
    this.#told.end(this.#finished, error, this.bytesWritten);
    if (this.#deciding === undefined) super._destroy(error, callback);
    else this.#released().then(() => super._destroy(error, callback));
  }

  /** Nothing is under way, and the descriptor with O_DIRECT is closed. Never rejects. */
  async #released(): Promise<void> {
    await this.#deciding;
    await this.#underWay;
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    await descriptor?.close();
  }

  /** @param byNode writes the same chunks by fs.WriteStream. */
  #write(chunks: readonly Buffer[], callback: WriteCallback, byNode: (done: WriteCallback) => void): void {
    this.#told.start(this.bytesWritten, this.#source);
    this.#writeNow(
      chunks,
      (error) => {
        callback(error);
        if (this.#brokenOff !== undefined && this.writableLength === 0) this.#tellBrokenOff();
      },
      byNode,
    );
  }

  #writeNow(chunks: readonly Buffer[], callback: WriteCallback, byNode: (done: WriteCallback) => void): void {
    if (!this.#decided) {
      this.#deciding ??= this.#decide();
      void this.#deciding.then(() => {
        if (this.destroyed) callback(this.errored);
        else this.#writeNow(chunks, callback, byNode);
      });
    } else if (this.#descriptor?.method === 'direct') this.#writeDirectly(this.#descriptor, chunks, callback);
    else if (this.#datasync !== 'each') byNode(callback);
    else {
      byNode((error) => {
        if (error) callback(error);
        else this.#sync(callback);
      });
    }
  }

  #writeDirectly(descriptor: DirectDescriptor, chunks: readonly Buffer[], callback: WriteCallback): void {
    const position = this.pos ?? 0;
    this.#underWay = new Promise((resolve) => {
      descriptor.write(chunks, position, (error, bytes) => {
        this.bytesWritten += bytes;
        this.pos = position + bytes;
        const ended: WriteCallback = (failure) => {
          resolve();
          this.#underWay = undefined;
          callback(failure);
        };
        if (error !== null) ended(error);
        else if (this.#datasync === 'each') this.#sync(ended);
        else ended();
      });
    });
  }

  #sync(callback: WriteCallback): void {
    this.#deciding ??= this.#decide();
    void this.#deciding.then(() => {
      if (this.#descriptor === undefined) callback(this.errored);
      else this.#descriptor.datasync(callback);
    });
  }

  /** Finds out how the file is written. Never rejects. */
  async #decide(): Promise<void> {
    const { record } = this.#told;
    try {
      const onCopy = (reason: string): void => record.fallBack(reason);
      this.#descriptor = await DirectDescriptor.over(this.fd as number, { refused: this.#refused, onCopy });
      const { fallbackReason } = this.#descriptor;
      if (fallbackReason === undefined) {
        record.goes('direct');
        this.pos ??= 0; // the file was opened by this stream, and with O_APPEND it would not be written directly
      } else record.fallBack(fallbackReason);
    } catch (error) {
      this.destroy(error as Error);
    }
    this.#decided = true;
  }
}

/**
 * As `fs.createWriteStream(path, options)`, past the page cache. Chunks that gather are written together; whole pages go
 * directly, what is left before and behind them through the cache. Where the file cannot be written directly the stream is
 * Node's own; `method` and `fallbackReason` tell.
 */
export function createDirectWriteStream(
  path: string | Buffer | URL,
  options?: DirectWriteStreamOptions | BufferEncoding | null,
): DirectWriteStream {
  return new DirectWriteStream(path, options);
}
