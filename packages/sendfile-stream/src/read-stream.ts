/**
 * A drop-in for fs.createReadStream that lets the kernel send the file where it can.
 *
 * It is an fs.ReadStream, and its pipes are Node's. Beneath a pipe into a socket or an HTTP message lies a route
 * (file-route.ts), which answers Node's `_read` in place of fs.read. Whatever ends the route, for instance a 'data'
 * listener, a second pipe or a pause, makes the stream an ordinary one, from the byte it has reached.
 */
import { ReadStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { SyscallError, type TransferMethod } from '@zerocopy/core-syscalls';
import {
  closeIfOpenedTooLate,
  isStandardOutput,
  MethodRecord,
  nextTick,
  pipesOf,
  setImmediate,
} from '@zerocopy/transfer';
import { afterAHop, reopenAtOnce } from './cached-open.js';
import { resetWhenClosed } from './connection-reset.js';
import { CopiedRead, movedBy } from './copied-read.js';
import { resolveDestination } from './destination.js';
import { feature } from './feature.js';
import { FileRoute } from './file-route.js';
import { LeaseHold } from './lease.js';
import { bytesLeft, isMessage, reserve } from './message-body.js';
import { nameOf, type OpenFile, openShared } from './open-file.js';
import {
  defaultSettings,
  type SendfileStreamEvents,
  type SendfileStreamOptions,
  type Settings,
  settingsOf,
} from './read-stream-options.js';

interface PipeOptions {
  end?: boolean | undefined;
}

/** What has been read before the pipe goes into a message whatever it has announced; if that is too much, it must not. */
function countIn(destination: NodeJS.WritableStream, bytes: number): void {
  if (!isMessage(destination)) return;
  const fits = bytes <= bytesLeft(destination);
  reserve(destination, bytes);
  if (!fits) (destination as Writable).destroy();
}

/** Whether all that was written is with the kernel, and the end. */
const isOut = (destination: NodeJS.WritableStream): boolean =>
  (destination as Partial<Writable>).writableFinished === true;

// Not private: fs.ReadStream's constructor sets it before there is anything private.
const kDescriptor: unique symbol = Symbol('descriptor');

/** As fs.ReadStream tells that it is open, which may be news to whoever has begun to listen in this turn. */
function tellOpen(stream: SendfileReadStream, callback: () => void): void {
  callback();
  // A descriptor of its own is made when it is asked for.
  if (stream.listenerCount('open') > 0 || stream.emit !== ReadStream.prototype.emit) stream.emit('open', stream.fd);
  stream.emit('ready');
}

/** What {@link createSendfileStream} makes: an fs.ReadStream that says how its bytes go. */
export class SendfileReadStream extends ReadStream {
  /** @internal Where the next read starts: fs.ReadStream's own, not in its types. */
  declare pos: number | undefined;
  /** The first byte, as given. */
  declare start: number | undefined;
  /** The last byte, inclusive; Infinity: the file's. */
  declare end: number;
  /** @internal As fs.ReadStream has set it: see {@link fd}. */
  declare [kDescriptor]: number | null;
  /** @internal fs.ReadStream's own, not in its types. */
  declare autoClose: boolean;

  readonly #record: MethodRecord;
  readonly #settings: Settings;
  readonly #givenDescriptor: boolean;
  /** What is read, shared with other transfers, as long as nobody has asked for a descriptor. */
  #shared: OpenFile | undefined;
  #lease: LeaseHold | undefined;
  #route: FileRoute | undefined;
  #copied: CopiedRead | undefined;
  /** What had been moved when the stream was piped, until somebody moves more. */
  #movedAtPipe: number | undefined;
  /** It has failed without being destroyed: nothing is read any more. */
  #failed = false;
  /** Destroys the connection of a copy that failed half-way; called once this stream has told its error. */
  #settle: (() => void) | undefined;

  /** As {@link createSendfileStream}. */
  constructor(path: string | Buffer | URL, options?: SendfileStreamOptions | BufferEncoding | null) {
    const settings = options === undefined || options === null ? defaultSettings() : settingsOf(options);
    const isBag =
      options === undefined || options === null || typeof options === 'object' || typeof options === 'string';
    // @ts-expect-error the types declare no constructor parameters; createReadStream calls it with these
    super(path, isBag ? settings.node : options);
    closeIfOpenedTooLate(this);
    this.#record = new MethodRecord(this, settings.neverCopies ? 'the kernel cannot send this file' : undefined);
    this.#settings = settings;
    this.#givenDescriptor = typeof this.fd === 'number';
  }

  /** The descriptor; null while the file is not open. */
  get fd(): number | null {
    const own = this[kDescriptor];
    return own === null && #shared in this && this.#shared !== undefined ? this.#openOwn(this.#shared) : own;
  }

  set fd(fd: number | null) {
    this[kDescriptor] = fd;
  }

  static {
    // Node's own asks for the descriptor. Not as a member: its types say that it is a property, and no accessor.
    Object.defineProperty(SendfileReadStream.prototype, 'pending', {
      configurable: true,
      get(this: SendfileReadStream): boolean {
        return this[kDescriptor] === null && this.#shared === undefined;
      },
    });
  }

  /** A caller who asks for the descriptor may close it, or move its position: it gets one that no other transfer uses. */
  #openOwn(shared: OpenFile): number | null {
    const fd = reopenAtOnce(shared.fd);
    if (fd < 0) {
      nextTick(() => this.destroy(new SyscallError(fd, 'open', { path: nameOf(this.path) })));
      return null;
    }
    this[kDescriptor] = fd;
    return fd;
  }

  /** @internal */
  override _construct(callback: (error?: Error | null) => void): void {
    if (this.#mayShare()) {
      this.#shared = openShared(this.path as string);
      if (this.#shared !== undefined) return nextTick(tellOpen, this, callback);
    }
    // @ts-expect-error not in the types of fs.ReadStream
    super._construct((error?: Error | null) => {
      const { lease: asked } = this.#settings;
      if (error || asked === undefined || this.destroyed) return callback(error);
      const name = this.path ? nameOf(this.path) : undefined;
      LeaseHold.acquire(asked, this.fd as number, name, (broken) => this.#onLeaseBroken(broken)).then((lease) => {
        this.#lease = lease;
        callback();
      }, callback);
    });
  }

  /** Whether it is opened as by `cachedFs`, and by no code of others. */
  #mayShare(): boolean {
    // Without autoClose it is the caller who closes the descriptor, and nobody says when what is shared is needed no more.
    if (!this.#settings.keepOpen || this.destroyed || !this.autoClose || typeof this.path !== 'string') return false;
    const { flags, open } = this as unknown as { flags: unknown; open: unknown };
    return flags === 'r' && open === (ReadStream.prototype as unknown as { open: unknown }).open;
  }

  /** How the bytes go: 'sendfile', or 'copy' where they pass through this process; undefined while that is not decided. */
  get method(): TransferMethod | undefined {
    return this.#record.method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#record.fallbackReason;
  }

  /** Bytes handed to the destination, or read by Node where it copies. */
  get bytesSent(): number {
    return this.method === 'copy' || this.readableEncoding !== null
      ? this.bytesRead
      : this.bytesRead - this.readableLength;
  }

  /** As of fs.ReadStream; the kernel moves the bytes beneath it where it can. */
  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: PipeOptions): T {
    const refused = this.#refusal(destination);
    if (refused !== undefined) this.#route?.leave(refused);
    super.pipe(destination, options);
    if (this.readableLength > 0) countIn(destination, this.readableLength);
    if (pipesOf(this)?.length === 1) {
      this.#movedAtPipe = movedBy(this);
      this.#copied?.leave(this.#movedAtPipe, 'it was piped anew');
      this.#copied = undefined;
    }
    if (refused === undefined) this.#route = this.#routeTo(destination, options);
    else this.#record.fallBack(refused);
    return destination;
  }

  /** As of fs.ReadStream. */
  override setEncoding(encoding: BufferEncoding): this {
    this.#route?.leave('an encoding was set');
    return super.setEncoding(encoding);
  }

  /** @internal */
  override _read(size: number): void {
    if (this.#failed || this.#readBeneath()) return;
    if (this.method === undefined) this.#record.fallBack('the stream is read in user space');
    if (this.destroyed) return;
    this.#copied ??= this.#startCopy();
    if (this.destroyed || this.fd === null) return; // by a subscriber; for want of a descriptor
    this.#readWithin(this.#copied.room(), size);
  }

  #startCopy(): CopiedRead {
    const before = this.#movedAtPipe ?? movedBy(this);
    this.#movedAtPipe = undefined;
    return new CopiedRead(this, this.#record, before, this.#givenDescriptor, this.#settings.cache);
  }

  /** Lets the route answer the read. What has been copied until then is a transfer of its own. @returns false if Node is to read. */
  #readBeneath(): boolean {
    const [route, copied, moved] = [this.#route, this.#copied, this.bytesRead];
    if (route === undefined) return false;
    this.#copied = undefined;
    if (!route.read()) {
      this.#copied = copied;
      return false;
    }
    this.#movedAtPipe = undefined;
    copied?.leave(moved);
    return true;
  }

  /** @internal */
  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    const copied = this.#copied;
    if (copied !== undefined && !this.destroyed) {
      if (chunk === null) {
        const shortfall = copied.shortfall();
        if (shortfall !== undefined) {
          this.#failCopy(shortfall);
          return false;
        }
        if (!this.autoClose) this.once('end', () => copied.end(null)); // nothing else will tell
      } else copied.took(chunk as Buffer);
    } else if (copied === undefined && chunk instanceof Buffer && chunk.length > 0) {
      // Its read was under way when the stream was piped: nobody has asked whether there is room for so much.
      for (const destination of [...(pipesOf(this) ?? [])]) countIn(destination, chunk.length);
    }
    return super.push(chunk, encoding);
  }

  /** @internal */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const close = (): void =>
      super._destroy(error, (closeError) => {
        callback(closeError);
        // After 'error' and 'close' of this stream, so that pipeline reports them and not the connection's end.
        if (#route in this && (this.#settle !== undefined || this.#route?.isUnsettled))
          setImmediate(() => this.#destroyConnection());
      });
    // Node's constructor destroys the stream if `signal` has been aborted already.
    if (!(#route in this)) return close();
    this.#copied?.end(error);
    const release = (): void => {
      const shared = this.#shared;
      if (shared !== undefined) {
        this.#shared = undefined;
        const closing = shared.release();
        if (this[kDescriptor] !== null) close();
        else if (closing !== undefined) closing.then(close, close);
        else this.#closeAfterEnd(close);
      } else if (this.#lease === undefined) close();
      else this.#lease.release().then(close, close);
    };
    // The descriptor must stay open for as long as a call on another thread may use it.
    if (this.#route === undefined) release();
    else this.#route.close(release);
  }

  /**
   * Nothing is to be closed. Node's close takes a hop, in which the destination ends ('finish' before 'close'); one that is out by
   * the next tick has told so before this stream can.
   */
  #closeAfterEnd(close: () => void): void {
    const destination = this.#route?.ended;
    nextTick(() => {
      if (destination !== undefined && isOut(destination)) close();
      else afterAHop(close);
    });
  }

  #refusal(destination: unknown): string | undefined {
    const { available, reason } = feature('sendfile');
    if (!available) return reason ?? 'sendfile is not available';
    if (pipesOf(this)?.length !== 0) return 'it is piped to more than one destination';
    if (this.#route?.moving) return 'it was piped again before the kernel path had been left';
    if (this.listenerCount('data') > 0 || this.listenerCount('readable') > 0) return "the stream has a 'data' listener";
    if (this.readableEncoding !== null) return 'the stream has an encoding';
    if (this.#settings.ownFs || Object.hasOwn(this, '_read')) return 'the stream reads in a way of its own';
    const resolved = resolveDestination(destination);
    if ('refused' in resolved) return resolved.refused;
    return this.#settings.neverCopies && 'socket' in resolved ? resolved.copied : undefined;
  }

  #routeTo(destination: NodeJS.WritableStream, options: PipeOptions | undefined): FileRoute {
    return new FileRoute(this, destination, {
      record: this.#record,
      announces: true,
      ends: options?.end !== false && !isStandardOutput(destination),
      lent: this.#givenDescriptor,
      shared: () => (this[kDescriptor] === null ? this.#shared : undefined),
      smallFileSize: this.#settings.smallFileSize,
      cache: this.#settings.cache,
      onProgress: (bytes, total) => this.emit('progress', bytes, total),
      onFailure: (error) => this.#fail(error),
    });
  }

  /** Node's own reading, of no more than `room` bytes. */
  #readWithin(room: number, size: number): void {
    if (room === Number.POSITIVE_INFINITY) {
      super._read(size);
      return;
    }
    if (room === 0 && (pipesOf(this)?.length ?? 0) > 1) return this.#leaveFull(size);
    const { end } = this;
    this.end = Math.min(end, (this.pos ?? this.bytesRead) + room - 1);
    super._read(size);
    this.end = end;
  }

  /** A message that has all that it has announced gets no more, and the other destinations go on. */
  #leaveFull(size: number): void {
    for (const destination of [...(pipesOf(this) ?? [])]) {
      if (bytesLeft(destination) > 0) continue;
      this.unpipe(destination);
      (destination as Writable).destroy();
    }
    if (this.#copied !== undefined) this.#readWithin(this.#copied.room(), size);
  }

  /** The file got shorter while Node copied it. */
  #failCopy(error: Error): void {
    const destination = pipesOf(this)?.[0] as Writable;
    resetWhenClosed(destination);
    this.#settle = () => destination.destroy();
    this.#fail(error);
  }

  /** Bytes that are missing from now on are not to be taken for none. */
  #onLeaseBroken(error: Error): void {
    this.#route?.fail(error);
    this.#fail(error);
  }

  /** Fails, once, as fs.ReadStream does: destroyed, or, where its descriptor is not to be closed, only with the event. */
  #fail(error: Error): void {
    if (this.destroyed || this.#failed) return;
    if (this.autoClose) {
      this.destroy(error);
      return;
    }
    this.#failed = true;
    this.#copied?.end(error);
    const lease = this.#lease;
    this.#lease = undefined;
    lease?.release().catch(() => {}); // `error` is what there is to tell
    this.emit('error', error);
    setImmediate(() => this.#destroyConnection());
  }

  #destroyConnection(): void {
    this.#route?.settle();
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.();
  }
}

/**
 * `fs.createReadStream` whose bytes the kernel sends, where the stream is piped into a plain socket or an HTTP
 * message. Into an encrypted connection they are copied beneath the pipe, for less than Node's own copying takes. Anywhere
 * else it is `fs.createReadStream`; `method` and `fallbackReason` tell.
 *
 * The pages of the file are shared with the socket, not copied: what is written to the file while they wait there
 * reaches the receiver as new bytes (sendfile(2)).
 *
 * @param path, options as for `fs.createReadStream`: `start` and `end` in bytes, both inclusive.
 */
export function createSendfileStream(
  path: string | Buffer | URL,
  options?: SendfileStreamOptions | BufferEncoding | null,
): SendfileStreamEvents & SendfileReadStream {
  return new SendfileReadStream(path, options) as SendfileStreamEvents & SendfileReadStream;
}
