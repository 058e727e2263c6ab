/** Node's own way: read on the thread pool, written by the destination's stream; with the same promise about the length. */
import { finished, type Writable } from 'node:stream';
import { promisify } from 'node:util';
import { TransferError, type TransferResult } from '@zerocopy/core-syscalls';
import { abortError, isOutgoingMessage, readRetrying, transferError } from '@zerocopy/transfer';
import { connectionClosed, endedEarly } from './kernel-send.js';

const readAsync = promisify(readRetrying);
const CHUNK_SIZE = 64 * 1024;

export interface CopySource {
  /** Open for as long as it is held. */
  readonly fd: number;
  /** Around each read: one that nobody waits for any more, since it was aborted, still uses the descriptor (rule 40). */
  hold(): void;
  release(): void;
  /** Of the first byte; null: the descriptor's own position. */
  readonly position: number | null;
  /** Bytes, at most. */
  readonly length: number;
  /** Fewer are an error: so many have been announced, or the file had them at the start. */
  readonly promised: boolean;
}

export interface CopyOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
}

/**
 * The destination, and what ends a copy before its end: it fails, closes or is ended, or the signal aborts. Every wait
 * ends then, at once. (A `pipeline` of an async generator whose destination stays open goes on after an abort.)
 */
class Sink {
  readonly #stream: Writable;
  readonly #forget: () => void;
  #failure: { readonly error: unknown } | undefined;
  #onFailure: ((error: unknown) => void) | undefined;
  #onRoom: (() => void) | undefined;

  constructor(stream: Writable, signal: AbortSignal | undefined) {
    this.#stream = stream;
    const fail = (error: unknown): void => {
      this.#failure ??= { error };
      this.#onFailure?.(error);
    };
    const onAbort = (): void => fail(signal?.reason);
    const onDrain = (): void => this.#onRoom?.();
    const forget = finished(stream, { readable: false }, (error) => fail(error ?? ended()));
    stream.on('drain', onDrain);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#forget = () => {
      forget();
      stream.off('drain', onDrain);
      signal?.removeEventListener('abort', onAbort);
    };
    if (signal?.aborted) onAbort();
  }

  /** Gives a chunk to the stream, which has taken it then, whatever becomes of the wait for room. */
  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#stream.writableEnded) throw ended();
    return this.#stream.write(chunk) ? undefined : this.room();
  }

  room(): Promise<void> {
    return this.until(
      new Promise<void>((resolve) => {
        this.#onRoom = resolve;
      }),
    );
  }

  /** One wait at a time. */
  until<T>(event: Promise<T>): Promise<T> {
    const failure = new Promise<never>((_resolve, reject) => {
      if (this.#failure === undefined) this.#onFailure = reject;
      else reject(this.#failure.error);
    });
    return Promise.race([failure, event]);
  }

  /** Listens no more. */
  leave(): void {
    this.#forget();
  }
}

const ended = (): TransferError =>
  new TransferError('the destination was ended before the file had been sent', {
    code: 'ERR_STREAM_WRITE_AFTER_END',
    bytes: 0,
  });

/**
 * Copies into `destination`, which stays open if all goes well, if nothing has been given to it, or if it is no message
 * and the transfer was aborted; and is destroyed otherwise: a half-sent body is not to be taken for whole.
 * @throws {TransferError} with the bytes that the destination had taken.
 */
export async function copyToStream(
  destination: Writable,
  source: CopySource,
  { signal, onProgress }: CopyOptions,
  fallbackReason: string,
): Promise<TransferResult> {
  const startedAt = performance.now();
  const { length, promised } = source;
  let bytes = 0;
  /** Of the chunk that the destination has taken, and not asked for more since. */
  let taken = 0;
  let begun = isOutgoingMessage(destination) && destination.headersSent;
  const sink = new Sink(destination, signal);
  try {
    if (destination.writableNeedDrain) await sink.room();
    while (bytes < length) {
      const size = Math.min(CHUNK_SIZE, length - bytes);
      const position = source.position === null ? null : source.position + bytes;
      const buffer = Buffer.allocUnsafe(size);
      source.hold();
      const bytesRead = await sink.until(readAsync(source.fd, buffer, size, position).finally(source.release));
      if (bytesRead === 0) {
        if (!promised) break;
        throw endedEarly(bytes, length);
      }
      begun = true;
      const room = sink.write(buffer.subarray(0, bytesRead));
      taken = bytesRead;
      if (room !== undefined) await room;
      taken = 0;
      bytes += bytesRead;
      onProgress?.(bytes, promised ? length : undefined);
    }
    // Where there is nothing to write, nobody has noticed.
    if (!begun && destination.destroyed) throw connectionClosed(bytes);
  } catch (error) {
    const aborted = signal?.aborted === true;
    if (begun && !(aborted && !isOutgoingMessage(destination))) destination.destroy();
    throw aborted ? abortError(signal, bytes + taken) : transferError(error, bytes);
  } finally {
    sink.leave();
  }
  return { bytes, method: 'copy', fallbackReason, syscalls: 0, durationMs: performance.now() - startedAt };
}
