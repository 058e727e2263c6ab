/**
 * A drop-in for fs.createReadStream that lets the kernel send the file where it can.
 *
 * It is an fs.ReadStream: options, events, properties and errors are Node's own code. What it adds is `pipe`, which is
 * all that `stream.pipeline` calls as well:
 *
 *   piped ──► opening ──► sending ──► 'end'
 *     └─────────┴────────────┴──► ordinary pipe, from the byte it has reached: the destination cannot take it, or
 *                                 somebody reads the stream in another way as well (a 'data' listener, a second pipe)
 */
import { type createReadStream, ReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { constants, feature, syscalls, type TransferMethod } from '@zerocopy/core-syscalls';
import {
  bodyFraming,
  closeUnwaited,
  isEndedByPipeline,
  isOutgoingMessage,
  OwnedDescriptor,
  PipedDestination,
} from '@zerocopy/transfer';
import { cachedFs } from './cached-open.js';
import {
  announce,
  type FileDestination,
  framingOf,
  resolveDestination,
  type SocketDestination,
} from './destination.js';
import { FileSend } from './file-destination.js';
import { KernelSend, type KernelSendOptions, type Send, type SendOutcome } from './kernel-send.js';
import { LeaseHold, type LeaseOptions } from './lease.js';
import { validateChoice, validateLease, validateOffset } from './options.js';
import { readSmall, SMALL_FILE_SIZE } from './small-file.js';
import { inspectSource } from './source.js';

/** The options of `fs.createReadStream`, and ours. */
export type SendfileStreamOptions = Exclude<Parameters<typeof createReadStream>[1], string | undefined> &
  LeaseOptions & {
    fd?: number | FileHandle | undefined;
    signal?: AbortSignal | null | undefined;
    /**
     * 'auto' (the default): where the kernel path cannot be taken, the stream is Node's own.
     * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
     */
    fallback?: 'auto' | 'never';
    /**
     * Up to this many bytes, inclusive, a warm file is copied into the write of the HTTP message's headers, which for so
     * few bytes costs less than a system call of their own. Default 65536; 0: never.
     */
    smallFileSize?: number;
  };

interface PipeOptions {
  end?: boolean | undefined;
}

interface Route {
  readonly destination: NodeJS.WritableStream;
  readonly options: PipeOptions | undefined;
  piped?: PipedDestination;
  send?: Send;
}

class UnavailableError extends Error {
  readonly code = 'ERR_ZEROCOPY_UNAVAILABLE';
}

/** Why no stream can use sendfile in this process, or undefined. */
function unavailable(): string | undefined {
  const { available, reason } = feature('sendfile');
  return available ? undefined : (reason ?? 'sendfile is not available');
}

/** With those that `options` inherits, which Node counts as well. */
function allOptions(options: SendfileStreamOptions | BufferEncoding | null | undefined): SendfileStreamOptions {
  if (typeof options === 'string') return { encoding: options };
  const all = Object.create(null) as Record<string, unknown>; // '__proto__' out of JSON is a name like any other
  for (const name in options) all[name] = options[name as keyof typeof options];
  return all;
}

export class SendfileReadStream extends ReadStream {
  // fs.ReadStream's own, not in its types: where the next read starts, the range, and the start as given.
  declare pos: number | undefined;
  declare start: number | undefined;
  declare end: number;
  declare fd: number | null;
  declare autoClose: boolean;

  readonly #neverFallBack: boolean;
  readonly #smallFileSize: number;
  readonly #ownFs: boolean;
  readonly #leaseOptions: LeaseOptions | undefined;
  #lease: LeaseHold | undefined;
  /** What waits for the file to be open and, if one is wanted, for its lease. */
  #onOpen: (() => void) | undefined;
  #isOpen = false;
  #givenDescriptor = false;
  #route: Route | undefined;
  #method: TransferMethod | undefined;
  #fallbackReason: string | undefined;
  #bytesSent = 0;
  /** `_read` was called while the kernel was sending; Node waits for a push until then. */
  #readHeldBack = false;
  /** Destroys the connection of a file that failed half-way; called once this stream has told its error. */
  #settle: (() => void) | undefined;
  /** It has failed without being destroyed: nothing is read any more. */
  #failed = false;
  /** What waits for the kernel path to end. */
  #afterSend: (() => void) | undefined;

  constructor(path: string | Buffer | URL, options?: SendfileStreamOptions | BufferEncoding | null) {
    const {
      fallback = 'auto',
      smallFileSize = SMALL_FILE_SIZE,
      lease = false,
      leaseBreak = 'finish',
      ...rest
    } = allOptions(options);
    validateChoice(fallback, 'fallback', ['auto', 'never']);
    validateOffset(smallFileSize, 'smallFileSize');
    validateLease(lease, leaseBreak);
    const isBag =
      options === undefined || options === null || typeof options === 'object' || typeof options === 'string';
    const own = rest.fd === undefined || rest.fd === null ? { fs: cachedFs, ...rest } : rest;
    // @ts-expect-error the types declare no constructor parameters; createReadStream calls it with these
    super(path, isBag ? own : options);
    this.#neverFallBack = fallback === 'never';
    this.#smallFileSize = this.#neverFallBack ? 0 : smallFileSize;
    this.#ownFs = rest.fs !== undefined && rest.fs !== null;
    this.#leaseOptions = lease === false ? undefined : { lease, leaseBreak };
  }

  override _construct(callback: (error?: Error | null) => void): void {
    const opened = (error?: Error | null): void => {
      callback(error);
      if (error) return;
      this.#isOpen = true;
      const begin = this.#onOpen;
      this.#onOpen = undefined;
      // After 'open' and 'ready', which come when this returns.
      if (begin !== undefined) process.nextTick(begin);
    };
    this.#givenDescriptor = typeof this.fd === 'number';
    // @ts-expect-error not in the types of fs.ReadStream
    super._construct((error?: Error | null) => {
      if (!error && !this.#givenDescriptor && this.closed) {
        // Destroyed by Node's constructor, before there was anything to close: Node's own stream leaks it (to Node 26).
        cachedFs.close(this.fd as number, () => {});
        this.fd = null;
        return callback();
      }
      if (error || this.#leaseOptions === undefined) return opened(error);
      const onBroken = (broken: Error): void => this.#fail(broken);
      const name = this.path ? String(this.path) : undefined;
      LeaseHold.acquire(this.#leaseOptions, this.fd as number, name, onBroken).then((lease) => {
        this.#lease = lease;
        opened();
      }, opened);
    });
  }

  /** How the bytes go: 'sendfile', or 'copy' for Node's own reading; undefined while that is not decided. */
  get method(): TransferMethod | undefined {
    return this.#route?.send?.method ?? this.#method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#fallbackReason;
  }

  /** Bytes handed to the destination by the kernel, or read by Node where it copies. */
  get bytesSent(): number {
    return this.#method === 'copy' ? this.bytesRead : this.#bytesSent;
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: PipeOptions): T {
    if (this.#route !== undefined) {
      this.#leaveRoute('it is piped to more than one destination');
      return super.pipe(destination, options);
    }
    const refused = this.#refusal(destination);
    if (refused !== undefined) {
      return this.#fallBack(refused) ? super.pipe(destination, options) : destination;
    }
    const route: Route = { destination, options };
    this.#route = route;
    route.piped = new PipedDestination(this, destination, this.#endsDestination(route), () => {
      // Once it sends, the transfer finds out, and waits for what is under way.
      if (this.#route === route && route.send === undefined) this.#endRoute(() => {});
    });
    if (this.#isOpen) process.nextTick(() => this.#begin());
    else this.#onOpen = () => this.#begin();
    return destination;
  }

  override unpipe(destination?: NodeJS.WritableStream): this {
    const route = this.#route;
    if (route !== undefined && (destination === undefined || destination === route.destination)) {
      this.#endRoute(() => {});
      route.piped?.unpipe();
      return this;
    }
    return super.unpipe(destination);
  }

  // Any other use of the stream as a Readable makes it an ordinary one.

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    // Node's constructor adds listeners (for `signal`) before this class's own fields exist.
    if (!(#route in this)) return super.on(event as string, listener as (...args: unknown[]) => void);
    if (event === 'data' || event === 'readable') this.#leaveRoute(`a '${event}' listener was added`);
    return super.on(event as string, listener as (...args: unknown[]) => void);
  }

  override addListener(event: string | symbol, listener: (...args: never[]) => void): this {
    return this.on(event, listener);
  }

  override setEncoding(encoding: BufferEncoding): this {
    this.#leaveRoute('an encoding was set');
    return super.setEncoding(encoding);
  }

  override pause(): this {
    this.#leaveRoute('the stream was paused');
    return super.pause();
  }

  override _read(size: number): void {
    if (this.#failed) return;
    if (this.#route !== undefined) {
      this.#readHeldBack = true;
      return;
    }
    if (this.#method === undefined && !this.#fallBack('the stream is read in user space')) return;
    super._read(size);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Node's constructor destroys the stream if `signal` has been aborted already.
    if (!(#route in this)) {
      super._destroy(error, callback);
      return;
    }
    const closeFile = (): void => {
      super._destroy(error, (closeError) => {
        callback(closeError);
        // After 'error' and 'close' of this stream, so that pipeline reports them and not the connection's end.
        if (this.#settle !== undefined) setImmediate(this.#settle);
      });
    };
    const close = (): void => {
      if (this.#lease === undefined) closeFile();
      else this.#lease.release().then(closeFile, closeFile);
    };
    const send = this.#route?.send;
    if (send === undefined) {
      this.#route = undefined;
      close();
      return;
    }
    // The descriptor must stay open for as long as a call on another thread may use it.
    this.#afterSend = close;
    send.stop();
  }

  #refusal(destination: unknown): string | undefined {
    const reason = unavailable();
    if (reason !== undefined) return reason;
    if (this.listenerCount('data') > 0 || this.listenerCount('readable') > 0) return "the stream has a 'data' listener";
    if (this.readableFlowing !== null || this.readableLength > 0 || this.readableDidRead || this.destroyed) {
      return 'the stream is being read already';
    }
    if (this.readableEncoding !== null) return 'the stream has an encoding';
    if (this.#ownFs || Object.hasOwn(this, '_read')) return 'the stream reads in a way of its own';
    const resolved = resolveDestination(destination);
    return 'refused' in resolved ? resolved.refused : undefined;
  }

  /** Notes that Node's own reading takes over. Returns false, and fails the stream, where that is not wanted. */
  #fallBack(reason: string): boolean {
    if (this.#neverFallBack) {
      this.destroy(new UnavailableError(`the kernel cannot send this file: ${reason} (fallback is 'never')`));
      return false;
    }
    this.#method = 'copy';
    this.#fallbackReason = reason;
    return true;
  }

  /** The file is open: looks again at everything that may have changed since pipe(), and starts. */
  #begin(): void {
    const route = this.#route;
    if (route === undefined || this.destroyed) return;
    const resolved = resolveDestination(route.destination);
    if ('pending' in resolved) {
      resolved.pending.once('socket', () => {
        if (this.#route === route) this.#begin();
      });
      return;
    }
    if ('refused' in resolved) return this.#leaveRoute(resolved.refused);
    // A descriptor that was lent may be closed, and its number used again, at any moment (rule 40).
    const own = this.#givenDescriptor ? OwnedDescriptor.tryDuplicate(this.fd as number) : undefined;
    if (own === null) return this.#leaveRoute('the descriptor cannot be duplicated');
    this.#sendFrom(route, resolved, own?.fd ?? (this.fd as number), own);
    if (route.send === undefined && own !== undefined) closeUnwaited(own.release());
  }

  /** @param own what is to be closed at the end of the sending, if one begins. */
  #sendFrom(
    route: Route,
    resolved: SocketDestination | FileDestination,
    fd: number,
    own: OwnedDescriptor | undefined,
  ): void {
    const source = inspectSource(fd);
    if (!source.sendable) return this.#leaveRoute(source.reason);
    // A file that this stream has opened is at its start: from here on the position is counted, not the kernel's.
    if (!this.#givenDescriptor) this.pos ??= this.bytesRead;
    const position = this.pos ?? syscalls.lseek(fd, 0, constants.SEEK_CUR);
    if (position < 0) return this.#leaveRoute('the position in the file is not known');
    const length = this.#promise(resolved, source.size, position);
    if (length <= 0) return this.#leaveRoute('there is nothing to send');
    if (isOutgoingMessage(route.destination)) {
      if (this.#endsDestination(route) || isEndedByPipeline(this)) announce(route.destination, length);
      const small = length <= this.#smallFileSize && bodyFraming(route.destination).kind !== 'none';
      if (small && this.#sendSmall(route, fd, position, length)) return;
    }
    let seen = 0;
    const options: Omit<KernelSendOptions, 'destination'> = {
      range: { fd, position, length },
      about: { detail: { source: this.path } },
      onMoved: (bytes) => {
        this.#bytesSent += bytes;
        this.#advance(bytes);
      },
      onProgress: (bytes) => {
        if (bytes > seen && this.listenerCount('progress') > 0) this.emit('progress', bytes, length);
        seen = bytes;
      },
      onEnd: (outcome) => {
        // A descriptor that was given without a start is read from, and moves, its own position, as by fs.read.
        const { bytes } = outcome.result;
        if (this.pos === undefined && bytes > 0) syscalls.lseek(fd, position + bytes, constants.SEEK_SET);
        if (own !== undefined) closeUnwaited(own.release());
        this.#onSendEnd(route, outcome);
      },
    };
    if ('file' in resolved) {
      const out = OwnedDescriptor.tryDuplicate(resolved.file);
      if (out === null) return this.#leaveRoute('the destination cannot be duplicated');
      route.send = new FileSend({ ...options, out });
    } else route.send = new KernelSend({ ...options, destination: resolved });
    route.send.start();
  }

  /** Counts bytes that were not read by Node as if they were. */
  #advance(bytes: number): void {
    this.bytesRead += bytes;
    if (this.pos !== undefined) this.pos += bytes;
  }

  /** All of a small file in the write of its headers; false if its bytes are not in memory. */
  #sendSmall(route: Route, fd: number, position: number, length: number): boolean {
    const read = readSmall(fd, position, length);
    if (read === undefined) return false;
    this.#method = 'copy';
    this.#fallbackReason = `the file is small: up to ${this.#smallFileSize} bytes are cheaper to copy with the headers`;
    this.#advance(length);
    if (this.pos === undefined) syscalls.lseek(fd, position + length, constants.SEEK_SET);
    (route.destination as Writable).write(read.bytes, (error) => {
      if (error) return; // the destination says so itself
      read.recycle();
      if (this.#route !== route) return;
      this.#route = undefined;
      this.emit('progress', length, length);
      if (!this.destroyed) this.#finish();
    });
    return true;
  }

  /** Bytes to send: what the file and the range hold, and never more than the response has announced. */
  #promise(destination: SocketDestination | FileDestination, size: number, position: number): number {
    const last = this.pos === undefined ? position + this.end - this.bytesRead : this.end;
    const available = Math.min(size, last + 1) - position;
    if ('file' in destination) return available;
    const framing = framingOf(destination);
    return framing.kind === 'length' ? Math.min(available, framing.bytes) : available;
  }

  #onSendEnd(route: Route, outcome: SendOutcome): void {
    const current = this.#route === route;
    if (current) this.#route = undefined;
    this.#method ??= outcome.result.method;
    if (outcome.result.fallbackReason !== undefined) this.#fallbackReason ??= outcome.result.fallbackReason;
    const { send } = route;
    switch (outcome.kind) {
      case 'completed':
      case 'dropped':
        if (current && !this.destroyed) this.#finish();
        break;
      case 'destination-failed': // says so itself, and is unpiped then
        break;
      case 'failed':
        this.#settle = () => send?.settle('destroy');
        this.#tell(cause(outcome.error));
        if (!this.destroyed) setImmediate(this.#settle); // else _destroy waits for this call and settles then
        break;
      case 'stopped':
        break;
    }
    const after = this.#afterSend;
    this.#afterSend = undefined;
    after?.();
  }

  /** All bytes are out: ends as an ordinary Readable whose last chunk has been consumed. */
  #finish(): void {
    this.push(null);
    this.resume();
  }

  #endsDestination({ destination, options }: Route): boolean {
    return options?.end !== false && destination !== process.stdout && destination !== process.stderr;
  }

  /** Ends whatever is under way with `error`; bytes that are missing then are not to be taken for none. */
  #fail(error: Error): void {
    this.#route?.send?.fail(error);
    this.#tell(error);
  }

  /** Fails, once, as fs.ReadStream does: destroyed, or, where its descriptor is not to be closed, only with the event. */
  #tell(error: Error): void {
    if (this.destroyed || this.#failed) return;
    if (this.autoClose) {
      this.destroy(error);
      return;
    }
    this.#failed = true;
    const lease = this.#lease;
    this.#lease = undefined;
    lease?.release().catch(() => {}); // `error` is what there is to tell
    this.emit('error', error);
  }

  /** Stops the kernel path, if there is one, then continues as an ordinary pipe at the byte it has reached. */
  #leaveRoute(reason: string): void {
    const route = this.#route;
    if (route === undefined) return;
    if (!this.#fallBack(reason)) return;
    this.#endRoute(() => {
      if (this.destroyed) return;
      route.piped?.handOver(() => super.pipe(route.destination, route.options));
    });
  }

  #endRoute(then: () => void): void {
    const route = this.#route as Route;
    const leave = (): void => {
      this.#route = undefined;
      if (this.#readHeldBack && !this.destroyed) {
        this.#readHeldBack = false;
        this.push(''); // ends the read that was held back
      }
      then();
    };
    if (route.send === undefined) return leave();
    const destroyed = this.#afterSend;
    this.#afterSend = () => {
      leave();
      destroyed?.();
    };
    route.send.stop();
  }
}

/** The file's own error, where there is one, as Node's stream would report it. */
function cause(error: Error): Error {
  return error.cause instanceof Error ? error.cause : error;
}

/**
 * `fs.createReadStream` whose bytes the kernel sends, where the stream is piped into a plain socket or an HTTP
 * message with a Content-Length. Anywhere else it is `fs.createReadStream`; `method` and `fallbackReason` tell.
 *
 * The pages of the file are shared with the socket, not copied: what is written to the file while they wait there
 * reaches the receiver as new bytes (sendfile(2), rule 12).
 *
 * @param path, options as for `fs.createReadStream`: `start` and `end` in bytes, both inclusive.
 */
export function createSendfileStream(
  path: string | Buffer | URL,
  options?: SendfileStreamOptions | BufferEncoding | null,
): SendfileReadStream {
  return new SendfileReadStream(path, options);
}
