/** What a transfer in a slot is given, and what it comes to: the contract of slot-transfer.ts. */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { TransferError, TransferMethod, TransferResult } from '@zerocopy/core-syscalls';
import type { Side } from './errors.js';
import type { TransferEngine } from './transfer.js';
import type { TransferAbout } from './transfer-scope.js';
import type { WriteSlot } from './write-slot.js';

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
  /** By `SlotTransfer.stop`. */
  | {
      readonly kind: 'stopped';
      /** What had been moved by then. */
      readonly result: TransferResult;
    }
  /** By an error: the slot is still held then, see `SlotTransfer.settle`. */
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
  /** Nobody destroys the destination when the source fails: what its stream has accepted by then arrives. */
  readonly destinationStays?: boolean | undefined;
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
   * Whether the engine may move its first bytes before it has a slot, in the turn of `SlotTransfer.start`, where nothing
   * is queued on the destination. What fits then needs no slot. For engines whose attempts use the slot's descriptor only.
   */
  readonly atOnce?: boolean;
  /** Other code uses the destination while the slot is requested or held; see SlotHandlers.crowded. */
  readonly onCrowded?: (() => void) | undefined;
  /** Bytes to move, at most; Infinity: to the end of the source. */
  readonly length: number;
  /** Bytes that the destination has been promised: fewer are an error. */
  readonly promised?: number | undefined;
  /** That error; undefined: it is none, after all. Default: ERR_FILE_TRUNCATED, since most sources are files. */
  readonly endedEarly?: ((bytes: number, promised: number) => TransferError | undefined) | undefined;
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
  /** Called exactly once: see the head of slot-transfer.ts. */
  readonly onEnd: (outcome: SlotOutcome) => void;
  /** What is published of it on the tracing channel besides its length. */
  readonly about?: Omit<TransferAbout, 'length'> | undefined;
}

/**
 * An empty list. Lists are made with what they hold, and not pushed to: a grown one has room for seventeen, in every idle
 * connection.
 */
export const NONE: readonly never[] = [];

/** The destinations with a slot, one after the other. */
export function destinationsOf(destination: SlotTransferOptions['destination']): readonly SlotDestination[] {
  if (destination === undefined) return NONE;
  return Array.isArray(destination) ? destination : [destination as SlotDestination];
}
