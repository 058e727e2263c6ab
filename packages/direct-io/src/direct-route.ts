/**
 * The route from a direct read stream to a direct write stream, beneath their pipe (see PipeRoute of @zerocopy/transfer):
 * nobody else sees the chunks, so the memory of one that has been written is used for what is read next.
 *
 *   read ──► written to the destination, a few at a time ──► its callback: the memory is free again
 *
 * Whatever ends the route (a 'data' listener, a second pipe, a pause) leaves what has been written to the destination to it,
 * and the rest to the pipe.
 */
import { Writable } from 'node:stream';
import { MethodRecord, PipeRoute, replacedMethod } from '@zerocopy/transfer';
import type { ReadAhead } from './read-ahead.js';
import type { DirectReadStream } from './read-stream.js';
import { DirectWriteStream } from './write-stream.js';

/** Chunks that the destination has and has not written, at most. */
const WRITES_MAX = 8;

/** Whether chunks may go to the destination without being seen by anybody else. */
export function isDirectWriter(destination: unknown): destination is DirectWriteStream {
  return (
    destination instanceof DirectWriteStream &&
    Object.getPrototypeOf(destination) === DirectWriteStream.prototype &&
    !['_write', '_writev'].some((name) => Object.hasOwn(destination, name)) &&
    destination.write === Writable.prototype.write &&
    replacedMethod(destination, ['write']) === undefined
  );
}

/** See above. */
export class DirectRoute extends PipeRoute<DirectReadStream> {
  readonly #ahead: () => ReadAhead | undefined;
  readonly #took: (bytes: number) => void;
  readonly #onError: (error: Error) => void;
  #writes = 0;
  #isReading = false;
  #isAtEnd = false;

  /**
   * @param ahead what the source reads by; undefined while that is not decided, or if it is copied.
   * @param took is told of bytes that are on their way. @param onError of an error of the source.
   */
  constructor(
    source: DirectReadStream,
    destination: DirectWriteStream,
    ahead: () => ReadAhead | undefined,
    took: (bytes: number) => void,
    onError: (error: Error) => void,
  ) {
    super(source, destination, new MethodRecord(source)); // how the bytes go, the source itself knows
    this.#ahead = ahead;
    this.#took = took;
    this.#onError = onError;
  }

  protected override begin(): string | undefined {
    const { writableEnded, destroyed } = this.#writer;
    if (writableEnded || destroyed) return 'the destination has ended';
    if (!isDirectWriter(this.#writer)) return 'other code uses the destination';
    this.hold();
    this.#pump();
    return undefined;
  }

  protected override stop(): void {
    this.#ahead()?.forget();
    this.#isReading = false;
    this.handBack();
  }

  get #writer(): DirectWriteStream {
    return this.destination as unknown as DirectWriteStream;
  }

  #pump(): void {
    if (!this.moving || this.#isReading || this.#isAtEnd || this.#writes >= WRITES_MAX) return;
    this.#isReading = true;
    this.#ahead()?.read(this.#onChunk);
  }

  readonly #onChunk = (error: Error | null, chunk: Buffer | null): void => {
    this.#isReading = false;
    if (error !== null) {
      this.handBack();
      this.#onError(error);
    } else if (chunk === null) {
      this.#isAtEnd = true;
      if (this.#writes === 0) this.end();
    } else this.#write(chunk);
  };

  #write(chunk: Buffer): void {
    const ahead = this.#ahead();
    const { destroyed, writableEnded } = this.#writer;
    if (destroyed || writableEnded) {
      ahead?.unread(chunk);
      if (destroyed) this.lose();
      else this.handBack(); // Node's pipe says what is wrong
      return;
    }
    this.#writes++;
    this.#took(chunk.length);
    this.#writer.write(chunk, (error) => {
      this.#writes--;
      if (error) return this.lose();
      ahead?.recycle(chunk);
      if (this.#isAtEnd && this.#writes === 0 && this.moving) this.end();
      else this.#pump();
    });
    this.#pump();
  }
}
