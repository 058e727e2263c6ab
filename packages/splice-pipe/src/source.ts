/** Where spliced bytes come from: a socket or pipe that is taken from Node for the time, or a file. */
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { fileStatus } from '@zerocopy/core-syscalls/descriptors';
import {
  failureOf,
  hasOnRead,
  isEncrypted,
  type OwnedDescriptor,
  readRetrying,
  socketDescriptor,
  type TakenSocket,
  TransferError,
  takeSocketForReading,
} from '@zerocopy/transfer';
import { type DescriptorFacts, factsOf, kindOf } from './descriptor-kind.js';
import { NO_BYTES } from './head.js';
import { type ReadableCallback, ReadWatcher } from './read-watcher.js';

export interface KernelSource {
  /** Bytes that are in user space already, and come first. Empty the next time: the caller's, also to give back. */
  takeHead(): Buffer;
  /** Whether nothing comes after the head. */
  readonly ended: boolean;
  /** Reading may wait for a disk: not on this thread. */
  readonly mayBlock: boolean;
  /** It is a pipe itself, and needs no second one. */
  readonly isPipe: boolean;
  /** Bytes that are certain to follow those read so far; 0 where nobody knows. */
  readonly certain: number;
  /** The descriptor now, or -1 once it is closed. */
  descriptor(): number;
  /** Why it is closed, if it has failed. */
  readonly errored?: Error | null;
  /** Calls back once with at most `size` bytes, as soon as there are any. */
  onReadable(size: number, callback: ReadableCallback): void;
  /** Counts bytes that have been read from the descriptor, one way or the other. */
  took(bytes: number): void;
  /** Counts bytes that have reached the destination. */
  delivered(bytes: number): void;
  /**
   * Gives the source back. `unread`: what has been read from it and not been delivered; `ended`: nothing follows.
   * `missing`: so many bytes behind `unread` cannot be had any more. Whoever reads on must not miss the gap.
   */
  giveBack(unread: Buffer, ended: boolean, missing?: number): void;
}

/**
 * Keeps what `stream` brings in its buffer until it is read: a `resume` of other code does not let it flow where nothing listens.
 * @returns ends that. Idempotent.
 */
export function keepUnread(stream: Readable): () => void {
  const onReadable = (): void => {};
  stream.on('readable', onReadable);
  return () => {
    stream.off('readable', onReadable);
  };
}

/**
 * Why `socket` cannot be spliced from, or undefined. Nothing has been changed.
 * @param dataListeners how many 'data' listeners are known to be harmless, as that of a pipe to ourselves.
 * @param facts of its descriptor, where they have been asked for already.
 */
export function refusalOfSource(socket: Socket, dataListeners = 0, facts?: DescriptorFacts): string | undefined {
  if (isEncrypted(socket)) return 'the source is encrypted (TLS)';
  if (socket.destroyed) return 'the source is destroyed';
  if (hasOnRead(socket)) return "what the source brings is called back (its option 'onread')";
  const fd = socketDescriptor(socket);
  if (fd < 0) return 'the source has no descriptor';
  const { kind, nonblocking } = facts ?? factsOf(fd);
  if (typeof kind === 'object') return kind.refused;
  if (socket.readableEncoding !== null) return 'the source has an encoding';
  if (socket.readableObjectMode) return 'the source is in object mode';
  if (socket.listenerCount('data') > dataListeners || socket.listenerCount('readable') > 0) {
    return "the source has a 'data' or 'readable' listener";
  }
  if (Object.hasOwn(socket, '_read')) return "the source's _read has been replaced";
  if (!nonblocking) return 'the source is in blocking mode';
  return undefined;
}

export interface SocketSourceOptions {
  /** Whether the socket is resumed afterwards; asked then. Default: it flows, or does not, as it stands then. */
  readonly resume?: () => boolean;
  /** What its descriptor is, where that has been asked already. */
  readonly facts?: DescriptorFacts | undefined;
  /** Called once, in words how, when other code touches the socket: it is to be given back; see takeSocketForReading. */
  readonly onTouched?: ((how: string) => void) | undefined;
}

