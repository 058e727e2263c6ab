/**
 * One transfer into the write slot of a socket or HTTP message, into the slots of several at once, or into a file or an
 * ordinary stream, which need no slot.
 *
 *   new ──start──► starting ──► queued ──slots begin──► preparing ──► moving ──► ended ──settle──► settled
 *                     └────────────┴───────────┴── dropped / lost / stopped ──► ended
 *
 * Several slots are asked for in one turn of the event loop, with no code of others in between. So of two transfers that
 * want the same ones, whichever asks first is first in every queue, and neither can hold what the other waits for.
 *
 * `onEnd` is called exactly once. By then the slot is over where the bytes are whole or the transfer was stopped; after a
 * failure that is not the destination's it is still held, so that nothing that waits behind it is taken for the rest:
 * the owner says what becomes of the connection by `settle`.
 */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { TransferError, TransferMethod, TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  asWriteError,
  closedEarly,
  endedEarly,
  isConnectionCode,
  type Side,
  transferError,
} from './errors.js';
import { attemptFirst } from './first-attempts.js';
import { heldBytes } from './socket-internals.js';
import { addSharedListener, removeSharedListener } from './stream-listeners.js';
import { Transfer, type TransferBefore, type TransferEngine } from './transfer.js';
import { type TransferAbout, TransferScope } from './transfer-scope.js';
import { createWriteSlot, flushQueue, type SlotRequest, type UnqueuedSlot, type WriteSlot } from './write-slot.js';

/** An engine that knows at which end a call of its own has failed, and where its bytes may stop. */
export interface SlotEngine extends TransferEngine {
  /** Whose call failed, if one has. */
  readonly failed?: Side | undefined;
  /** The count of bytes, from the transfer's start, at which it may be stopped next: the end of an HTTP chunk under way. */
  readonly boundary?: number;
  /** What has to follow the last byte within the slot: the end of the last HTTP chunk. */
  readonly closing?: string;
  /**
   * One of the destinations is gone: the engine goes on with the others, or fails. Without this method, the transfer fails.
   * @param index in the order of `destination`. @param error what its stream says of it; null: nothing.
   */
  lostSlot?(index: number, error: Error | null): void;
}

/** A stream with a write slot: the stream that is written to, and the socket that its bytes go out on. */
export interface SlotDestination {
  /** Whose queue the slot is in: the socket itself, or an HTTP message. */
  readonly stream: Writable | OutgoingMessage;
  /** Whose descriptor the bytes go to: `stream` itself, or the message's connection. */
  readonly socket: Socket;
}

/** How it ended. `result.bytes` is exact in each case. */
export type SlotOutcome =
  /** Every promised byte has arrived, or, without a promise, the source has ended. */
  | {
      readonly kind: 'completed';
      /** All that was moved. */
      readonly result: TransferResult;
    }
  /** The destination sends no body (HEAD, 204, 304). */
  | {
      readonly kind: 'dropped';
      /** No bytes. */
      readonly result: TransferResult;
    }
  /** By {@link SlotTransfer.stop}. */
  | {
      readonly kind: 'stopped';
      /** What had been moved by then. */
      readonly result: TransferResult;
    }
  /** By an error: the slot is still held then, see {@link SlotTransfer.settle}. */
  | {
      readonly kind: 'failed';
      /**
       * The end that has failed: the destination's stream says so itself. Undefined: the signal aborted, a callback
       * threw, or the owner ended it.
       */
      readonly side: Side | undefined;
      /** Its `bytes` are those of `result`. */
      readonly error: TransferError;
      /** What had been moved by then. */
      readonly result: TransferResult;
    };

