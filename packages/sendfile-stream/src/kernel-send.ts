/**
 * One file range, sent by the kernel in its turn of a destination's write queue.
 *
 *   new ──► queued ──► sending ──► ended
 *             └── dropped / lost / stopped ──► ended      (exactly one call of `onEnd`)
 */
import type { TransferMethod, TransferResult } from '@zerocopy/core-syscalls';
import {
  bodyFraming,
  isOutgoingMessage,
  requestWriteSlot,
  type SlotRequest,
  Transfer,
  type TransferEngine,
  TransferError,
  type TransferOptions,
  transferError,
  type WriteSlot,
} from '@zerocopy/transfer';
import { ChunkedEngine, Chunks } from './chunked-engine.js';
import type { SocketDestination } from './destination.js';
import { SendfileEngine } from './sendfile-engine.js';

export interface SendRange {
  /** Stays open until `onEnd`. */
  readonly fd: number;
  /** Of the first byte. */
  readonly position: number;
  /** Bytes promised to the destination: fewer is an error. */
  readonly length: number;
}

/** How it ended. `result.bytes` is exact in each case. */
export type SendOutcome =
  /** Every promised byte is with the kernel. */
  | { readonly kind: 'completed'; readonly result: TransferResult }
  /** The destination sends no body (HEAD, 204, 304). */
  | { readonly kind: 'dropped'; readonly result: TransferResult }
  /** By {@link KernelSend.stop}. */
  | { readonly kind: 'stopped'; readonly result: TransferResult }
  /** The connection is gone, or failed under a write; its stream says so itself. */
  | { readonly kind: 'destination-failed'; readonly error: TransferError; readonly result: TransferResult }
  /**
   * The file failed or ended early, the signal aborted, or a callback threw. The turn is not over: what waits behind
   * it stays held back until {@link KernelSend.settle}.
   */
  | { readonly kind: 'failed'; readonly error: TransferError; readonly result: TransferResult };

export interface KernelSendOptions {
  readonly destination: SocketDestination;
  readonly range: SendRange;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  readonly onMoved?: ((bytes: number) => void) | undefined;
  readonly onEnd: (outcome: SendOutcome) => void;
  readonly about?: TransferOptions['about'];
}

/** A sending under way, whatever it goes to. */
export interface Send {
  readonly method: TransferMethod;
  start(): void;
  stop(): void;
  fail(error: Error): void;
  settle(connection: 'keep' | 'destroy', error?: Error): void;
}

const nothing = (): TransferResult => ({ bytes: 0, method: 'sendfile', syscalls: 0, durationMs: 0 });

/** Codes of a failed write that speak of the connection, not of the file. */
const CONNECTION_CODES: ReadonlySet<string> = new Set([
  'EPIPE',
  'ECONNRESET',
  'ECONNABORTED',
  'ENOTCONN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EBADF',
  'ENOTSOCK',
  'ECANCELED', // libuv's answer to a write under way when its socket is closed
  'ERR_STREAM_DESTROYED',
  'ERR_SOCKET_CLOSED',
]);

export class KernelSend implements Send {
  readonly #options: KernelSendOptions;
  #request: SlotRequest | undefined;
  #turn: WriteSlot | undefined;
  #transfer: Transfer | undefined;
  /** The framing of an HTTP message that is sent in chunks. */
  #chunks: Chunks | undefined;
  #stopped = false;
  #lost: Error | null | undefined;
  #ended = false;

  constructor(options: KernelSendOptions) {
    this.#options = options;
  }

