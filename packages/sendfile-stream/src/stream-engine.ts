/** The engines that write by a stream's own `write`, without a slot: of any Writable, and of a small file with its headers. */
import type { OutgoingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import {
  addSharedListener,
  COPY_SIZE,
  failureOf,
  type Resume,
  readRetrying,
  removeSharedListener,
  type Side,
  type SlotEngine,
  SOURCE_ENDED,
  TransferError,
  WOULD_BLOCK,
  whileUncorked,
} from '@zerocopy/transfer';
import type { InFile } from './file-engine.js';
import type { SmallRead } from './small-file.js';

const endedByAnother = (): TransferError =>
  new TransferError('the destination was ended before the file had been sent', {
    code: 'ERR_STREAM_WRITE_AFTER_END',
    bytes: 0,
  });

/**
 * Node's own way: a piece is read on the thread pool, and written by the stream, which is asked for no more until it
 * has room. Every wait ends at once when the transfer does, a read that is under way included: that of a FIFO may never
 * end.
 */
export class StreamCopyEngine implements SlotEngine {
  readonly method = 'copy';
  readonly syscall = 'read';
  readonly reason: string;
  failed: Side | undefined;
  /** Of the chunk that the stream has taken, and not asked for more since. */
  inStream = 0;
  readonly #stream: Writable;
  readonly #file: InFile;
  #position: number | null;
  /** The wait that is under way. */
  #resume: Resume | undefined;
  /** It is for a read, and not for room in the stream. */
  #reading = false;

  /** @param position of the first byte; null: the descriptor's own. {@link leave} is to be called at the end. */
  constructor(stream: Writable, file: InFile, position: number | null, reason: string) {
    this.#stream = stream;
    this.#file = file;
    this.#position = position;
    this.reason = reason;
    addSharedListener(stream, 'drain', this.#onDrain);
    addSharedListener(stream, 'finish', this.#onFinish);
    addSharedListener(stream, 'error', this.#onError);
  }

  /** Listens to the stream no more. */
  leave(): void {
    this.#resume = undefined;
    removeSharedListener(this.#stream, 'drain', this.#onDrain);
    removeSharedListener(this.#stream, 'finish', this.#onFinish);
    removeSharedListener(this.#stream, 'error', this.#onError);
  }

  attempt(): number {
    return WOULD_BLOCK;
  }

  wait(count: number, resume: Resume): void {
    this.#resume = resume;
    const failure = failureOf(this.#stream);
    if (failure !== null) this.#fail(failure, 'destination');
    else if (this.#stream.writableEnded) this.#fail(endedByAnother(), 'destination');
    else if (!this.#stream.writableNeedDrain) this.#read(Math.min(count, COPY_SIZE));
  }

  #read(count: number): void {
    const buffer = Buffer.allocUnsafe(count);
    this.#reading = true;
    this.#file.hold();
    readRetrying(this.#file.fd, buffer, count, this.#position, (error, bytes) => {
      this.#file.release();
      this.#reading = false;
      if (this.#resume === undefined) return; // nobody waits for it any more
      if (error) this.#fail(error, 'source');
      else if (bytes === 0) this.#end(SOURCE_ENDED);
      else this.#write(buffer.subarray(0, bytes));
    });
  }

  #write(chunk: Buffer): void {
    if (this.#stream.writableEnded) return this.#fail(endedByAnother(), 'destination');
    if (this.#position !== null) this.#position += chunk.length;
    this.inStream = chunk.length;
    let hasRoom: unknown;
    try {
      hasRoom = this.#stream.write(chunk);
    } catch (error) {
      this.inStream = 0;
      return this.#fail(error as Error, 'destination');
    }
    if (hasRoom !== false) this.#onDrain(); // as for Node's pipe: a write that others have replaced may return nothing
  }

  readonly #onDrain = (): void => {
    if (this.#reading) return;
    const { inStream } = this;
    this.inStream = 0;
    this.#end(inStream);
  };

  readonly #onFinish = (): void => this.#fail(endedByAnother(), 'destination');

  readonly #onError = (error: Error): void => this.#fail(error, 'destination');

  #fail(error: Error, side: Side): void {
    if (this.#resume === undefined) return;
    this.failed = side;
    const resume = this.#resume;
    this.#resume = undefined;
    resume(error, 0);
  }

  #end(bytes: number): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.(null, bytes);
  }
}

/** A small file that has been read, in one write with the headers of its message, or in its end. */
export class SmallFileEngine implements SlotEngine {
  readonly method = 'copy';
  readonly syscall = 'write';
  readonly reason: string;
  /** The file has been read: what fails is the message. */
  readonly failed = 'destination';
  inStream = 0;
  readonly #message: OutgoingMessage;
  readonly #file: SmallRead;
  readonly #ends: boolean;
  readonly #piped: boolean;
  #resume: Resume | undefined;

  /**
   * {@link leave} is to be called at the end.
   * @param ends ends the message with the file. @param piped a pipe goes on as soon as a corked message has taken the file.
   */
  constructor(message: OutgoingMessage, file: SmallRead, ends: boolean, piped: boolean, reason: string) {
    this.#message = message;
    this.#file = file;
    this.#ends = ends;
    this.#piped = piped;
    this.reason = reason;
  }

  /** Listens to the message no more. */
  leave(): void {
    this.#resume = undefined;
    removeSharedListener(this.#message, 'finish', this.#onFinish);
  }

  attempt(): number {
    return WOULD_BLOCK;
  }

  wait(_count: number, resume: Resume): void {
    if (this.#message.writableEnded) return resume(endedByAnother(), 0);
    this.inStream = this.#file.length;
    this.#resume = resume;
    const bytes = this.#file.bytesFor(this.#message);
    if (!this.#ends) {
      this.#message.write(bytes, this.#onWritten);
      // What uncorks it may be its end, which comes after the file.
      if (this.#piped && this.#isCorked()) this.#hasMoved();
      return;
    }
    // 'finish', and not the callback of end(), which is a method that others replace and whose arguments they drop.
    addSharedListener(this.#message, 'finish', this.#onFinish);
    whileUncorked(this.#message, () => this.#message.end(bytes));
  }

  readonly #onFinish = (): void => this.#onWritten();

  readonly #onWritten = (error?: Error | null): void => {
    if (!error) {
      this.#file.recycle();
      return this.#hasMoved();
    }
    this.inStream = 0;
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.(error, 0);
  };

  #hasMoved(): void {
    this.inStream = 0;
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.(null, this.#file.length);
  }

  #isCorked(): boolean {
    const { writableCorked, socket } = this.#message;
    return writableCorked > 0 || (socket?.writableCorked ?? 0) > 0;
  }
}