/** What is moved where, and who is told. Counts are in bytes. */
export interface SlotTransferOptions {
  /** Several: the engine moves every byte to each. Undefined, or none: the engine writes by itself, to a file or a stream. */
  readonly destination: SlotDestination | readonly SlotDestination[] | undefined;
  /** A socket that bytes come from: when it closes, the source has failed. */
  readonly source?: Socket | undefined;
  /** A stream that the engine writes to without a slot: when it closes, the destination has failed. */
  readonly written?: Writable | OutgoingMessage | undefined;
  /**
   * Makes the engine, when the slot has come, so that a source is not taken from Node for longer than need be.
   * What it throws is a failure of the source.
   * @param slot the first of `slots`. @param slots in the order of `destination`.
   */
  readonly engine: (slot: WriteSlot | undefined, slots: readonly WriteSlot[]) => SlotEngine;
  /**
   * The start has been published, and the transfer goes on: what is said to the destination before it is asked for, such
   * as a Content-Length, is said here. Subscribers are foreign code, and may have written to it.
   */
  readonly onStarted?: (() => void) | undefined;
  /**
   * Whether the engine may move its first bytes before it has a slot, in the turn of {@link SlotTransfer.start}, where nothing
   * is queued on the destination. What fits then needs no slot. For engines whose attempts use the slot's descriptor only.
   */
  readonly atOnce?: boolean;
  /** Other code uses the destination while the slot is requested or held; see SlotHandlers.crowded. */
  readonly onCrowded?: (() => void) | undefined;
  /** Bytes to move, at most; Infinity: to the end of the source. */
  readonly length: number;
  /** Bytes that the destination has been promised: fewer are an error. */
  readonly promised?: number | undefined;
  /** That error. Default: ERR_FILE_TRUNCATED, since most sources are files. */
  readonly endedEarly?: ((bytes: number, promised: number) => TransferError) | undefined;
  /** The method that is told until the engine is made. */
  readonly method: TransferMethod;
  /** Why that is 'copy'. */
  readonly fallbackReason?: string | undefined;
  /** Aborting ends it as 'failed', of neither side, with ABORT_ERR. */
  readonly signal?: AbortSignal | undefined;
  /** The user's: all bytes so far, and the length where it is known. What it throws fails the transfer. */
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  /** The owner's: bytes that have been moved since the last call. */
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** Called exactly once: see the head of this file. */
  readonly onEnd: (outcome: SlotOutcome) => void;
  /** What is published of it on the tracing channel besides its length. */
  readonly about?: Omit<TransferAbout, 'length'> | undefined;
}

// Arrays are made with what they hold, and not pushed to: a grown one has room for seventeen, in every idle connection.
const NONE: readonly never[] = [];
const NOTHING_MOVED: TransferBefore = { bytes: 0, syscalls: 0, result: undefined };

function severalOf(destination: SlotTransferOptions['destination']): readonly SlotDestination[] {
  if (destination === undefined) return NONE;
  return Array.isArray(destination) ? destination : [destination as SlotDestination];
}

/** The machine of a transfer in a slot: the states above. */
export class SlotTransfer {
  readonly #options: SlotTransferOptions;
  readonly #destinations: readonly SlotDestination[];
  readonly #scope: TransferScope;
  #state: 'new' | 'starting' | 'queued' | 'preparing' | 'moving' | 'ended' = 'new';
  #requests: readonly SlotRequest[] = NONE;
  /** Those that have come, each at its place. */
  #slots: readonly (WriteSlot | undefined)[] = NONE;
  /** Slots that are still to come. */
  #awaited = 0;
  #engine: SlotEngine | undefined;
  #transfer: Transfer | undefined;
  #stopped: string | undefined;
  /** The source has ended before all that was promised of it had come. */
  #short = false;
  /** The end that is gone, and what its stream says of it. */
  #lost: { readonly side: Side; readonly error: Error | null } | undefined;
  /** What has ended it in a state that cannot be left at once: it is told when that state is left. */
  #early: SlotOutcome | undefined;

  /** To be made in the async context of the caller, in which `onProgress` and `onEnd` run. */
  constructor(options: SlotTransferOptions) {
    this.#options = options;
    this.#destinations = severalOf(options.destination);
    const { before, source, destination, detail, isPart } = options.about ?? {};
    const length = Number.isFinite(options.length) ? options.length : undefined;
    this.#scope = new TransferScope({ length, before, source, destination, detail, isPart });
  }