  /** Asks for the turn. It may come, and all of it be over, before this returns. */
  start(): void {
    const { destination } = this.#options;
    this.#request = requestWriteSlot(destination.stream, destination.socket, {
      begin: (turn) => this.#begin(turn),
      dropped: () => this.#end({ kind: 'dropped', result: nothing() }),
      lost: (error) => this.#onLost(error),
    });
  }

  /** Still waiting for its turn. */
  get queued(): boolean {
    return this.#transfer === undefined && !this.#ended;
  }

  get method(): TransferMethod {
    return this.#transfer?.method ?? 'sendfile';
  }

  /** Bytes sent so far. */
  get bytes(): number {
    return this.#transfer?.bytes ?? 0;
  }

  /**
   * Ends it at the current byte, and the turn with it; in a chunked message at the end of the chunk under way.
   * `onEnd` comes now or, with a call under way off this thread or a chunk to complete, later.
   */
  stop(): void {
    if (this.#ended || this.#stopped) return;
    this.#stopped = true;
    if (this.#chunks !== undefined) this.#transfer?.limit(this.#chunks.end);
    else if (this.#transfer !== undefined) this.#transfer.stop(null);
    else {
      this.#request?.cancel();
      this.#end({ kind: 'stopped', result: nothing() });
    }
  }

  /** Ends it as 'failed' with `error`, or as 'stopped' if it still waits for its turn. */
  fail(error: Error): void {
    if (this.#transfer === undefined) this.stop();
    else this.#transfer.stop(error);
  }

  /** After 'failed': ends the turn, so that what waits behind it goes out, or destroys the connection. */
  settle(connection: 'keep' | 'destroy', error?: Error): void {
    if (connection === 'keep') this.#turn?.end();
    else {
      this.#turn?.abandon();
      this.#options.destination.socket.destroy(error);
    }
  }

  #begin(turn: WriteSlot): void {
    const { range, signal, onProgress, onMoved, about } = this.#options;
    const { stream } = this.#options.destination;
    this.#turn = turn;
    const sendfile = new SendfileEngine(turn, range.fd, range.position);
    let engine: TransferEngine = sendfile;
    if (isOutgoingMessage(stream) && bodyFraming(stream).kind === 'chunked') {
      this.#chunks = new Chunks();
      engine = new ChunkedEngine(sendfile, this.#chunks);
    }
    this.#transfer = new Transfer({
      engine,
      length: range.length,
      signal,
      onProgress,
      onMoved,
      about,
      onEnd: (error, result) => this.#onTransferEnd(error, result),
    });
    this.#transfer.start();
  }

  #onLost(error: Error | null): void {
    this.#lost = error;
    if (this.#transfer !== undefined) this.#transfer.lost(this.#connectionLost());
    else this.#end({ kind: 'destination-failed', error: this.#connectionLost(), result: nothing() });
  }

  #connectionLost(): TransferError {
    const bytes = this.bytes;
    if (this.#lost) return transferError(this.#lost, bytes);
    return connectionClosed(bytes);
  }

  #onTransferEnd(error: TransferError | null, result: TransferResult): void {
    const turn = this.#turn as WriteSlot;
    const { socket } = this.#options.destination;
    // Destroyed, and its 'close' still to come: the reason is the socket's, not that of the call that missed it.
    if (error !== null && CONNECTION_CODES.has(error.code) && socket.destroyed) this.#lost ??= socket.errored ?? null;
    if (this.#lost !== undefined) {
      this.#end({ kind: 'destination-failed', error: this.#connectionLost(), result });
    } else if (error !== null) {
      if (CONNECTION_CODES.has(error.code)) {
        turn.end(error.cause instanceof Error ? error.cause : error);
        this.#end({ kind: 'destination-failed', error, result });
      } else this.#end({ kind: 'failed', error, result });
    } else if (this.#stopped) {
      this.#endTurn(turn);
      this.#end({ kind: 'stopped', result });
    } else if (result.bytes < this.#options.range.length) {
      this.#end({ kind: 'failed', error: endedEarly(result.bytes, this.#options.range.length), result });
    } else {
      this.#endTurn(turn);
      this.#end({ kind: 'completed', result });
    }
  }

  #endTurn(turn: WriteSlot): void {
    const closing = this.#chunks?.closing ?? '';
    if (closing === '') turn.end();
    else turn.write(Buffer.from(closing, 'latin1'), (error) => turn.end(error));
  }

  #end(outcome: SendOutcome): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd(outcome);
  }
}

/** The file was shorter than what had been promised of it. */
export function endedEarly(sent: number, promised: number): TransferError {
  return new TransferError(
    `the file ended after ${sent} of ${promised} bytes: it was truncated while it was being sent`,
    { code: 'ERR_FILE_TRUNCATED', bytes: sent },
  );
}

/** By its owner: there is no other error that would say so. */
export function connectionClosed(bytes: number): TransferError {
  return new TransferError('the connection was closed before the file had been sent', { code: 'ECONNRESET', bytes });
}
