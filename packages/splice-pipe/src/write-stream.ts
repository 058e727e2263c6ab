/**
 * A drop-in for fs.createWriteStream that lets the kernel write what is piped into it from a socket or an upload.
 *
 * It is an fs.WriteStream: options, events, properties and errors are Node's own code. When a source is piped into it
 * that the kernel can read, a route is laid beneath Node's pipe (taken-route.ts): the bytes are spliced into the file, in a
 * slot of the stream's own queue. At the end the source is given back, sees its end, and Node's pipe ends the stream.
 */
import { type createWriteStream, WriteStream, writev } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { TransferMethod } from '@zerocopy/core-syscalls';
import {
  CacheDrop,
  type CachePolicy,
  closedEarly,
  closeIfOpenedTooLate,
  endKindOf,
  type FileWriter,
  isSocket,
  kTellsOf,
  MethodRecord,
  nextTick,
  validateChoice,
  writeEachChunk,
} from '@zerocopy/transfer';
import { closeByWritten } from './close-written.js';
import { COLLECT_PIPED_MAX, CollectedBody } from './collected-body.js';
import { whenConnectionCloses } from './cut-off-body.js';
import { unavailable } from './endpoint.js';
import { type PublishedPipe, publishPipe } from './published-copy.js';
import { SpliceReadStream } from './read-stream.js';
import { contentLength, isRequest, isThrownAway, refusalOfRequest } from './request-body.js';
import { refusalOfSource } from './source.js';
import type { SpliceStreamEvents } from './stream-events.js';
import { TakenRoute } from './taken-route.js';

/** The options of `fs.createWriteStream`, and ours. */
export type SpliceWriteStreamOptions = Exclude<Parameters<typeof createWriteStream>[1], string | undefined> & {
  /** A descriptor or FileHandle to write to, in place of the path. */
  fd?: number | FileHandle | undefined;
  /** Destroys the stream. */
  signal?: AbortSignal | null | undefined;
  /**
   * 'auto' (the default): where the kernel path cannot be taken, the stream is Node's own.
   * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
   */
  fallback?: 'auto' | 'never';
  /**
   * 'drop': pages that the stream has brought into the page cache leave it again when they have been written to the disk;
   * those that were there before stay. Default 'keep'.
   */
  cache?: CachePolicy;
};

type WriteCallback = (error?: Error | null) => void;

/** What {@link createSpliceWriteStream} makes: an fs.WriteStream that says how its bytes went. */
export class SpliceWriteStream extends WriteStream {
  /** @internal Where the next write goes: fs.WriteStream's own, not in its types. */
  declare pos: number | undefined;
  /** The descriptor; null while the file is not open. */
  declare fd: number | null;

