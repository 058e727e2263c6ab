/**
 * One transfer into the write slot of a socket or HTTP message, or into a file, which needs no slot.
 *
 *   new ──start──► starting ──► queued ──slot begins──► moving ──► ended ──settle──► settled
 *                     └────────────┴── dropped / lost / stopped ────► ended
 *
 * `onEnd` is called exactly once. By then the slot is over where the bytes are whole or the transfer was stopped; after a
 * failure that is not the destination's it is still held, so that nothing that waits behind it is taken for the rest:
 * the owner says what becomes of the connection by `settle`.
 */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { TransferError, TransferMethod, TransferResult } from '@zerocopy/core-syscalls';
import { abortError, closedEarly, endedEarly, isConnectionCode, type Side, transferError } from './errors.js';
import { Transfer, type TransferEngine } from './transfer.js';
import { type TransferAbout, TransferScope } from './transfer-scope.js';
import { requestWriteSlot, type SlotRequest, type WriteSlot } from './write-slot.js';

/** An engine that knows at which end a call of its own has failed, and where its bytes may stop. */
export interface SlotEngine extends TransferEngine {
  /** Whose call failed, if one has. */
  readonly failed?: Side | undefined;
  /** The count of bytes, from the transfer's start, at which it may be stopped next: the end of an HTTP chunk under way. */
  readonly boundary?: number;
  /** What has to follow the last byte within the slot: the end of the last HTTP chunk. */
  readonly closing?: string;
}

/** A stream with a write slot: the stream that is written to, and the socket that its bytes go out on. */
export interface SlotDestination {
  readonly stream: Writable | OutgoingMessage;
  readonly socket: Socket;
}

/** How it ended. `result.bytes` is exact in each case. */
export type SlotOutcome =
  /** Every promised byte has arrived, or, without a promise, the source has ended. */
  | { readonly kind: 'completed'; readonly result: TransferResult }
  /** The destination sends no body (HEAD, 204, 304). */
  | { readonly kind: 'dropped'; readonly result: TransferResult }
  /** By {@link SlotTransfer.stop}. */
  | { readonly kind: 'stopped'; readonly result: TransferResult }
  /**
   * `side` is the end that has failed: the destination's stream says so itself. Undefined: the signal aborted, a
   * callback threw, or the owner ended it.
   */
  | {
      readonly kind: 'failed';
      readonly side: Side | undefined;
      readonly error: TransferError;
      readonly result: TransferResult;
    };

export interface SlotTransferOptions {
  /** Undefined: a file, into which the engine writes by itself. */
  readonly destination: SlotDestination | undefined;
  /** A socket that bytes come from: when it closes, the source has failed. */
  readonly source?: Socket | undefined;
  /**
   * Makes the engine, when the slot has come, so that a source is not taken from Node for longer than need be.
   * What it throws is a failure of the source.
   */
  readonly engine: (slot: WriteSlot | undefined) => SlotEngine;
  /** Bytes to move, at most; Infinity: to the end of the source. */
  readonly length: number;
  /** Bytes that the destination has been promised: fewer are an error. */
  readonly promised?: number | undefined;
  /** The method that is told until the engine is made. */
  readonly method: TransferMethod;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  readonly onMoved?: ((bytes: number) => void) | undefined;
  readonly onEnd: (outcome: SlotOutcome) => void;
  readonly about?: Omit<TransferAbout, 'length'> | undefined;
}

export class SlotTransfer {
  readonly #options: SlotTransferOptions;
  readonly #scope: TransferScope;
  #state: 'new' | 'starting' | 'queued' | 'moving' | 'ended' = 'new';
  #request: SlotRequest | undefined;
  #slot: WriteSlot | undefined;
  #engine: SlotEngine | undefined;
  #transfer: Transfer | undefined;
  #stopped: string | undefined;
  /** The end that is gone, and what its stream says of it. */
  #lost: { readonly side: Side; readonly error: Error | null } | undefined;
  /** What has ended it in the state 'starting', or before: it is told when that state is left. */
  #early: SlotOutcome | undefined;

