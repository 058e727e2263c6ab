/**
 * A drop-in for fs.createWriteStream that lets the kernel write what is piped into it from a socket or an upload.
 *
 * It is an fs.WriteStream: options, events, properties and errors are Node's own code. When a source is piped into it
 * that the kernel can read, Node's pipe is left as it is, but no data comes through it any more: the bytes are
 * spliced into the file. At the end the source is given back, sees its end, and Node's pipe ends the stream.
 *
 *   ordinary ──'pipe'──► preparing ──► splicing ──source ends──► ordinary
 *                 └─────────┴────────────┴── unpipe, write(), a listener, pause: ordinary, from the byte reached
 */
import { type createWriteStream, WriteStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { SyscallError, type TransferMethod } from '@zerocopy/core-syscalls';
import { isSocket, OwnedDescriptor } from '@zerocopy/transfer';
import { isAppending, kindOf } from './descriptor-kind.js';
import { FileDestination } from './destination.js';
import { unavailable } from './endpoint.js';
import { validateChoice } from './options.js';
import { Relay, type RelayOutcome } from './relay.js';
import { contentLength, HeldRequest, isRequest, refusalOfRequest } from './request-body.js';
import { type KernelSource, refusalOfSource, SocketSource } from './source.js';

/** The options of `fs.createWriteStream`, and ours. */
export type SpliceWriteStreamOptions = Exclude<Parameters<typeof createWriteStream>[1], string | undefined> & {
  fd?: number | FileHandle | undefined;
  signal?: AbortSignal | null | undefined;
  /**
   * 'auto' (the default): where the kernel path cannot be taken, the stream is Node's own.
   * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
   */
  fallback?: 'auto' | 'never';
};

/** A source that is piped into the stream and whose bytes go below it. */
interface Route {
  readonly source: Readable;
  /** Gives back what has been taken, as long as no relay does. */
  release(): void;
  relay?: Relay;
  readonly onNewListener: (event: string | symbol) => void;
  readonly onPause: () => void;
  readonly onClose: () => void;
}

type WriteCallback = (error?: Error | null) => void;

interface Finalizable {
  _final?(callback: WriteCallback): void;
}

class UnavailableError extends Error {
  readonly code = 'ERR_ZEROCOPY_UNAVAILABLE';
}

const EMPTY = Buffer.alloc(0);
/** A smaller body costs less CPU when it is copied (`npm run bench:upload`): taking over costs what 256 KiB do. */
const UPLOAD_MIN = 256 * 1024;

export class SpliceWriteStream extends WriteStream {
  // fs.WriteStream's own, not in its types: where the next write goes, if that is not the descriptor's own position.
  declare pos: number | undefined;
  declare fd: number | null;
  declare autoClose: boolean;

  readonly #neverFallBack: boolean;
  readonly #foreignFs: boolean;
  #route: Route | undefined;
  #method: TransferMethod | undefined;
  #fallbackReason: string | undefined;
  /** Under way, also when its route has been left: a call on another thread may be using the descriptor still. */
  #running: Relay | undefined;
  /** What waits for the kernel path to end. */
  #afterRelay: (() => void)[] = [];

  constructor(path: string | Buffer | URL, options?: SpliceWriteStreamOptions | BufferEncoding | null) {
    const own = typeof options === 'object' && options !== null ? options : undefined;
    const fallback = own?.fallback ?? 'auto';
    validateChoice(fallback, 'fallback', ['auto', 'never']);
    // @ts-expect-error the types declare no constructor parameters; createWriteStream calls it with these
    super(path, options); // whatever it is: the errors are Node's
    this.#neverFallBack = fallback === 'never';
    this.#foreignFs = own?.fs !== undefined && own.fs !== null;
    this.on('pipe', (source) => this.#onPipe(source as unknown as Readable));
    this.on('unpipe', (source) => {
      if ((source as unknown) === this.#route?.source) this.#leave();
    });
  }

  /** How the bytes went: 'splice', or 'copy' for Node's own writing; undefined while none has come. */
  get method(): TransferMethod | undefined {
    return this.#method ?? (this.bytesWritten > 0 ? 'copy' : undefined);
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#fallbackReason ?? (this.method === 'copy' ? 'the stream was written to' : undefined);
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: WriteCallback): void {
    if (chunk.length === 0 && this.#route !== undefined) callback();
    else this.#whenOrdinary('the stream was written to', () => super._write(chunk, encoding, this.#telling(callback)));
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], callback: WriteCallback): void {
    this.#whenOrdinary('the stream was written to', () => super._writev?.(chunks, this.#telling(callback)));
  }

  #telling(callback: WriteCallback): WriteCallback {
    if (this.listenerCount('progress') === 0) return callback;
    return (error) => {
      if (!error) this.emit('progress', this.bytesWritten);
      callback(error);
    };
  }

  /** What is written to a corked stream waits, and the end uncorks it: nothing may go around that. */
  override cork(): void {
    this.#leave('the stream was corked');
    super.cork();
  }

  override _final(callback: WriteCallback): void {
    const own = (WriteStream.prototype as unknown as Finalizable)._final;
    this.#whenOrdinary('the stream was ended', () => (own === undefined ? callback() : own.call(this, callback)));
  }

  override _destroy(error: Error | null, callback: WriteCallback): void {
    // The descriptor must stay open for as long as a call on another thread may use it.
    this.#whenOrdinary('the stream was destroyed', () => super._destroy(error, callback));
  }

  #onPipe(source: Readable): void {
    if (this.#route !== undefined) {
      this.#leave('more than one source is piped into it');
      return;
    }
    if (this.destroyed || this.writableEnded) return;
    const own = this.#foreignFs
      ? 'the option fs is set'
      : this.writableCorked > 0
        ? 'the stream is corked'
        : this.#running && 'it was piped into again before the kernel path had been left';
    const refused = own ?? refusalOfPipe(source);
    if (refused !== undefined) this.#fallBack(refused);
    else if (isSocket(source)) this.#prepareSocket(source);
    else this.#prepareRequest(source as IncomingMessage);
  }

  #prepareSocket(socket: Socket): void {
    const route = this.#newRoute(socket, () => {});
    this.#route = route;
    // Like the flow of Node's pipe: after what is written in this tick.
    process.nextTick(() => {
      if (this.#route !== route) return;
      if (this.writableEnded || this.destroyed) return this.#leave();
      const refused = socket.readableFlowing === true ? refusalOfPipe(socket) : 'the source was paused';
      if (refused !== undefined) return this.#leave(refused);
      // What Node had read already reaches the pipe's listener in here, and is written in the ordinary way.
      const source = new SocketSource(socket, { resume: () => socket.readableFlowing !== false });
      route.release = () => source.giveBack(EMPTY, source.ended);
      socket.resume(); // it has been paused to be taken
      this.#listen(route);
      this.#whenWritten(route, () => this.#begin(route, source, Number.POSITIVE_INFINITY));
    });
  }

  #prepareRequest(request: IncomingMessage): void {
    if (contentLength(request) < UPLOAD_MIN && !this.#neverFallBack) {
      this.#fallBack('the body is small, and copying it costs less');
      return;
    }
    const held = new HeldRequest(request);
    const route = this.#newRoute(request, () => held.release());
    this.#listen(route);
    this.#route = route;
    held.whenParsed(() => {
      if (this.#route !== route) return;
      const refused = held.refusal();
      if (refused !== undefined) {
        this.#leave(refused);
        return;
      }
      const source = held.take();
      route.release = () => source.giveBack(EMPTY);
      this.#whenWritten(route, () => this.#begin(route, source, source.remaining));
    });
  }

  #newRoute(source: Readable, release: () => void): Route {
    const route: Route = {
      source,
      release,
      onNewListener: (event) => {
        if (event === 'data' || event === 'readable') this.#leave(`a '${event}' listener was added to the source`);
      },
      onPause: () => {
        // Node's pipe pauses, and resumes, a source that brings more than is written: that is not the user's doing.
        if (!this.writableNeedDrain) this.#leave('the source was paused');
      },
      onClose: () => route.relay?.lost(source.errored ?? new Error('the source was closed'), 'source'),
    };
    return route;
  }

  #listen({ source, onNewListener, onPause }: Route): void {
    source.on('newListener', onNewListener);
    source.on('pause', onPause);
  }

  #stopListening({ source, onNewListener, onPause, onClose }: Route): void {
    source.off('newListener', onNewListener);
    source.off('pause', onPause);
    source.off('close', onClose);
  }

  /** Once the file is open, and all that came before is in it. */
  #whenWritten(route: Route, begin: () => void): void {
    // Ended while the file was being opened: a write of ours would be one after the end.
    if (this.writableEnded || this.destroyed) {
      this.#leave();
      return;
    }
    const check = (error?: Error | null): void => {
      if (error || this.#route !== route || this.destroyed) return;
      if (this.writableEnded) return this.#leave();
      if (this.writableLength > 0) {
        this.write(EMPTY, check); // what has been written meanwhile comes first, too
        return;
      }
      const refused = isAppending(this.fd as number)
        ? 'the file is open for appending'
        : kindOf(this.fd as number) !== 'file'
          ? 'it is not a regular file'
          : undefined;
      if (refused === undefined) begin();
      else this.#leave(refused);
    };
    this.write(EMPTY, check);
  }

  #begin(route: Route, source: KernelSource, length: number): void {
    // The descriptor may have been lent, be closed by its owner, and its number be used again (rule 40).
    const own = OwnedDescriptor.tryDuplicate(this.fd as number);
    if (own === null) {
      this.#leave('the descriptor cannot be duplicated');
      return;
    }
    route.source.on('close', route.onClose);
    const before = this.bytesWritten;
    let seen = 0;
    route.relay = new Relay({
      source: () => source,
      destination: new FileDestination(own.fd, this.pos),
      eager: true,
      length,
      about: { detail: { destination: this.path } },
      onMoved: (bytes) => {
        this.bytesWritten += bytes;
        if (this.pos !== undefined) this.pos += bytes;
      },
      onProgress: (bytes, total) => {
        if (bytes > seen && this.listenerCount('progress') > 0)
          this.emit('progress', before + bytes, total && before + total);
        seen = bytes;
      },
      onEnd: (outcome) => {
        own.close();
        this.#onRelayEnd(route, outcome);
      },
    });
    this.#running = route.relay;
    route.relay.start();
  }

  #onRelayEnd(route: Route, { error, result, failed }: RelayOutcome): void {
    const { source } = route;
    this.#stopListening(route);
    if (this.#route === route) this.#route = undefined;
    this.#running = undefined;
    if (result.bytes > 0 || this.#method === undefined) this.#method = result.method;
    if (result.fallbackReason !== undefined) this.#fallbackReason ??= result.fallbackReason;
    if (error !== null && !this.destroyed) {
      const cause = asWriteError(error.cause instanceof Error ? error.cause : error);
      if (failed === 'source') source.destroy(cause);
      else if (this.autoClose) this.destroy(cause);
      else this.emit('error', cause);
    }
    // Not before: what the source has been given back would flow into the file, behind the failure and uncounted.
    route.relay?.release();
    for (const then of this.#afterRelay.splice(0)) then();
  }

  /** Runs `then` with no kernel path under way; stops it, if there is one. */
  #whenOrdinary(reason: string, then: () => void): void {
    if (this.#running !== undefined) {
      this.#afterRelay.push(then);
      this.#leave(reason);
      return;
    }
    // While it is being prepared, earlier writes are what is waited for; only an end breaks it off.
    if (this.writableEnded || this.destroyed) this.#leave(reason);
    then();
  }

  /** Goes on as an ordinary pipe, from the byte that has been reached. */
  #leave(reason?: string): void {
    const route = this.#route;
    if (route === undefined) return;
    this.#route = undefined;
    if (reason !== undefined && !this.destroyed && !this.writableEnded) this.#fallBack(reason);
    if (route.relay === undefined) {
      this.#stopListening(route);
      route.release();
    } else route.relay.stop(null);
  }

  #fallBack(reason: string): void {
    if (this.#neverFallBack) {
      this.destroy(
        new UnavailableError(`the kernel cannot write what is piped into this: ${reason} (fallback is 'never')`),
      );
      return;
    }
    this.#method ??= 'copy';
    this.#fallbackReason ??= reason;
  }
}

/** Why what `source` brings cannot be spliced; its pipe to us has one 'data' listener. */
function refusalOfPipe(source: Readable): string | undefined {
  const reason = unavailable();
  if (reason !== undefined) return reason;
  if (isSocket(source)) return source.connecting ? 'the source is not connected yet' : refusalOfSource(source, 1);
  if (isRequest(source)) return refusalOfRequest(source, 1);
  return `the source is not a socket but a ${source.constructor?.name || 'stream'}`;
}

/** A splice that failed at the file is to its user a write that failed. */
function asWriteError(error: Error): Error {
  return error instanceof SyscallError ? new SyscallError(error.errno, 'write') : error;
}

/**
 * `fs.createWriteStream` into which the kernel splices, where a plain socket or an HTTP/1 request with a
 * Content-Length is piped. Anywhere else it is `fs.createWriteStream`; `method` and `fallbackReason` tell.
 *
 * @param path, options as for `fs.createWriteStream`: `start` in bytes.
 */
export function createSpliceWriteStream(
  path: string | Buffer | URL,
  options?: SpliceWriteStreamOptions | BufferEncoding | null,
): SpliceWriteStream {
  return new SpliceWriteStream(path, options);
}