  readonly #record: MethodRecord;
  readonly #neverFallBack: boolean;
  readonly #foreignFs: boolean;
  readonly #cache: CachePolicy;
  readonly #isLent: boolean;
  /** Whether what was written to the stream would have been on its way to the file. */
  #hasBegun: boolean;
  #drop: CacheDrop | undefined;
  #route: TakenRoute | undefined;
  /** The body that is collected in memory: the stream is corked for it until the body is whole. */
  #collected: CollectedBody | undefined;
  /** Whose body it is. */
  #source: Readable | undefined;
  #unwatch: (() => void) | undefined;
  /** The piece of it that the pipe writes next. */
  #piece: unknown;
  /** Bytes of it that are on their way to the file: in the queue, or in the write that is under way. */
  #due = 0;
  #isDueWritten = false;
  #heldBack: WriteCallback | undefined;
  /** Pipes whose bytes Node copies. */
  #copied: PublishedPipe[] = [];
  readonly #onSourceHalts = (): void => this.#writeCollected();
  readonly #onSourceData = (piece: unknown): void => {
    this.#piece = piece;
  };

  /** As {@link createSpliceWriteStream}. */
  constructor(path: string | Buffer | URL, options?: SpliceWriteStreamOptions | BufferEncoding | null) {
    const own = typeof options === 'object' && options !== null ? options : undefined;
    const fallback = own?.fallback ?? 'auto';
    const cache = own?.cache ?? 'keep';
    validateChoice(fallback, 'fallback', ['auto', 'never']);
    validateChoice(cache, 'cache', ['keep', 'drop']);
    // @ts-expect-error the types declare no constructor parameters; createWriteStream calls it with these
    super(path, options); // whatever it is: the errors are Node's
    closeIfOpenedTooLate(this);
    this.#neverFallBack = fallback === 'never';
    this.#cache = cache;
    const refuses = this.#neverFallBack ? 'the kernel cannot write what is piped into this' : undefined;
    this.#record = new MethodRecord(this, refuses);
    this.#isLent = own?.fd !== undefined && own.fd !== null;
    this.#hasBegun = this.#isLent;
    this.#foreignFs = own?.fs !== undefined && own.fs !== null;
    this.on('pipe', (source) => this.#onPipe(source as unknown as Readable));
    this.on('unpipe', (source) => this.#onUnpipe(source as unknown as Readable));
  }

  /** How the bytes went: 'splice', or 'copy' for Node's own writing; undefined while none has come. */
  get method(): TransferMethod | undefined {
    return this.#record.method ?? (this.bytesWritten > 0 ? 'copy' : undefined);
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#record.fallbackReason ?? (this.method === 'copy' ? 'the stream was written to' : undefined);
  }

  // biome-ignore lint/suspicious/noExplicitAny: as Writable declares it
  override write(chunk: any, ...rest: any[]): boolean {
    if (this.destroyed) return Reflect.apply(super.write, this, [chunk, ...rest]) as boolean; // a refusal, not "more"
    const collected = this.#collected;
    // What is not the pipe's, or is written by somebody who waits for a callback, must not wait for the body.
    const isPiped = rest.length === 0 && chunk === this.#piece;
    if (collected !== undefined && (!isPiped || !collected.add(chunk))) this.#writeCollected();
    const more = Reflect.apply(super.write, this, [chunk, ...rest]) as boolean;
    return more || this.#collected !== undefined; // full, the pipe would pause the source, and wait for a write
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: WriteCallback): void {
    if (this.#isHeldBack(callback)) return;
    super._write(chunk, encoding, this.#telling(chunk.length, this.#releasing(callback)));
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], callback: WriteCallback): void {
    if (this.#isHeldBack(callback)) return;
    const bytes = chunks.reduce((sum, { chunk }) => sum + chunk.length, 0);
    super._writev?.(chunks, this.#telling(bytes, this.#releasing(callback)));
  }

  /** What has come of a body that breaks off is in the file, as far as Node would have written it. */
  override _destroy(error: Error | null, done: WriteCallback): void {
    // Node's constructor destroys the stream if `signal` has been aborted already, before the fields exist.
    if (!(#collected in this)) return super._destroy(error, done);
    const callback: WriteCallback = (failure) => {
      for (const copied of this.#copied) copied.destroyed(failure ?? null);
      done(failure);
    };
    this.#heldBack?.(this.errored);
    closeByWritten(this);
    const collected = this.#takeCollected();
    const { chunks = [], bytes = 0 } = collected ?? {};
    collected?.release();
    if (collected === undefined && !this.#isDueWritten) {
      this.#keepUnwritten(this.#due);
      this.#due = 0;
    }
    if (bytes === 0 || typeof this.fd !== 'number' || !this.#hasBegun) {
      this.#keepUnwritten(bytes);
      void this.#drop?.end();
      return super._destroy(error, callback);
    }
    this.#due = bytes;
    this.#drop?.expect(bytes);
    writev(this.fd, chunks, this.pos ?? null, (failure, written) => {
      this.#due = 0;
      if (!failure) this.bytesWritten += written;
      this.#drop?.moved(failure ? 0 : written);
      void this.#drop?.end();
      super._destroy(error, callback);
    });
  }

  /**
   * Of a stream that is destroyed without an error, `finished` and `pipeline` tell a success if it has been ended and nothing is
   * left in its queue, which Node empties as it is destroyed. What was collected, and will not be written, counts as left: as if
   * a write had been under way, which is what Node's back-pressure would have made of it.
   */
  #keepUnwritten(bytes: number): void {
    if (bytes === 0 || !this.writableEnded || this.errored !== null) return;
    (this as unknown as { _writableState: { length: number } })._writableState.length += bytes;
  }

  /** The collected bytes are on their way to the file: their memory is free when they have arrived. */
  #releasing(callback: WriteCallback): WriteCallback {
    const collected = this.#takeCollected();
    if (collected === undefined && this.#due === 0) return callback;
    if (collected !== undefined) this.#due = collected.bytes;
    this.#isDueWritten = true;
    return (error) => {
      this.#due = 0;
      this.#isDueWritten = false;
      collected?.release();
      callback(error);
    };
  }

  /** Nothing is collected any more. */
  #takeCollected(): CollectedBody | undefined {
    const collected = this.#collected;
    this.#collected = undefined;
    const source = collected && this.#source;
    source?.off('close', this.#onSourceHalts).off('pause', this.#onSourceHalts).off('data', this.#onSourceData);
    this.#unwatch?.();
    this.#source = undefined;
    this.#piece = undefined;
    return collected;
  }

  /**
   * Without `autoClose` a stream whose file cannot be opened stays, with what was written to it in its queue for ever. By
   * uncorking it what we have collected leaves the queue, and must be kept in the same way: until it is destroyed.
   */
  #isHeldBack(callback: WriteCallback): boolean {
    if (this.fd !== null || this.errored === null) return false;
    this.#takeCollected()?.release();
    this.#heldBack = callback;
    return true;
  }

  /** Ends the collecting: what has come is written, and what follows as it comes. */
  #writeCollected(): void {
    const collected = this.#takeCollected();
    if (collected === undefined) return;
    this.#due = collected.bytes;
    collected.release(); // it is in the stream's queue, as without us
    this.uncork();
  }

  /** @param bytes that are about to be written. */
  #telling(bytes: number, callback: WriteCallback): WriteCallback {
    this.#beginDrop();
    const drop = this.#drop;
    if (drop === undefined && this.listenerCount('progress') === 0) return callback;
    const before = this.bytesWritten;
    drop?.expect(bytes);
    return (error) => {
      if (!error) this.emit('progress', this.bytesWritten);
      drop?.moved(this.bytesWritten - before);
      const room = drop?.room();
      if (room === undefined) callback(error);
      else void room.then(() => callback(error));
    };
  }

  /** Before the first byte: of an open file that is written to at positions that are known. */
  #beginDrop(): void {
    if (this.#cache === 'keep' || this.#drop !== undefined || this.fd === null) return;
    const position = this.pos ?? (this.#isLent ? undefined : this.bytesWritten);
    if (position !== undefined && !this.#foreignFs)
      this.#drop = CacheDrop.of(this.#cache, this.fd, position, 'written');
  }

  /** @internal */
  override _construct(callback: (error?: Error | null) => void): void {
    // @ts-expect-error not in the types of fs.WriteStream
    super._construct((error?: Error | null) => {
      if (!error && !this.destroyed) this.#beginDrop();
      callback(error);
      // Node's own writing begins in the turn that this has begun, after the event 'open'.
      nextTick(() => {
        this.#hasBegun = true;
      });
    });
  }

  /** @internal Whoever it is piped from need not. */
  [kTellsOf](source: Readable): boolean {
    return this.#copied.some((copied) => copied.source === source && !copied.over);
  }

  #onPipe(source: Readable): void {
    if (this.#route?.underWay && !this.#route.left) return this.#route.leave('more than one source is piped into it');
    if (this.destroyed || this.writableEnded) return;
    writeEachChunk(source); // what is collected goes first
    this.#beginDrop();
    if (isRequest(source) && isThrownAway(source)) {
      this.destroy(closedEarly('source', 0)); // not a file without its bytes, and no error
      return;
    }
    const refused = this.#refusal() ?? refusalOfPipe(source, this.#neverFallBack);
    if (refused !== undefined) {
      this.#record.fallBack(refused);
      this.#collect(source);
      this.#publish(source);
      return;
    }
    this.#route = new TakenRoute(source as Socket | IncomingMessage, this as unknown as FileWriter, {
      record: this.#record,
      onMoved: (bytes) => {
        this.#drop?.moved(bytes);
      },
      onProgress: (bytes, total) => this.emit('progress', bytes, total),
      onDeclined: () => this.#publish(source),
    });
  }

  /**
   * A small body is written when it is whole, by one call on the thread pool and not by one for each piece that comes:
   * the stream is corked, and its own queue holds the body.
   */
  #collect(source: Readable): void {
    if (!isRequest(source) || this.#foreignFs || this.#neverFallBack) return;
    if (this.writableCorked > 0 || this.writableLength > 0) return; // what was written before comes first
    if (!(contentLength(source) <= COLLECT_PIPED_MAX) || unavailable() !== undefined) return;
    this.#collected = new CollectedBody();
    this.cork();
    this.#source = source;
    // Before its end a pipe, unlike a pipeline, leaves the destination open. And code that pauses it may do so for long.
    source.on('close', this.#onSourceHalts).on('pause', this.#onSourceHalts);
    this.#unwatch = whenConnectionCloses(source, this.#onSourceHalts);
    source.prependListener('data', this.#onSourceData); // before the pipe's, which is there already
  }

  #onUnpipe(source: Readable): void {
    if (this.#collected === undefined) return;
    if (!source.readableEnded) this.#writeCollected();
    else nextTick(() => this.#writeCollected()); // at its end: mostly the stream is ended now
  }

  /** What Node's own pipe writes from now on. */
  #publish(source: Readable): void {
    if (this.destroyed || this.writableEnded) return;
    const before = this.bytesWritten;
    const published = publishPipe(source, this, {
      about: {
        source: isRequest(source) ? 'http' : source instanceof SpliceReadStream ? 'socket' : endKindOf(source),
        destination: 'file',
        detail: { destination: this.path },
      },
      bytes: () => this.bytesWritten - before + (this.#collected?.bytes ?? this.#due),
      reason: () => this.#record.fallbackReason,
    });
    this.#copied = [...this.#copied.filter(({ over }) => !over), published];
  }

  #refusal(): string | undefined {
    if (this.#foreignFs) return 'the option fs is set';
    if (this.writableCorked > 0) return 'the stream is corked';
    return this.#route?.underWay ? 'it was piped into again before the kernel path had been left' : undefined;
  }
}

/** Why what `source` brings cannot be spliced; its pipe to us has one 'data' listener. */
function refusalOfPipe(source: Readable, neverFallBack: boolean): string | undefined {
  const reason = unavailable();
  if (reason !== undefined) return reason;
  if (isSocket(source)) return source.connecting ? 'the source is not connected yet' : refusalOfSource(source, 1);
  if (isRequest(source)) {
    return refusalOfRequest(source, 1, neverFallBack ? -1 : COLLECT_PIPED_MAX);
  }
  return `the source is not a socket but a ${source.constructor?.name || 'stream'}`;
}

/**
 * `fs.createWriteStream` into which the kernel splices, where a plain socket or an HTTP/1 message with a
 * Content-Length is piped. Anywhere else it is `fs.createWriteStream`; `method` and `fallbackReason` tell.
 *
 * @param path, options as for `fs.createWriteStream`: `start` in bytes.
 */
export function createSpliceWriteStream(
  path: string | Buffer | URL,
  options?: SpliceWriteStreamOptions | BufferEncoding | null,
): SpliceWriteStream & SpliceStreamEvents {
  return new SpliceWriteStream(path, options) as SpliceWriteStream & SpliceStreamEvents;
}
