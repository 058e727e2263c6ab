/**
 * The transfer loop that all packages share: attempt, wait, attempt, until a count is reached or the source ends.
 *
 *            start                            quantum used up
 *   ready ──► starting ──► attempting ─────────────────────► yielding ──┐
 *                      ▲  │  │ │                                     │ next loop turn
 *                      │  │  │ └── EAGAIN ──► waiting ───┐           │
 *                      │  │  └──── NOT_RESIDENT ────► offloading ┤           │
 *                      └──┼──────────────────────────────┴───────────┘
 *                         ▼
 *                       ended    (completed, failed, or stopped by its owner: exactly one call of `onEnd`)
 *
 * 'starting' lasts while the start is published, whose subscribers may stop the transfer: it ends then before it moves.
 *
 * An engine brings the attempt, the wait and, where it has one, the offload. The loop brings the order, the
 * fairness, the counting and the ending. Engines never throw for EAGAIN and no object is made for a call.
 */
import {
  constants,
  SyscallError,
  type TransferError,
  type TransferMethod,
  type TransferResult,
} from '@zerocopy/core-syscalls';
import { abortError, transferError } from './errors.js';
import { pieceSize, quantumSize, transferEnded, transferStarted } from './quantum.js';
import { setImmediate } from './timers.js';
import { type TransferAbout, TransferScope } from './transfer-scope.js';

/** What an attempt returns when it would have to wait for a disk. Outside the range of errnos (1 to 4095). */
export const NOT_RESIDENT = -4096;

/** What an attempt returns when it knows, without a call, that the answer would be EAGAIN: the last count was short. */
export const WOULD_BLOCK = -4097;

/** Ends a wait or an offload: with the bytes it moved, 0 included; with -1 when the source has ended; or with an error. */
export type Resume = (error: Error | null, bytes: number) => void;
/** The `bytes` that {@link Resume} gets when the source has ended. */
export const SOURCE_ENDED = -1;

/** One way of moving bytes. It keeps its own position; what it has moved it never moves again. */
export interface TransferEngine {
  readonly method: TransferMethod;
  /** The call's name, for errors. */
  readonly syscall: string;
  /** Why this engine had to take over from a faster one; for 'copy'. */
  readonly reason?: string | undefined;
  /**
   * Moves up to `count` bytes without blocking.
   * @returns bytes moved; 0 at the end of the source; a negative errno (EAGAIN: nothing moved, wait); {@link NOT_RESIDENT} or {@link WOULD_BLOCK}.
   */
  attempt(count: number): number;
  /** After EAGAIN: calls `resume` once when an attempt is worth while again. It may move up to `count` bytes itself. */
  wait(count: number, resume: Resume): void;
  /** After NOT_RESIDENT: moves up to `count` bytes off this thread, then calls `resume` once. */
  offload?(count: number, resume: Resume): void;
  /** While waiting: bytes that the destination's stream has taken and will deliver unless its connection is lost. */
  readonly inStream?: number;
  /** Bytes that one attempt is given at least, however many transfers share the loop; see {@link pieceSize}. */
  readonly pieceMin?: number;
  /** System calls made so far, of an engine whose attempts are not one call each. */
  readonly calls?: number;
  /** Another engine to go on with at the current position after `errno` (negative), or undefined: then it is an error. */
  successor?(errno: number): TransferEngine | undefined;
}

export type TransferState = 'ready' | 'starting' | 'attempting' | 'waiting' | 'offloading' | 'yielding' | 'ended';

export interface TransferOptions {
  readonly engine: TransferEngine;
  /** Bytes to move, at most; Infinity: to the end of the source. */
  readonly length: number;
  readonly signal?: AbortSignal | undefined;
  /** After every pause and at the end. What it throws ends the transfer. `total` in bytes, if known. */
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  /** Each time bytes have moved; for counters, not for user code: it must not throw. */
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** Called exactly once, with an error or a result. Nothing of this transfer is in flight off this thread then. */
  readonly onEnd: (error: TransferError | null, result: TransferResult) => void;
  /** What is published of it, and where its callbacks run; made and started by the owner, or else here, from `about`. */
  readonly scope?: TransferScope | undefined;
  /** Published, where there is no `scope`. */
  readonly about?: Omit<TransferAbout, 'length'> | undefined;
  /** Says what a failure really was, before it is published: a call may meet a closed descriptor before the stream tells why. */
  readonly explain?: ((error: TransferError) => TransferError) | undefined;
  /** Why what looks like a proper end is none, before it is published: fewer bytes than had been promised. */
  readonly check?: ((result: TransferResult) => TransferError | undefined) | undefined;
}