  /** To be made in the async context of the caller, in which `onProgress` and `onEnd` run. */
  constructor(options: SlotTransferOptions) {
    this.#options = options;
    const length = Number.isFinite(options.length) ? options.length : undefined;
    this.#scope = new TransferScope({ ...options.about, length });
  }

  /** Asks for the slot. It may come, and all of it be over, before this returns. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'starting';
    const { destination, source, signal } = this.#options;
    this.#scope.start(); // foreign code: it may have ended this, or destroyed one of the ends
    if (this.#early === undefined && signal?.aborted) this.#endEarly(abortError(signal, 0), undefined);
    else if (this.#early === undefined && destination?.socket.destroyed) this.#onSlotLost(destination.socket.errored);
    else if (this.#early === undefined && source?.destroyed) this.lost(source.errored, 'source');
    if (this.#early !== undefined) return this.#end(this.#early);
    this.#state = 'queued';
    source?.on('close', this.#onSourceClose);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (destination === undefined) this.#begin();
    else {
      this.#request = requestWriteSlot(destination.stream, destination.socket, {
        begin: (slot) => {
          this.#slot = slot;
          this.#begin();
        },
        dropped: () => this.#end({ kind: 'dropped', result: this.#nothing() }),
        lost: (error) => this.#onSlotLost(error),
      });
    }
  }

  /** Waiting for its slot. */
  get queued(): boolean {
    return this.#state === 'queued';
  }

  /** Whether `onEnd` has been called. */
  get ended(): boolean {
    return this.#state === 'ended';
  }

  get method(): TransferMethod {
    return this.#transfer?.method ?? this.#options.method;
  }

  /** Bytes moved so far. */
  get bytes(): number {
    return this.#transfer?.bytes ?? 0;
  }

