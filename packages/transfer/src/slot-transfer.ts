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

import type { Socket } from 'node:net';
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
import { attemptFirst, NOTHING_MOVED } from './first-attempts.js';
import type { SlotDestination, SlotEngine, SlotOutcome, SlotTransferOptions } from './slot-transfer-options.js';
import { destinationsOf, NONE } from './slot-transfer-options.js';
import { heldBytes } from './socket-internals.js';
import { failureOf } from './stream-failure.js';
import { addSharedListener, removeSharedListener } from './stream-listeners.js';
import { Transfer } from './transfer.js';
import { TransferScope } from './transfer-scope.js';
import { flushQueue } from './write-queue.js';
import { createWriteSlot, type SlotRequest, type UnqueuedSlot, type WriteSlot } from './write-slot.js';

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
  /** Its engine has been made, and it is still to be asked for. */
  #unqueued: UnqueuedSlot | undefined;
  /** What was moved before the slot. */
  #before = NOTHING_MOVED;
  #onAbort: (() => void) | undefined;

  /** To be made in the async context of the caller, in which `onProgress` and `onEnd` run. */
  constructor(options: SlotTransferOptions) {
    this.#options = options;
    this.#destinations = destinationsOf(options.destination);
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
    if (this.#early === undefined && signal?.aborted) this.#endEarly(abortError(signal, 0), undefined);
    else if (this.#early === undefined) this.#loseDestroyed();
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
      if (!flushQueue(destination.stream, destination.socket) || this.ended) return this.ended;
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
   * @param brokenOff published instead, as the error, where nobody moves the rest.
   */
  stop(reason: string, brokenOff?: (bytes: number) => TransferError): void {
    if (this.#state === 'ended' || this.#stopped !== undefined || this.#early !== undefined) return;
    if (brokenOff !== undefined) this.#scope.breakOff(brokenOff);
    this.#stopped = reason;
    const boundary = this.#engine?.boundary;
    if (this.#transfer === undefined) this.#endEarly(undefined, undefined);
    else if (boundary === undefined) this.#transfer.stop(null, reason);
    else this.#transfer.limit(boundary);
  }

  /** Ends it at the current byte, as 'failed' with `error`, of neither side. */
  fail(error: Error): void {
    // What has been destroyed is the reason for whatever else happens to it.
    if (this.#loseDestroyed()) return;
    if (this.#transfer !== undefined) this.#transfer.stop(error);
    else this.#endEarly(error, undefined);
  }

  /** Ends it if the stream at one end has been destroyed. @returns whether one has. */
  #loseDestroyed(): boolean {
    const { source, written } = this.#options;
    const socket = this.#single?.socket;
    if (socket?.destroyed) this.lost(failureOf(socket), 'destination');
    else if (written?.destroyed) this.lost(failureOf(written), 'destination');
    else if (source?.destroyed) this.lost(failureOf(source), 'source');
    else return false;
    return true;
  }

  /** Ends it because the stream at one end is gone. @param error what that stream says; null: nothing. */
  lost(error: Error | null, side: Side): void {
    if (this.#state === 'ended') return;
    this.#lost ??= { side, error };
    if (this.#transfer === undefined) return this.#endEarly(this.#lossError(this.bytes), side);
    const inStream = this.#engine?.inStream ?? 0;
    // What libuv still holds of a write may be cancelled by a reset; what the kernel has taken of it arrives.
    const socket = this.#single?.socket;
    if (side === 'source' && this.#options.destinationStays === true) this.#transfer.taken(inStream);
    else if (socket !== undefined && inStream > 0)
      this.#transfer.taken(Math.max(0, inStream - heldBytes(socket, inStream)));
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

  #stopListening(): void {
    if (this.#onAbort !== undefined) this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#onAbort = undefined;
  }

  /** Of the source, or of the stream that is written to without a slot. */
  readonly #onClose = (): void => {
    const { source, written } = this.#options;
    if (source?.destroyed) this.lost(failureOf(source), 'source');
    else this.lost(failureOf(written), 'destination');
  };

  #lossError(bytes: number): TransferError {
    const { side, error } = this.#lost as { side: Side; error: Error | null };
    return error === null ? closedEarly(side, bytes) : transferError(error, bytes);
  }

  /**
   * A call may meet a closed descriptor, and the callback of a write bring the error that its socket was destroyed with, before
   * the stream's own event says that, and why, it was closed.
   */
  #explain(error: TransferError): TransferError {
    if (this.#lost === undefined) {
      const { source, written } = this.#options;
      const destination = this.#single?.socket ?? written;
      const side = this.#engine?.failed;
      if (side !== 'source' && isEndOf(destination, error)) {
        this.#lost = { side: 'destination', error: failureOf(destination) };
      } else if (side !== 'destination' && isEndOf(source, error)) {
        this.#lost = { side: 'source', error: failureOf(source) };
      }
    }
    return this.#lost === undefined ? error : this.#lossError(error.bytes);
  }

  /** Before an end is published: whether it comes too early. */
  #check({ bytes }: TransferResult): TransferError | undefined {
    const { promised, endedEarly: tooFew = endedEarly } = this.#options;
    if (promised === undefined || bytes >= promised || this.#stopped !== undefined) return undefined;
    const error = tooFew(bytes, promised);
    this.#short = error !== undefined;
    return error;
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

/** Whether it is `error` that comes of this end having been destroyed. */
function isEndOf(end: Socket | SlotTransferOptions['written'], { code, cause }: TransferError): boolean {
  if (end?.destroyed !== true) return false;
  return isConnectionCode(code) || (cause !== undefined && cause === end.errored);
}