const { EAGAIN, EINTR, MAX_RW_COUNT } = constants;

export class Transfer {
  #state: TransferState = 'ready';
  #engine: TransferEngine;
  #bytes = 0;
  #syscalls = 0;
  #startedAt = 0;
  #reported = -1;
  /** Set when the transfer must end as soon as nothing runs off this thread. */
  #ending: { readonly error: unknown } | undefined;
  /** Why it was stopped without an error. */
  #handedBack: string | undefined;
  readonly #scope: TransferScope;
  readonly #options: TransferOptions;
  readonly #total: number | undefined;
  #length: number;
  #offThread = 0;

  constructor(options: TransferOptions) {
    this.#options = options;
    this.#length = options.length;
    this.#engine = options.engine;
    this.#total = Number.isFinite(options.length) ? options.length : undefined;
    this.#scope = options.scope ?? new TransferScope({ ...options.about, length: this.#total });
  }

  get state(): TransferState {
    return this.#state;
  }

  /** Bytes moved so far. */
  get bytes(): number {
    return this.#bytes;
  }

  get method(): TransferMethod {
    return this.#engine.method;
  }

  /** Begins, synchronously. `onEnd` may be called before it returns. */
  start(): void {
    if (this.#state !== 'ready') return;
    this.#state = 'starting';
    transferStarted();
    this.#startedAt = performance.now();
    this.#scope.start(); // foreign code: it may have stopped this transfer, or aborted its signal
    const { signal } = this.#options;
    if (this.#ending !== undefined) this.#end(this.#ending.error);
    else if (signal?.aborted === true) this.#end(abortError(signal, 0));
    else {
      signal?.addEventListener('abort', this.#onAbort, { once: true });
      this.#run();
    }
  }

  /** Ends it, as a success, once `bytes` in all have moved: for destinations where it may not stop just anywhere. */
  limit(bytes: number): void {
    this.#length = Math.min(this.#length, Math.max(bytes, this.#bytes));
    if (this.#state === 'ready' || this.#state === 'starting' || this.#bytes < this.#length) return;
    if (this.#state === 'waiting' || this.#state === 'yielding') this.#end(null);
  }

  /**
   * Ends the transfer where it is: with `error`, or as a success if it is null.
   * What the destination's stream has taken counts as moved. A call that runs off this thread is waited for.
   * @param handedBack why a success comes before the end: published with it.
   */
  stop(error: unknown, handedBack?: string): void {
    if (error === null) this.#handedBack ??= handedBack;
    if (this.#state === 'waiting') this.#moved(this.#engine.inStream ?? 0);
    this.lost(error);
  }

  /** {@link stop} for a destination that is gone: what its stream had taken and not acknowledged is not counted. */
  lost(error: unknown): void {
    if (this.#state === 'ended') return;
    if (this.#state === 'ready') {
      transferStarted();
      this.#startedAt = performance.now();
      this.#end(error);
      return;
    }
    this.#ending ??= { error };
    if (this.#state === 'waiting' || this.#state === 'yielding') this.#end(this.#ending.error);
  }

  readonly #onAbort = (): void => {
    if (this.#state === 'waiting') this.#moved(this.#engine.inStream ?? 0);
    this.lost(abortError(this.#options.signal as AbortSignal, this.#bytes));
  };

  readonly #onNextTurn = (): void => {
    if (this.#state === 'yielding') this.#run();
  };

  readonly #onResume: Resume = (error, bytes) => {
    if (this.#state === 'ended') return; // stopped while it waited; what the stream had taken is the stream's
    if (bytes > 0) this.#moved(bytes);
    if (this.#ending !== undefined) this.#end(this.#ending.error);
    else if (error !== null) this.#succeedOrEnd(error);
    else if (bytes === SOURCE_ENDED) this.#end(null);
    else this.#run();
  };

  /** Only ever entered from 'ready', 'yielding', 'waiting' or 'offloading'; never re-entered: see #pause. */
  #run(): void {
    if (this.#looping) {
      this.#state = 'attempting'; // resumed before wait() or offload() had returned; the loop below goes on
      return;
    }
    this.#looping = true;
    this.#state = 'attempting';
    this.#attempts();
    this.#looping = false;
  }
  #looping = false;

  #attempts(): void {
    const { pieceMin } = this.#engine;
    const quantum = quantumSize(this.#bytes === 0, pieceMin);
    const piece = Math.min(quantum, pieceSize(pieceMin));
    let turn = 0;
    while (this.#state === 'attempting') {
      if (this.#ending !== undefined) return this.#end(this.#ending.error);
      const left = this.#length - this.#bytes;
      if (left <= 0) return this.#end(null);
      if (turn >= quantum) {
        if (!this.#report()) return;
        this.#state = 'yielding';
        setImmediate(this.#onNextTurn);
        return;
      }
      const result = this.#engine.attempt(Math.min(left, piece, MAX_RW_COUNT));
      if (result > NOT_RESIDENT) this.#syscalls++;
      if (result > 0) {
        turn += result;
        this.#moved(result);
      } else if (result === 0) {
        return this.#end(null);
      } else if (result === -EAGAIN || result === WOULD_BLOCK) {
        this.#pause('waiting');
      } else if (result === NOT_RESIDENT) {
        this.#pause('offloading');
      } else if (result !== -EINTR && !this.#succeed(result)) {
        return this.#end(new SyscallError(result, this.#engine.syscall));
      }
    }
  }

  /** Goes on with another engine where this one is refused, if there is one. */
  #succeed(errno: number): boolean {
    const successor = this.#engine.successor?.(errno);
    if (successor !== undefined) this.#engine = successor;
    return successor !== undefined;
  }

  /** A call off this thread may be refused as well; what fails in a wait is the destination's stream. */
  #succeedOrEnd(error: Error): void {
    const refused = this.#state === 'offloading' && error instanceof SyscallError;
    if (refused && this.#succeed(error.errno)) this.#run();
    else this.#end(error);
  }

  #pause(state: 'waiting' | 'offloading'): void {
    if (!this.#report()) return;
    // Never more than a call takes, nor Infinity, of which a C function would make a count of 0 (rule 1).
    const left = Math.min(this.#length - this.#bytes, MAX_RW_COUNT);
    if (left <= 0) return this.#end(null); // limited from within the callback
    this.#state = state;
    this.#syscalls++;
    if (state === 'offloading') this.#offThread++;
    if (state === 'waiting') this.#engine.wait(left, this.#onResume);
    else if (this.#engine.offload !== undefined) this.#engine.offload(left, this.#onResume);
    else this.#end(new Error(`the ${this.#engine.method} engine answered NOT_RESIDENT but has no offload`));
  }

  #moved(bytes: number): void {
    this.#bytes += bytes;
    this.#options.onMoved?.(bytes);
  }

  /** Tells the progress, if there is any to tell. Returns false if that ended the transfer. */
  #report(): boolean {
    const { onProgress } = this.#options;
    if (onProgress === undefined || this.#reported === this.#bytes) return true;
    this.#reported = this.#bytes;
    try {
      this.#scope.run(onProgress, this.#bytes, this.#total);
    } catch (error) {
      if (this.#state !== 'ended') this.#end(error);
      return false;
    }
    if (this.#ending !== undefined) this.#end(this.#ending.error); // stopped from within the callback
    return this.#state !== 'ended';
  }

  #end(error: unknown): void {
    if (this.#state === 'ended') return;
    if (error === null && !this.#report()) return;
    this.#state = 'ended';
    transferEnded();
    const { signal, onEnd } = this.#options;
    signal?.removeEventListener('abort', this.#onAbort);
    const result: TransferResult = {
      bytes: this.#bytes,
      method: this.#engine.method,
      syscalls: this.#engine.calls ?? this.#syscalls,
      durationMs: performance.now() - this.#startedAt,
    };
    if (this.#engine.reason !== undefined) result.fallbackReason = this.#engine.reason;
    const failed = error ?? this.#options.check?.(result) ?? null;
    if (failed === null) {
      const handedBack = this.#bytes < (this.#total ?? 0) || this.#ending !== undefined ? this.#handedBack : undefined;
      this.#scope.succeed(result, this.#offThread, handedBack);
      this.#scope.run(onEnd, null, result);
    } else {
      const failure = transferError(failed, this.#bytes);
      const told = this.#options.explain?.(failure) ?? failure;
      this.#scope.fail(told, result, this.#offThread);
      this.#scope.run(onEnd, told, result);
    }
  }
}