  /** Asks for the slots. They may come, and all of it be over, before this returns. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'starting';
    const { source, written, signal } = this.#options;
    this.#scope.start(); // foreign code: it may have ended this, or destroyed one of the ends
    const socket = this.#single?.socket;
    if (this.#early === undefined && signal?.aborted) this.#endEarly(abortError(signal, 0), undefined);
    else if (this.#early === undefined && socket?.destroyed) this.lost(socket.errored, 'destination');
    else if (this.#early === undefined && written?.destroyed) this.lost(written.errored ?? null, 'destination');
    else if (this.#early === undefined && source?.destroyed) this.lost(source.errored, 'source');
    if (this.#early === undefined) this.#tellStarted();
    if (this.#early !== undefined) return this.#end(this.#early);
    this.#state = 'queued';
    if (this.#options.atOnce === true && this.#sendAtOnce()) return;
    if (source !== undefined) addSharedListener(source, 'close', this.#onClose);
    if (written !== undefined) addSharedListener(written, 'close', this.#onClose);
    if (signal !== undefined) {
      this.#onAbort = () => this.#endEarly(abortError(signal, 0), undefined);
      signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    this.#awaited = this.#destinations.length;
    if (this.#awaited === 0) this.#begin();
    for (let index = 0; index < this.#destinations.length && this.#state === 'queued'; index++) this.#ask(index);
  }

  /** Moves what can be moved without a slot. @returns whether that has ended the transfer, in whatever way. */
  #sendAtOnce(): boolean {
    const { length, engine } = this.#options;
    const destination = this.#single;
    if (destination === undefined || !Number.isFinite(length)) return false;
    try {
      if (!flushQueue(destination.stream, destination.socket) || this.#hasEnded) return this.#hasEnded;
      const slot = this.#createSlot(0);
      this.#unqueued = slot;
      this.#engine = engine(slot, [slot]);
    } catch (error) {
      this.#endEarly(error, this.#unqueued === undefined ? 'destination' : 'source');
      return true;
    }
    const startedAt = performance.now();
    const { method, reason } = this.#engine;
    this.#before = attemptFirst(this.#engine, length);
    const { bytes, syscalls } = this.#before;
    if (bytes > 0) this.#options.onMoved?.(bytes);
    if (bytes < length) return false;
    const result: TransferResult = { bytes, method, syscalls, durationMs: performance.now() - startedAt };
    if (reason !== undefined) result.fallbackReason = reason;
    const { onProgress, signal } = this.#options;
    try {
      if (onProgress !== undefined) this.#scope.run(onProgress, bytes, length);
      if (signal?.aborted) throw abortError(signal, bytes); // by that callback
    } catch (error) {
      this.#endEarly(error, undefined);
    }
    this.#end({ kind: 'completed', result });
    return true;
  }
  /** Its engine has been made, and it is still to be asked for. */
  #unqueued: UnqueuedSlot | undefined;
  /** What was moved before the slot. */
  #before = NOTHING_MOVED;

