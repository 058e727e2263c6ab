/**
 * One direction from a source to a destination: a transfer, with what belongs around it.
 *
 *   new ──► waiting for its turn ──► moving ──► ended      (exactly one call of `onEnd`)
 *
 * The source is taken, and the turn held, until `release`: a proxy keeps both until the other direction has ended.
 */
import type { Socket } from 'node:net';
import type { TransferResult } from '@zerocopy/core-syscalls';
import {
  isSocket,
  requestWriteSlot,
  type SlotRequest,
  Transfer,
  TransferError,
  type TransferOptions,
  transferError,
  type WriteSlot,
} from '@zerocopy/transfer';
import { type KernelDestination, SocketDestination } from './destination.js';
import { PipeEngine } from './pipe-engine.js';
import type { KernelSource } from './source.js';
import { type Side, SpliceEngine } from './splice-engine.js';

export interface RelayOutcome {
  /** Null: the source has ended, or all of `length` has arrived. */
  readonly error: TransferError | null;
  readonly result: TransferResult;
  /** Which side failed; undefined if neither did (stopped, aborted, a callback threw). */
  readonly failed: Side | undefined;
  /** Whether the source has been read to its end. */
  readonly ended: boolean;
}

export interface RelayOptions {
  /** Made when the turn has come, so that the source is not taken from Node for longer than need be. */
  readonly source: () => KernelSource;
  /** A socket, whose turn is waited for, or a file. */
  readonly destination: Socket | KernelDestination;
  readonly head?: Buffer | undefined;
  readonly eager: boolean;
  readonly length: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  readonly onMoved?: ((bytes: number) => void) | undefined;
  readonly onEnd: (outcome: RelayOutcome) => void;
  readonly about?: TransferOptions['about'];
}

const nothing = (): TransferResult => ({ bytes: 0, method: 'splice', syscalls: 0, durationMs: 0 });

export class Relay {
  readonly #options: RelayOptions;
  #request: SlotRequest | undefined;
  #turn: WriteSlot | undefined;
  #source: KernelSource | undefined;
  #engine: SpliceEngine | PipeEngine | undefined;
  #transfer: Transfer | undefined;
  #ended = false;
  #sourceEnded = false;
  #lost: Error | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** May be over before it returns. */
  start(): void {
    const { destination } = this.#options;
    if (!isSocket(destination)) {
      this.#begin(destination);
      return;
    }
    this.#request = requestWriteSlot(destination, destination, {
      begin: (turn) => {
        this.#turn = turn;
        this.#begin(new SocketDestination(turn));
      },
      dropped: () => this.#end(null, nothing(), undefined),
      lost: (error) => this.lost(error ?? closed('destination'), 'destination'),
    });
  }

  get bytes(): number {
    return this.#transfer?.bytes ?? 0;
  }

  /** Ends it at the current byte: as a success if `error` is null. A call off this thread is waited for. */
  stop(error: Error | null): void {
    if (this.#transfer !== undefined) this.#transfer.stop(error);
    else {
      this.#request?.cancel();
      this.#end(error === null ? null : transferError(error, 0), nothing(), undefined);
    }
  }

  /** Ends it because one of the two is gone. */
  lost(error: Error, side: Side): void {
    if (this.#ended) return;
    this.#lost ??= error;
    if (this.#engine !== undefined) this.#engine.failed ??= side;
    if (this.#transfer !== undefined) this.#transfer.lost(error);
    else {
      this.#request?.cancel();
      this.#end(transferError(error, 0), nothing(), side);
    }
  }

  /** Lets later writes to the destination go on; with an error, it fails as after a failed write of its own. */
  endTurn(error?: Error): void {
    this.#turn?.end(error);
    this.#turn = undefined;
  }

  /** Once ended: gives the source back, with what it had brought and was not delivered; and the turn. */
  release(error?: Error): void {
    const unread = this.#engine?.close() ?? Buffer.alloc(0);
    this.#source?.giveBack(unread, this.#sourceEnded, this.#engine?.missing);
    this.#source = undefined;
    this.endTurn(error);
  }

  #begin(destination: KernelDestination): void {
    const { source, head, eager, length, signal, onProgress, onMoved, about } = this.#options;
    let taken: KernelSource;
    try {
      taken = source();
    } catch (error) {
      this.#end(transferError(error, 0), nothing(), 'source');
      return;
    }
    this.#source = taken;
    const options = { source: taken, destination, head, eager };
    const engine = taken.isPipe ? new PipeEngine(options) : new SpliceEngine(options);
    this.#engine = engine;
    this.#transfer = new Transfer({
      engine,
      length,
      signal,
      onProgress,
      onMoved,
      about,
      onEnd: (error, result) => {
        this.#sourceEnded = engine.ended;
        const side = engine.failed === 'source' ? taken : destination;
        const isClosed = error?.code === 'EBADF' && side.descriptor() < 0;
        const lost =
          error === null ? undefined : (this.#lost ?? (isClosed ? this.#closedBy(engine.failed) : undefined));
        this.#end(lost === undefined ? error : transferError(lost, result.bytes), result, engine.failed);
      },
    });
    this.#transfer.start();
  }

  /** An attempt may come between a socket's closing and its event. */
  #closedBy(side: Side | undefined): Error | undefined {
    if (side === undefined) return undefined;
    const { destination } = this.#options;
    const errored = side === 'source' ? this.#source?.errored : isSocket(destination) ? destination.errored : undefined;
    return errored ?? closed(side);
  }

  #end(error: TransferError | null, result: TransferResult, failed: Side | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd({ error, result, failed: error === null ? undefined : failed, ended: this.#sourceEnded });
  }
}

export function closed(side: Side): TransferError {
  return new TransferError(`the ${side} was closed before all bytes had been moved`, { code: 'ECONNRESET', bytes: 0 });
}
