/** Node's own way: read on the thread pool, written by the destination's stream; with the same promise about the length. */
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import type { TransferResult } from '@zerocopy/core-syscalls';
import { abortError, isOutgoingMessage, readRetrying, transferError } from '@zerocopy/core-syscalls/internals';
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
  const total = promised ? length : undefined;
  let bytes = 0;
  let begun = isOutgoingMessage(destination) && destination.headersSent;

  async function* chunks(): AsyncGenerator<Buffer> {
    while (bytes < length) {
      const size = Math.min(CHUNK_SIZE, length - bytes);
      const position = source.position === null ? null : source.position + bytes;
      const buffer = Buffer.allocUnsafe(size);
      source.hold();
      const bytesRead = await readAsync(source.fd, buffer, size, position).finally(source.release);
      if (bytesRead === 0) {
        if (!promised) return;
        throw endedEarly(bytes, length);
      }
      begun = true;
      yield buffer.subarray(0, bytesRead);
      bytes += bytesRead;
      onProgress?.(bytes, total);
    }
  }

  try {
    await pipeline(chunks, destination, { end: false, ...(signal === undefined ? {} : { signal }) });
    // Where there is nothing to write, nobody has noticed.
    if (!begun && destination.destroyed) throw connectionClosed(bytes);
  } catch (error) {
    const aborted = signal?.aborted === true;
    if (begun && !(aborted && !isOutgoingMessage(destination))) destination.destroy();
    throw aborted ? abortError(signal, bytes) : transferError(error, bytes);
  }
  return { bytes, method: 'copy', fallbackReason, syscalls: 0, durationMs: performance.now() - startedAt };
}