  get #hasEnded(): boolean {
    return this.#state === 'ended';
  }

  #tellStarted(): void {
    try {
      this.#options.onStarted?.();
    } catch (error) {
      this.#endEarly(error, 'destination');
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

  /** As the options say until the engine is made; then what the engine uses now. */
  get method(): TransferMethod {
    return this.#transfer?.method ?? this.#options.method;
  }

  /** Bytes moved so far. */
  get bytes(): number {
    return this.#transfer?.bytes ?? this.#before.bytes;
  }

  /** The count of bytes at which it may be stopped next, where that is not everywhere: see {@link SlotEngine.boundary}. */
  get boundary(): number | undefined {
    return this.#engine?.boundary;
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
    const { source, written } = this.#options;
    const socket = this.#single?.socket;
    // What has been destroyed is the reason for whatever else happens to it.
    if (socket?.destroyed) this.lost(socket.errored, 'destination');
    else if (written?.destroyed) this.lost(written.errored ?? null, 'destination');
    else if (source?.destroyed) this.lost(source.errored, 'source');
    else if (this.#transfer !== undefined) this.#transfer.stop(error);
    else this.#endEarly(error, undefined);
  }

  /** Ends it because the stream at one end is gone. @param error what that stream says; null: nothing. */
  lost(error: Error | null, side: Side): void {
    if (this.#state === 'ended') return;
    this.#lost ??= { side, error };
    if (this.#transfer === undefined) return this.#endEarly(this.#lossError(this.bytes), side);
    // What libuv still holds of a write may be cancelled by a reset; what the kernel has taken of it arrives.
    const socket = this.#single?.socket;
    const inStream = this.#engine?.inStream ?? 0;
    if (socket !== undefined && inStream > 0) this.#transfer.taken(Math.max(0, inStream - heldBytes(socket, inStream)));
    this.#transfer.lost(this.#lossError(this.bytes));
  }

  /**
   * After 'failed': lets later writes to the destination go on; or destroys its socket, with `error` or without one, so
   * that what has arrived cannot be taken for whole. Idempotent.
   */
  settle(connection: 'keep' | 'destroy', error?: Error): void {
    const slots = this.#slots;
    this.#slots = NONE;
    for (const slot of slots) {
      if (connection === 'keep') slot?.end();
      else slot?.abandon();
    }
    if (connection === 'destroy') for (const { socket } of this.#destinations) socket.destroy(error);
  }

  /** The destination, where there is but one. */
  get #single(): SlotDestination | undefined {
    return this.#destinations.length === 1 ? this.#destinations[0] : undefined;
  }

  #ask(index: number): void {
    const slot = this.#unqueued ?? this.#createSlot(index);
    this.#requests = this.#single === undefined ? [...this.#requests, slot] : [slot];
    slot.request();
  }

  #createSlot(index: number): UnqueuedSlot {
    const { stream, socket } = this.#destinations[index] as SlotDestination;
    const { onCrowded } = this.#options;
    return createWriteSlot(stream, socket, {
      begin: (slot) => {
        this.#slots = this.#destinations.map((_, at) => (at === index ? slot : this.#slots[at]));
        this.#awaited--;
        this.#begin();
      },
      dropped: () => {
        if (this.#single !== undefined) this.#end({ kind: 'dropped', result: this.#nothing() });
        else this.lost(null, 'destination');
      },
      lost: (error) => this.#onSlotLost(index, error),
      crowded: onCrowded,
    });
  }

  /** Before it moves, what was to get every byte will not: that is a failure, however many others there are. */
  #onSlotLost(index: number, error: Error | null): void {
    if (this.#state === 'moving' && this.#engine?.lostSlot !== undefined) this.#engine.lostSlot(index, error);
    else this.lost(error, 'destination');
  }

  #begin(): void {
    if (this.#awaited > 0) return;
    if (this.#early !== undefined || this.#state !== 'queued') {
      this.settle('keep');
      return;
    }
    const { engine, length, signal, onProgress, onMoved } = this.#options;
    this.#state = 'preparing';
    try {
      const slots = this.#slots as readonly WriteSlot[]; // all have come
      this.#engine ??= engine(slots[0], slots);
    } catch (error) {
      this.#endEarly(error, 'source');
    }
    // The engine takes its source, whose listeners are foreign code.
    if (this.#early !== undefined) return this.#end(this.#early);
    this.#stopListening(); // the transfer listens to the signal from now on
    this.#requests = NONE;
    this.#state = 'moving';
    this.#transfer = new Transfer({
      engine: this.#engine as SlotEngine,
      length,
      before: this.#unqueued === undefined ? undefined : this.#before,
      signal,
      onProgress,
      onMoved,
      scope: this.#scope,
      explain: (error) => this.#explain(error),
      check: (result) => this.#check(result),
      onEnd: (error, result) => this.#onTransferEnd(error, result),
    });
    this.#transfer.start();
  }

  #onAbort: (() => void) | undefined;

  #stopListening(): void {
    if (this.#onAbort !== undefined) this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#onAbort = undefined;
  }

  /** Of the source, or of the stream that is written to without a slot. */
  readonly #onClose = (): void => {
    const { source, written } = this.#options;
    if (source?.destroyed) this.lost(source.errored, 'source');
    else this.lost(written?.errored ?? null, 'destination');
  };

  #lossError(bytes: number): TransferError {
    const { side, error } = this.#lost as { side: Side; error: Error | null };
    return error === null ? closedEarly(side, bytes) : transferError(error, bytes);
  }

  /** A call may meet a closed descriptor before the stream's own event says that, and why, it was closed. */
  #explain(error: TransferError): TransferError {
    const { source, written } = this.#options;
    const destination = this.#single?.socket ?? written;
    if (isConnectionCode(error.code) && this.#lost === undefined) {
      const side = this.#engine?.failed;
      if (side !== 'source' && destination?.destroyed) {
        this.#lost = { side: 'destination', error: destination.errored ?? null };
      } else if (side !== 'destination' && source?.destroyed) this.#lost = { side: 'source', error: source.errored };
    }
    if (this.#lost !== undefined) return this.#lossError(error.bytes);
    return error;
  }

  /** Before an end is published: whether it comes too early. */
  #check({ bytes }: TransferResult): TransferError | undefined {
    const { promised, endedEarly: tooFew = endedEarly } = this.#options;
    if (promised === undefined || bytes >= promised || this.#stopped !== undefined) return undefined;
    this.#short = true;
    return tooFew(bytes, promised);
  }

  #onTransferEnd(error: TransferError | null, result: TransferResult): void {
    if (error !== null) this.#end({ kind: 'failed', side: this.#sideOf(error), error, result });
    else this.#end({ kind: this.#stopped === undefined ? 'completed' : 'stopped', result });
  }

  #sideOf(error: TransferError): Side | undefined {
    if (this.#lost !== undefined) return this.#lost.side;
    if (this.#short) return 'source';
    if (this.#engine?.failed !== undefined) return this.#engine.failed;
    return this.#single !== undefined && isConnectionCode(error.code) ? 'destination' : undefined;
  }

  #endEarly(error: unknown, side: Side | undefined): void {
    if (this.#state === 'ended' || this.#early !== undefined) return;
    const result = this.#nothing();
    const outcome: SlotOutcome =
      error === undefined
        ? { kind: 'stopped', result }
        : { kind: 'failed', side, error: transferError(error, result.bytes), result };
    if (this.#state !== 'queued') this.#early = outcome;
    if (this.#state !== 'starting' && this.#state !== 'preparing') this.#end(outcome);
  }

  #end(outcome: SlotOutcome): void {
    if (this.#state === 'ended') return;
    const moved = this.#transfer !== undefined;
    this.#state = 'ended';
    const { source, written, onEnd } = this.#options;
    if (source !== undefined) removeSharedListener(source, 'close', this.#onClose);
    if (written !== undefined) removeSharedListener(written, 'close', this.#onClose);
    this.#stopListening();
    if (!moved) {
      this.#engine?.leave?.();
      for (const request of this.#requests) request.cancel();
      if (outcome.kind === 'failed') this.#scope.fail(outcome.error, outcome.result);
      else this.#scope.succeed(outcome.result, 0, this.#stopped);
    }
    // In the caller's async context: the end of a slot runs callbacks of writes, and emits events, of the destination.
    this.#scope.run(() => {
      this.#leaveSlots(outcome);
      onEnd(outcome);
    });
  }

  #leaveSlots(outcome: SlotOutcome): void {
    if (outcome.kind === 'completed' || outcome.kind === 'stopped') this.#endSlots();
    else if (outcome.kind === 'failed' && outcome.side === 'destination' && this.#single !== undefined) {
      const { cause } = outcome.error;
      const [slot] = this.#slots;
      this.#slots = NONE;
      // Of a socket that is destroyed the reason is its own: the end of a write would put another in its place.
      if (this.#single.socket.destroyed) slot?.abandon();
      else slot?.end(asWriteError(cause instanceof Error ? cause : outcome.error));
    }
  }

  #endSlots(): void {
    const closing = this.#engine?.closing ?? '';
    const slots = this.#slots;
    this.#slots = NONE;
    for (const slot of slots) {
      if (closing === '') slot?.end();
      else slot?.write(Buffer.from(closing, 'latin1'), (error) => slot.end(error));
    }
  }

  #nothing(): TransferResult {
    const { method, fallbackReason } = this.#options;
    const { bytes, syscalls } = this.#before;
    const result: TransferResult = { bytes, method, syscalls, durationMs: 0 };
    if (fallbackReason !== undefined) result.fallbackReason = fallbackReason;
    return result;
  }
}
