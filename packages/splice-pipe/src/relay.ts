/**
 * One direction from a source to a destination: a {@link SlotTransfer}, and the source that it has taken.
 *
 * The source is kept until `release`, also after the end: a proxy keeps both sockets until the other direction has ended.
 */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { TransferResult } from '@zerocopy/core-syscalls';
import {
  isSocket,
  type Side,
  type SlotDestination,
  type SlotEngine,
  type SlotOutcome,
  SlotTransfer,
  type SlotTransferOptions,
  type TransferError,
  type WriteSlot,
} from '@zerocopy/transfer';
import { type KernelDestination, KernelSocketDestination } from './destination.js';
import { PipeEngine } from './pipe-engine.js';
import type { KernelSource } from './source.js';
import { SpliceEngine } from './splice-engine.js';
import { RelayCopyEngine } from './stream-copy.js';

/** What moves the bytes of one direction. */
export interface RelayEngine extends SlotEngine {
  failed?: Side | undefined;
  /** Whether the source has been read to its end. */
  readonly ended: boolean;
  /** Once closed: bytes that were read from the source, and neither delivered nor to be had again. */
  readonly missing: number;
  /** Bytes that have been read from the source and not been delivered yet, where it is known. */
  readonly undelivered?: number;
  /** Lets go of what it holds. @returns what had been read from the source and has not been delivered. */
  close(): Buffer;
}

/** What an engine is made for. */
export interface RelayEngineOptions {
  readonly source: KernelSource;
  readonly destination: KernelDestination;
  /** Bytes of the source that other code has read from it already. */
  readonly head?: Buffer | undefined;
  /** Whether to begin by splicing, instead of waiting for what flows to show that it pays. */
  readonly eager: boolean;
}

export interface RelayOutcome {
  /** Null: the source has ended, all of `length` has arrived, or it was stopped. */
  readonly error: TransferError | null;
  readonly result: TransferResult;
  /** Which side failed; undefined if neither did (stopped, aborted, a callback threw). */
  readonly failed: Side | undefined;
  /** Whether the source has been read to its end. */
  readonly ended: boolean;
}

type Inherited =
  | ('length' | 'promised' | 'endedEarly' | 'signal' | 'onProgress' | 'onMoved' | 'onCrowded' | 'about')
  | 'destinationStays';

export interface RelayOptions extends Pick<SlotTransferOptions, Inherited> {
  /** Made when the slot has come, so that the source is not taken from Node for longer than need be. */
  readonly source: () => KernelSource;
  /** A socket, or an HTTP message on one, whose slot is waited for; or what is written to without. */
  readonly destination: Socket | SlotDestination | KernelDestination;
  /** The socket that is read below Node: when it closes, the source has failed. */
  readonly socket?: Socket | undefined;
  /** The stream behind a destination without a slot: when it closes, the destination has failed. */
  readonly written?: Writable | OutgoingMessage | undefined;
  /** Why everything is copied by the streams' own reading and writing; undefined: the kernel moves it. */
  readonly copied?: string | undefined;
  readonly head?: Buffer | undefined;
  /** Whether to begin by splicing, instead of waiting for what flows to show that it is worth while. */
  readonly eager: boolean;
  readonly onEnd: (outcome: RelayOutcome) => void;
}

function slotOf(destination: RelayOptions['destination']): SlotDestination | undefined {
  if (isSocket(destination)) return { stream: destination, socket: destination };
  return 'socket' in destination ? destination : undefined;
}

export class Relay {
  readonly #options: RelayOptions;
  readonly #transfer: SlotTransfer;
  #source: KernelSource | undefined;
  #engine: RelayEngine | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { copied, length, promised, endedEarly, signal, onProgress, onMoved, onCrowded, about, destinationStays } =
      options;
    this.#transfer = new SlotTransfer({
      destination: slotOf(options.destination),
      source: options.socket,
      written: options.written,
      engine: (slot) => this.#open(slot),
      method: copied === undefined ? 'splice' : 'copy',
      fallbackReason: copied,
      length,
      promised,
      endedEarly,
      signal,
      onProgress,
      onMoved,
      onCrowded,
      about,
      destinationStays,
      onEnd: (outcome) => this.#onEnd(outcome),
    });
  }

  /** May be over before it returns. */
  start(): void {
    this.#transfer.start();
  }

  get bytes(): number {
    return this.#transfer.bytes;
  }

  /** Whether it waits for its destination: for its slot, or with bytes that the destination has not taken. */
  get waitsForDestination(): boolean {
    return this.#transfer.queued || (this.#engine?.undelivered ?? 0) > 0;
  }

  /** Ends it at the current byte: as a success if `error` is null. A call off this thread is waited for. */
  stop(error: Error | null, reason = 'it was stopped'): void {
    if (error === null) this.#transfer.stop(reason);
    else this.#transfer.fail(error);
  }

  /** Ends it because one of the two is gone. @param error null: its stream has closed without one. */
  lost(error: Error | null, side: Side): void {
    this.#transfer.lost(error, side);
  }

  /** Lets later writes to the destination go on. */
  endTurn(): void {
    this.#transfer.settle('keep');
  }

  /** Once ended: gives the source back, with what it had brought and was not delivered; and the slot. */
  release(): void {
    const unread = this.#engine?.close() ?? Buffer.alloc(0);
    this.#source?.giveBack(unread, this.#engine?.ended ?? false, this.#engine?.missing);
    this.#source = undefined;
    const { destination } = this.#options;
    if ('release' in destination) destination.release?.();
    this.endTurn();
  }

  #open(slot: WriteSlot | undefined): RelayEngine {
    const { head, eager, copied } = this.#options;
    const destination =
      slot === undefined ? (this.#options.destination as KernelDestination) : new KernelSocketDestination(slot);
    const source = this.#options.source();
    this.#source = source;
    if (copied !== undefined) this.#engine = new RelayCopyEngine({ source, destination, head, reason: copied });
    else if (source.isPipe) this.#engine = new PipeEngine({ source, destination, head, eager });
    else this.#engine = new SpliceEngine({ source, destination, head, eager });
    return this.#engine;
  }

  #onEnd(outcome: SlotOutcome): void {
    const failed = outcome.kind === 'failed' ? outcome : undefined;
    this.#options.onEnd({
      error: failed?.error ?? null,
      result: outcome.result,
      failed: failed?.side,
      ended: this.#engine?.ended ?? false,
    });
  }
}
