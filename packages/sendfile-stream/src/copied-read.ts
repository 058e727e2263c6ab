/**
 * What the drop-in promises where Node's own reading moves the bytes: a message gets no more than it has announced, a
 * file that gets shorter on its way is not taken for whole, and the transfer is published like any other.
 */
import type { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import {
  CacheDrop,
  type CachePolicy,
  endedEarly,
  endKindOf,
  isSocket,
  isToldByDestination,
  type MethodRecord,
  pipesOf,
  reasonOfDestruction,
  type TransferError,
  type TransferResult,
  TransferScope,
} from '@zerocopy/transfer';
import type { FileReader } from './file-route.js';
import { bytesLeft, isMessage, reserve } from './message-body.js';
import { inspectSource } from './source.js';

/** Whether the end of `stream` is the end of a connection, or of a message on one. */
const isConnection = (stream: unknown): boolean => isSocket(stream) || isMessage(stream);

/**
 * The bytes of `source` that have been moved so far, by whichever way. Not to be asked within `_read`: the chunk that Node may
 * have in hand there counts as moved.
 */
export const movedBy = (source: FileReader): number => source.bytesRead - source.readableLength;

export class CopiedRead {
  readonly #source: FileReader;
  readonly #record: MethodRecord;
  readonly #scope: TransferScope;
  #drop: CacheDrop | undefined;
  /** At the start: a destination that fails has been unpiped by the time that the source hears of it. */
  readonly #destination: NodeJS.WritableStream | undefined;
  readonly #startedAt = performance.now();
  /** What had been moved before, by whatever way. */
  readonly #before: number;
  /** The count of bytes at which the file had its end, or the range; undefined where that is not promised. */
  readonly #expected: number | undefined;

  /**
   * Publishes the start: foreign code, after which the state of the source is to be looked at again.
   * @param before the bytes of the source that had been moved by now.
   * @param lent the descriptor's own position may be moved by others.
   * @param cache what becomes of the pages that are read.
   */
  constructor(source: FileReader, record: MethodRecord, before: number, lent: boolean, cache: CachePolicy) {
    this.#source = source;
    this.#record = record;
    this.#before = before;
    const destination = pipesOf(source)?.[0];
    this.#destination = destination;
    this.#expected = isConnection(destination) ? endOfFile(source, lent) : undefined;
    const length = this.#expected === undefined ? undefined : this.#expected - this.#before;
    this.#scope = new TransferScope({
      length,
      source: 'file',
      destination: destination && endKindOf(destination),
      detail: { source: source.path },
      isPart: isToldByDestination(source),
    });
    const position = source.pos ?? (lent ? undefined : source.bytesRead);
    if (cache === 'drop' && position !== undefined) this.#drop = CacheDrop.of(cache, source.fd as number, position);
    this.#scope.start();
  }

  /** Bytes that may be read next: those that the message it is piped into has still room for. */
  room(): number {
    let room = Number.POSITIVE_INFINITY;
    for (const destination of pipesOf(this.#source) ?? []) room = Math.min(room, bytesLeft(destination));
    return room;
  }

  /** Has been read, and goes to all that it is piped into. */
  took(chunk: Buffer): void {
    this.#drop?.moved(chunk.length);
    const bytes = this.#sizeOf(chunk);
    for (const destination of [...(pipesOf(this.#source) ?? [])]) {
      if (!isMessage(destination)) continue;
      const fits = bytes <= bytesLeft(destination);
      reserve(destination, bytes);
      if (!fits) (destination as Writable).destroy(); // it has grown by its encoding
    }
  }

  /** Bytes of the text that is made of it, where the stream has an encoding: each of latin1 may become two. */
  #sizeOf(chunk: Buffer): number {
    const encoding = this.#source.readableEncoding;
    if (encoding === null) return chunk.length;
    this.#decoder ??= new StringDecoder(encoding);
    return Buffer.byteLength(this.#decoder.write(chunk));
  }
  #decoder: StringDecoder | undefined;

  /** What the end of the file, when it has been read, says of it; undefined: it is a proper one. */
  shortfall(): TransferError | undefined {
    const { bytesRead } = this.#source;
    if (this.#expected === undefined || bytesRead >= this.#expected || this.room() === 0) return undefined;
    if (!isConnection(pipesOf(this.#source)?.[0])) return undefined;
    return endedEarly(bytesRead - this.#before, this.#expected - this.#before);
  }

  /** It is over: publishes how. Idempotent. */
  end(error: Error | null): void {
    void this.#drop?.end();
    const { bytesRead, readableEnded } = this.#source;
    const result = this.#result(readableEnded ? bytesRead : movedBy(this.#source));
    if (readableEnded && error === null) this.#scope.succeed(result);
    else this.#scope.fail(reasonOfDestruction(this.#destination, error, result.bytes), result);
  }

  /**
   * The rest goes another way.
   * @param moved the bytes of the source that have been moved by now.
   * @param handedBack why Node's own stream moves the rest, in words, where that is so.
   */
  leave(moved: number, handedBack?: string): void {
    void this.#drop?.end();
    this.#scope.succeed(this.#result(moved), 0, handedBack);
  }

  #result(moved: number): TransferResult {
    const result: TransferResult = {
      bytes: moved - this.#before,
      method: 'copy',
      syscalls: 0,
      durationMs: performance.now() - this.#startedAt,
    };
    const reason = this.#record.fallbackReason;
    if (reason !== undefined) result.fallbackReason = reason;
    return result;
  }
}

/** The count of bytes read at which the file, or the range, ends as it is now; undefined where it cannot be known. */
function endOfFile({ fd, pos, end, bytesRead }: FileReader, lent: boolean): number | undefined {
  const position = pos ?? (lent ? undefined : bytesRead);
  if (typeof fd !== 'number' || position === undefined) return undefined;
  const facts = inspectSource(fd);
  return facts.sendable ? bytesRead + Math.max(0, Math.min(facts.size, end + 1) - position) : undefined;
}