/** A connected socket or pipe, no longer read by Node until it is given back. */
export class KernelSocketSource implements KernelSource {
  readonly ended: boolean;
  readonly mayBlock = false;
  readonly isPipe: boolean;
  readonly certain = 0;
  readonly #socket: Socket;
  readonly #taken: TakenSocket;
  readonly #resume: () => boolean;
  #watcher: ReadWatcher | undefined;

  /** To be called when {@link refusalOfSource} has no objection, or a 'data' listener is there to get the head. */
  constructor(socket: Socket, { resume, facts, onTouched }: SocketSourceOptions = {}) {
    this.#resume = resume ?? (() => false);
    const taken = takeSocketForReading(socket, { onTouched });
    if (taken === null) throw new Error('the socket cannot be taken over');
    this.#socket = socket;
    this.#taken = taken;
    this.ended = taken.ended;
    this.isPipe = (facts?.kind ?? kindOf(taken.descriptor())) === 'pipe';
  }

  takeHead(): Buffer {
    return this.#taken.takeHead();
  }

  descriptor(): number {
    return this.#taken.descriptor();
  }

  get errored(): Error | null {
    return failureOf(this.#socket);
  }

  onReadable(size: number, callback: ReadableCallback): void {
    try {
      this.#watcher ??= this.#watch();
    } catch (error) {
      callback(error as Error, null);
      return;
    }
    this.#watcher.wait(size, callback);
  }

  #watch(): ReadWatcher {
    const watcher = new ReadWatcher(() => this.#taken.descriptor());
    this.#taken.follow(watcher.socket);
    return watcher;
  }

  took(bytes: number): void {
    this.#taken.moved(bytes);
  }

  delivered(): void {}

  /** It is resumed if only the end is left, too: Node is to see that itself. */
  giveBack(unread: Buffer, ended: boolean, missing = 0): void {
    this.#watcher?.destroy();
    this.#watcher = undefined;
    if (missing > 0) this.#socket.destroy(gap(missing));
    this.#taken.giveBack({ unread, resume: this.#resume() || (ended && unread.length === 0) });
  }
}

const gap = (bytes: number): Error =>
  new TransferError(`${bytes} bytes that had been read from the source could not be given back`, {
    code: 'EIO',
    bytes: 0,
  });

/** A regular file, read from its own position, which moves. */
export class KernelFileSource implements KernelSource {
  readonly ended = false;
  readonly mayBlock = true;
  readonly isPipe = false;
  readonly #own: OwnedDescriptor;
  #certain: number;
  #reading = false;
  #givenBack = false;

  /** @param own becomes this object's. @param length bytes asked for; may be Infinity. */
  constructor(own: OwnedDescriptor, length: number) {
    this.#own = own;
    const position = syscalls.lseek(own.fd, 0, constants.SEEK_CUR);
    this.#certain = Math.max(0, Math.min(length, fileStatus(own.fd).size - Math.max(0, position)));
  }

  get certain(): number {
    return this.#certain;
  }

  takeHead(): Buffer {
    return NO_BYTES;
  }

  descriptor(): number {
    return this.#own.fd;
  }

  /** For copying: the thread pool reads. */
  onReadable(size: number, callback: ReadableCallback): void {
    const buffer = Buffer.allocUnsafe(Math.min(size, 64 * 1024));
    this.#reading = true;
    readRetrying(this.#own.fd, buffer, buffer.length, null, (error, bytes) => {
      this.#reading = false;
      if (this.#givenBack) this.giveBack(buffer.subarray(0, bytes));
      else if (error) callback(error, null);
      else callback(null, bytes === 0 ? null : buffer.subarray(0, bytes));
    });
  }

  took(bytes: number): void {
    this.#certain = Math.max(0, this.#certain - bytes);
  }

  delivered(): void {}

  giveBack(unread: Buffer, _ended?: boolean, missing = 0): void {
    this.#givenBack = true;
    // As if the bytes had not been read; fails on nothing that can be opened as a regular file.
    const bytes = unread.length + missing;
    if (bytes > 0) {
      const position = syscalls.lseek(this.#own.fd, 0, constants.SEEK_CUR);
      if (position >= bytes) syscalls.lseek(this.#own.fd, position - bytes, constants.SEEK_SET);
    }
    if (!this.#reading) this.#own.close(); // its number may be used again (kernel-rules: fd-reuse)
  }
}
