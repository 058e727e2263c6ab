/** Streams that the kernel cannot take, in the shape of those it can: bytes go by their own reading and writing. */
import { WriteStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import {
  addSharedListener,
  closedEarly,
  failureOf,
  isOutgoingMessage,
  isSocket,
  removeSharedListener,
  socketOfMessage,
  TransferError,
} from '@zerocopy/transfer';
import { isCutOffBody, whenConnectionCloses } from './cut-off-body.js';
import type { KernelDestination, WrittenCallback } from './destination.js';
import { NO_BYTES } from './head.js';
import type { ReadableCallback } from './read-watcher.js';
import type { KernelSource } from './source.js';

export class StreamSource implements KernelSource {
  readonly ended = false;
  readonly mayBlock = false;
  readonly isPipe = false;
  readonly certain = 0;
  readonly #stream: Readable;
  readonly #wasFlowing: boolean;
  readonly #textError: (() => Error) | undefined;
  #wakeUp: (() => void) | undefined;
  readonly #onEvent = (): void => this.#wakeUp?.();
  readonly #unwatch: () => void;

  /** @param textError the error if it brings text. Default: text is what it is encoded to. */
  constructor(stream: Readable, textError?: () => Error) {
    this.#stream = stream;
    this.#textError = textError;
    this.#unwatch = whenConnectionCloses(stream, this.#onEvent);
    this.#wasFlowing = stream.readableFlowing === true;
    for (const event of ['readable', 'end', 'error', 'close']) stream.on(event, this.#onEvent);
  }

  takeHead(): Buffer {
    return NO_BYTES;
  }

  descriptor(): number {
    return -1;
  }

  onReadable(size: number, callback: ReadableCallback): void {
    const stream = this.#stream;
    this.#wakeUp = undefined;
    const chunk = stream.read() as Buffer | string | null;
    if (typeof chunk === 'string' && this.#textError !== undefined) callback(this.#textError(), null);
    else if (chunk !== null) {
      const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk, stream.readableEncoding ?? 'utf8');
      if (bytes.length > size && !this.#unshift(bytes.subarray(size))) {
        stream.unshift(chunk, stream.readableEncoding ?? undefined);
        callback(dividedCharacter(stream.readableEncoding), null);
      } else callback(null, bytes.subarray(0, size));
    } else if (stream.readableEnded && !isCutOffBody(stream)) callback(null, null);
    // One that is not to close its file is not destroyed by what fails.
    else if (stream.destroyed || stream.errored || isCutOffBody(stream))
      callback(failureOf(stream) ?? closedEarly('source', 0), null);
    else this.#wakeUp = () => this.onReadable(size, callback);
  }

  took(): void {}

  delivered(): void {}

  giveBack(unread: Buffer): void {
    this.#wakeUp = undefined;
    const stream = this.#stream;
    for (const event of ['readable', 'end', 'error', 'close']) stream.off(event, this.#onEvent);
    this.#unwatch();
    if (stream.destroyed || stream.readableEnded) return;
    if (unread.length > 0) this.#unshift(unread);
    if (this.#wasFlowing) stream.resume();
  }

  /** Into a stream that holds strings as a string: of bytes it would make others. False, and nothing done, where there is none. */
  #unshift(bytes: Buffer): boolean {
    const { readableEncoding: encoding } = this.#stream;
    if (encoding === null) {
      this.#stream.unshift(bytes);
      return true;
    }
    const text = bytes.toString(encoding);
    if (!Buffer.from(text, encoding).equals(bytes)) return false;
    this.#stream.unshift(text, encoding);
    return true;
  }
}

const dividedCharacter = (encoding: string | null): TransferError =>
  new TransferError(`the source has the encoding ${encoding}, and what is asked of it ends within a character`, {
    code: 'ERR_INVALID_ARG_VALUE',
    bytes: 0,
  });

/** Node 20 calls back without an error what the closing of its socket has cancelled. */
function isCutOff(stream: Writable): boolean {
  const socket = isOutgoingMessage(stream) ? socketOfMessage(stream) : isSocket(stream) ? stream : null;
  return socket?.destroyed === true;
}

export class StreamDestination implements KernelDestination {
  readonly mayBlock = false;
  readonly #stream: Writable;
  readonly #failure: () => void;
  #pending: WrittenCallback | undefined;
  /** How much of the chunk under way a stream that has failed had written; known of files alone. */
  #part: () => number = () => 0;

  constructor(stream: Writable) {
    this.#stream = stream;
    this.#failure = () => {
      const callback = this.#pending;
      this.#pending = undefined;
      callback?.(failureOf(this.#stream) ?? closedEarly('destination', 0), this.#part());
    };
    addSharedListener(stream, 'close', this.#failure);
  }

  descriptor(): number {
    return -1;
  }

  write(chunk: Uint8Array, callback: WrittenCallback): void {
    this.#pending = callback;
    const stream = this.#stream;
    this.#part = () => 0;
    if (stream.destroyed) return this.#failure();
    if (stream instanceof WriteStream) {
      const from = stream.bytesWritten + stream.writableLength;
      this.#part = () => Math.min(chunk.length, Math.max(0, stream.bytesWritten - from));
    }
    stream.write(chunk, (error) => {
      if (this.#pending !== callback) return;
      if (!error && isCutOff(stream)) return this.#failure();
      this.#pending = undefined;
      callback(error ?? null, error ? this.#part() : chunk.length);
    });
  }

  send(chunk: Uint8Array, callback: WrittenCallback): void {
    this.write(Buffer.from(chunk), callback);
  }

  moved(): void {}

  /** Takes no further notice of the stream. */
  release(): void {
    removeSharedListener(this.#stream, 'close', this.#failure);
  }
}
