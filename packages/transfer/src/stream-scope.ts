/**
 * What a stream of ours moves by reading and writing is a transfer like any other, and published once. Of a pipe between
 * two streams of ours the one that writes tells: it knows what has arrived.
 */

import { AsyncResource } from 'node:async_hooks';
import { ReadStream, WriteStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import type { EndKind, TransferError, TransferMethod, TransferResult } from '@zerocopy/core-syscalls';
import { isOutgoingMessage, isSocket } from '@zerocopy/core-syscalls/descriptors';
import { closedEarly, transferError } from './errors.js';
import { isStandardOutput, pipesOf } from './socket-internals.js';
import { failureOf } from './stream-failure.js';
import { countTransfer, isObserved, TransferScope } from './transfer-scope.js';

/** Whether a stream of ours publishes what this source, which is piped into it, brings. Copies of the packages share it. */
export const kTellsOf: unique symbol = Symbol.for('zerocopy.tellsOf.1');

/** See {@link kTellsOf}. */
export interface TellsOf {
  [kTellsOf](source: Readable): boolean;
}

/** Whether all that `source` brings goes to one stream, which publishes it. */
export function isToldByDestination(source: Readable): boolean {
  const pipes = pipesOf(source);
  const [only] = pipes ?? [];
  return pipes?.length === 1 && (only as Partial<TellsOf>)[kTellsOf]?.(source) === true;
}

/** What is published of a stream at the other end. */
export function endKindOf(stream: unknown): EndKind {
  if (isMessage(stream)) return 'http';
  if (isStandardOutput(stream)) return 'stdio';
  if (isSocket(stream)) return 'socket';
  return stream instanceof ReadStream || stream instanceof WriteStream ? 'file' : 'stream';
}

/** Also of HTTP/2, whose messages and streams are of no class that is public. */
const isMessage = (stream: unknown): boolean =>
  isOutgoingMessage(stream) ||
  typeof (stream as { respondWithFD?: unknown } | null | undefined)?.respondWithFD === 'function' ||
  typeof (stream as { stream?: { respondWithFD?: unknown } } | null | undefined)?.stream?.respondWithFD === 'function';

/** Why a source was destroyed: a peer that goes away destroys it by way of `pipeline`. */
export function reasonOfDestruction(destination: unknown, error: Error | null, bytes: number): TransferError {
  const { destroyed } = (destination ?? {}) as { destroyed?: boolean };
  if (destroyed === true && ['socket', 'http'].includes(endKindOf(destination))) {
    const errored = failureOf(destination as Writable);
    return errored ? transferError(errored, bytes) : closedEarly('destination', bytes);
  }
  return error === null ? closedEarly('source', bytes) : transferError(error, bytes);
}

/** How its bytes went, and how many there have been since the stream was made. */
export interface StreamCount {
  readonly bytes: number;
  readonly method: TransferMethod | undefined;
  readonly fallbackReason?: string | undefined;
}

/** Publishes what one stream of ours reads from a file, or writes to one. */
export class StreamScope {
  readonly #stream: Readable | Writable;
  readonly #kind: 'read' | 'write';
  readonly #path: unknown;
  /** The caller's, where there is somebody to be told: a file is opened, and read, in others. */
  readonly #context: AsyncResource | undefined;
  #open:
    | {
        readonly scope: TransferScope | undefined;
        readonly at: number;
        readonly before: number;
        readonly other: unknown;
      }
    | undefined;
  #wasTold = false;

  /** @param path what the stream is about, for subscribers. */
  constructor(stream: Readable | Writable, kind: 'read' | 'write', path: unknown) {
    this.#stream = stream;
    this.#kind = kind;
    this.#path = path;
    this.#context = isObserved() ? new AsyncResource('ZEROCOPY_STREAM') : undefined;
  }

  /**
   * Bytes are asked for, or written: publishes the start, unless that has been done, or another of ours tells of them. Foreign
   * code, after which the state of the stream is to be looked at again.
   * @param before bytes of the stream so far. @param source what they come from, of a stream that writes.
   */
  start(before: number, source?: unknown): void {
    if (this.#open !== undefined) return;
    const stream = this.#stream as Readable;
    if (this.#kind === 'read') {
      if (isToldByDestination(stream)) {
        this.#wasTold = true;
        return;
      }
      // Unpiped, it reads ahead what nobody has asked for.
      if (this.#wasTold && stream.readableFlowing !== true) return;
    }
    const other = this.#kind === 'read' ? pipesOf(stream)?.[0] : source;
    const make = (): TransferScope => this.#scope(other);
    const scope = isObserved() ? (this.#context?.runInAsyncScope(make) ?? make()) : undefined;
    this.#open = { scope, at: performance.now(), before, other };
    scope?.start();
  }

  /**
   * It has ended: as it should if `complete`. Of what has not begun, or has been told already, nothing is.
   * @param lost bytes that have been counted, and are not with the destination.
   */
  end(complete: boolean, error: Error | null, { bytes: total, method, fallbackReason }: StreamCount, lost = 0): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    const bytes = Math.max(0, total - lost - open.before);
    const durationMs = performance.now() - open.at;
    const result: TransferResult = { bytes, method: method ?? 'copy', syscalls: 0, durationMs };
    if (fallbackReason !== undefined) result.fallbackReason = fallbackReason;
    if (open.scope === undefined) return countTransfer(result, !complete || error !== null);
    if (complete && error === null) open.scope.succeed(result);
    else open.scope.fail(this.#reason(open.other, error, bytes), result);
  }

  #scope(other: unknown): TransferScope {
    const kind = endKindOf(other);
    return new TransferScope(
      this.#kind === 'read'
        ? { source: 'file', destination: kind, detail: { source: this.#path } }
        : { source: kind, destination: 'file', detail: { destination: this.#path } },
    );
  }

  #reason(other: unknown, error: Error | null, bytes: number): TransferError {
    if (this.#kind === 'read') return reasonOfDestruction(other, error, bytes);
    return error === null ? closedEarly('destination', bytes) : transferError(error, bytes);
  }
}