  /**
   * Ends it at the current byte, as 'stopped', and the slot with it; in a chunked message at the end of the chunk under
   * way. `onEnd` comes now or, with a call under way off this thread or a chunk to complete, later.
   * @param reason why, in words: published as `handedBack`.
   */
  stop(reason: string): void {
    if (this.#state === 'ended' || this.#stopped !== undefined || this.#early !== undefined) return;
    this.#stopped = reason;
    const boundary = this.#engine?.boundary;
    if (this.#transfer === undefined) this.#endEarly(undefined, undefined);
    else if (boundary === undefined) this.#transfer.stop(null, reason);
    else this.#transfer.limit(boundary);
  }

  /** Ends it at the current byte, as 'failed' with `error`, of neither side. */
  fail(error: Error): void {
    const { destination, source } = this.#options;
    // What has been destroyed is the reason for whatever else happens to it.
    if (destination?.socket.destroyed) this.lost(destination.socket.errored, 'destination');
    else if (source?.destroyed) this.lost(source.errored, 'source');
    else if (this.#transfer !== undefined) this.#transfer.stop(error);
    else this.#endEarly(error, undefined);
  }

  /** Ends it because the stream at one end is gone. @param error what that stream says; null: nothing. */
  lost(error: Error | null, side: Side): void {
    if (this.#state === 'ended') return;
    this.#lost ??= { side, error };
    if (this.#transfer !== undefined) this.#transfer.lost(this.#lossError(this.bytes));
    else this.#endEarly(this.#lossError(0), side);
  }

  /**
   * After 'failed': lets later writes to the destination go on; or destroys its socket, with `error` or without one, so
   * that what has arrived cannot be taken for whole. Idempotent.
   */
  settle(connection: 'keep' | 'destroy', error?: Error): void {
    const slot = this.#slot;
    this.#slot = undefined;
    if (connection === 'keep') slot?.end();
    else {
      slot?.abandon();
      this.#options.destination?.socket.destroy(error);
    }
  }

  #begin(): void {
    const { engine, length, signal, onProgress, onMoved } = this.#options;
    if (this.#early !== undefined || this.#state === 'ended') {
      this.settle('keep');
      return;
    }
    signal?.removeEventListener('abort', this.#onAbort); // the transfer listens to it from now on
    this.#state = 'starting'; // taking a source runs foreign code ('data' listeners), which may end this
    let made: SlotEngine | undefined;
    try {
      made = engine(this.#slot);
      this.#engine = made;
    } catch (error) {
      this.#endEarly(error, 'source');
    }
    if (this.#early !== undefined) return this.#end(this.#early);
    this.#state = 'moving';
    this.#transfer = new Transfer({
      engine: made as SlotEngine,
      length,
      signal,
      onProgress,
      onMoved,
      scope: this.#scope,
      explain: (error) => this.#explain(error),
      onEnd: (error, result) => this.#onTransferEnd(error, result),
    });
    this.#transfer.start();
  }

  readonly #onAbort = (): void => {
    this.#endEarly(abortError(this.#options.signal as AbortSignal, 0), undefined);
  };

  readonly #onSourceClose = (): void => this.lost(this.#options.source?.errored ?? null, 'source');

  #onSlotLost(error: Error | null): void {
    this.lost(error, 'destination');
  }

  #lossError(bytes: number): TransferError {
    const { side, error } = this.#lost as { side: Side; error: Error | null };
    return error === null ? closedEarly(side, bytes) : transferError(error, bytes);
  }

  /** A call may meet a closed descriptor before the stream's own event says that, and why, it was closed. */
  #explain(error: TransferError): TransferError {
    const { destination, source } = this.#options;
    if (isConnectionCode(error.code) && this.#lost === undefined) {
      const side = this.#engine?.failed;
      if (side !== 'source' && destination?.socket.destroyed) {
        this.#lost = { side: 'destination', error: destination.socket.errored };
      } else if (side !== 'destination' && source?.destroyed) this.#lost = { side: 'source', error: source.errored };
    }
    if (this.#lost !== undefined) return this.#lossError(error.bytes);
    return error;
  }

  #onTransferEnd(error: TransferError | null, result: TransferResult): void {
    const { promised } = this.#options;
    if (error !== null) return this.#end({ kind: 'failed', side: this.#sideOf(error), error, result });
    if (this.#stopped === undefined && promised !== undefined && result.bytes < promised) {
      const early = endedEarly(result.bytes, promised);
      return this.#end({ kind: 'failed', side: 'source', error: early, result });
    }
    this.#end({ kind: this.#stopped === undefined ? 'completed' : 'stopped', result });
  }

  #sideOf(error: TransferError): Side | undefined {
    if (this.#lost !== undefined) return this.#lost.side;
    if (this.#engine?.failed !== undefined) return this.#engine.failed;
    return this.#options.destination !== undefined && isConnectionCode(error.code) ? 'destination' : undefined;
  }

  #endEarly(error: unknown, side: Side | undefined): void {
    if (this.#state === 'ended' || this.#early !== undefined) return;
    const result = this.#nothing();
    const outcome: SlotOutcome =
      error === undefined
        ? { kind: 'stopped', result }
        : { kind: 'failed', side, error: transferError(error, 0), result };
    if (this.#state === 'starting' || this.#state === 'new') this.#early = outcome;
    if (this.#state !== 'starting') this.#end(outcome);
  }

  #end(outcome: SlotOutcome): void {
    if (this.#state === 'ended') return;
    const moved = this.#transfer !== undefined;
    this.#state = 'ended';
    const { source, signal, onEnd } = this.#options;
    source?.off('close', this.#onSourceClose);
    signal?.removeEventListener('abort', this.#onAbort);
    if (!moved) {
      this.#request?.cancel();
      if (outcome.kind === 'failed') this.#scope.fail(outcome.error, outcome.result);
      else this.#scope.succeed(outcome.result, 0, this.#stopped);
    }
    if (outcome.kind === 'completed' || outcome.kind === 'stopped') this.#endSlot();
    else if (outcome.kind === 'failed' && outcome.side === 'destination') {
      const { cause } = outcome.error;
      this.#slot?.end(cause instanceof Error ? cause : outcome.error);
      this.#slot = undefined;
    }
    this.#scope.run(onEnd, outcome);
  }

  #endSlot(): void {
    const slot = this.#slot;
    this.#slot = undefined;
    const closing = this.#engine?.closing ?? '';
    if (closing === '') slot?.end();
    else slot?.write(Buffer.from(closing, 'latin1'), (error) => slot.end(error));
  }

  #nothing(): TransferResult {
    return { bytes: 0, method: this.#options.method, syscalls: 0, durationMs: 0 };
  }
}
