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
 *                       ended    (completed, failed, or stopped by its owner: `onEnd` is called exactly once)
 *
 * 'starting' lasts while the start is published. Subscribers may stop the transfer: then it ends before anything moves.
 *
 * An engine makes the attempts, waits and, where it can, offloads. The loop decides the order, keeps the turns fair,
 * counts, and ends the transfer. Engines never throw for EAGAIN, and no object is made for a call
 * (kernel-rules: no-error-per-eagain).
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

/** What an attempt returns when it knows without a call that the kernel would answer EAGAIN. */
export const WOULD_BLOCK = -4097;

/** Ends a wait or an offload: with the bytes that it moved, 0 included; with {@link SOURCE_ENDED}; or with an error. */
export type Resume = (error: Error | null, bytes: number) => void;
/** The `bytes` that {@link Resume} gets when the source has ended. */
export const SOURCE_ENDED = -1;

/** One way of moving bytes. It keeps its own position; what it has moved it never moves again. */
export interface TransferEngine {
  /** What its transfers are published as. */
  readonly method: TransferMethod;
  /** The call's name, for errors. */
  readonly syscall: string;
  /** Why this engine had to take over from a faster one; for 'copy'. */
  readonly reason?: string | undefined;
  /**
   * Moves up to `count` bytes without blocking.
   * @returns bytes moved; 0 at the end of the source; a negative errno (EAGAIN: nothing moved, wait);
   * {@link NOT_RESIDENT} or {@link WOULD_BLOCK}.
   */
  attempt(count: number): number;
  /** After EAGAIN: calls `resume` once, when another attempt may succeed. It may move up to `count` bytes itself. */
  wait(count: number, resume: Resume): void;
  /** After NOT_RESIDENT: moves up to `count` bytes off this thread, then calls `resume` once. */
  offload?(count: number, resume: Resume): void;
  /** While waiting: bytes that the destination's stream has accepted, and delivers unless its connection is lost. */
  readonly inStream?: number;
  /**
   * The least that one attempt is asked for, in bytes, even where many transfers share the loop; see {@link pieceSize}.
   */
  readonly pieceMin?: number;
  /** System calls made so far; for engines whose attempts are not one call each. */
  readonly calls?: number;
  /**
   * The transfer has ended with this engine: it gives back what was lent to it. A wait may still be under way, whose `resume`
   * is not to be called any more; a call on another thread is not.
   */
  leave?(): void;
  /**
   * After `errno` (negative): the engine that goes on at the current position; undefined ends the transfer with that
   * error.
   */
  successor?(errno: number): TransferEngine | undefined;
}

/** The states of the drawing at the head of this file. */
export type TransferState = 'ready' | 'starting' | 'attempting' | 'waiting' | 'offloading' | 'yielding' | 'ended';

/** Attempts that were made before a transfer begins. */
export interface TransferBefore {
  /** What they have moved. */
  readonly bytes: number;
  /** How many they were. */
  readonly syscalls: number;
  /** What the last of them has returned, if it has moved nothing: it is not made again. 0 and less. */
  readonly result: number | undefined;
}

/** What a transfer is made of. */
export interface TransferOptions {
  /** Moves the bytes, to begin with. */
  readonly engine: TransferEngine;
  /** Bytes to move, at most; Infinity: to the end of the source. */
  readonly length: number;
  /** What the engine has moved before. */
  readonly before?: TransferBefore | undefined;
  /** Ends the transfer with an AbortError. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called before every pause and at the end, if bytes have moved. What it throws ends the transfer. `total`: in bytes,
   * if known.
   */
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  /** Each time bytes have moved; for counters, not for user code: it must not throw. */
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** Called exactly once, with an error or a result, when no call of this transfer is under way on another thread. */
  readonly onEnd: (error: TransferError | null, result: TransferResult) => void;
  /**
   * Publishes the transfer and runs its callbacks; made and started by the owner. By default one is made from `about`.
   */
  readonly scope?: TransferScope | undefined;
  /** What is published of the transfer, where there is no `scope`. */
  readonly about?: Omit<TransferAbout, 'length'> | undefined;
  /**
   * Finds the cause of a failure, before it is published: a call may meet a closed descriptor before the stream says
   * why.
   */
  readonly explain?: ((error: TransferError) => TransferError) | undefined;
  /** Why what looks like a proper end is none, before it is published: fewer bytes than had been promised. */
  readonly check?: ((result: TransferResult) => TransferError | undefined) | undefined;
}

const { EAGAIN, EINTR, MAX_RW_COUNT } = constants;

/** One transfer: an engine, and the loop that drives it. */
export class Transfer {
  #state: TransferState = 'ready';
  #engine: TransferEngine;
  #bytes = 0;
  #syscalls = 0;
  #startedAt = 0;
  #reported = -1;
  /** Set when the transfer must end as soon as nothing runs off this thread. */
  #ending: { readonly error: unknown } | undefined;
  /** Why it was stopped without an error, in words. */
  #handedBack: string | undefined;
  readonly #scope: TransferScope;
  readonly #options: TransferOptions;
  readonly #total: number | undefined;
  #length: number;
  #offThread = 0;

  /** To be made in the caller's async context, in which its callbacks run. Nothing begins before {@link start}. */
  constructor(options: TransferOptions) {
    this.#options = options;
    this.#length = options.length;
    this.#engine = options.engine;
    this.#bytes = options.before?.bytes ?? 0;
    this.#syscalls = options.before?.syscalls ?? 0;
    this.#result = options.before?.result;
    this.#total = Number.isFinite(options.length) ? options.length : undefined;
    this.#scope = options.scope ?? new TransferScope({ ...options.about, length: this.#total });
  }

  /** Where it is now. */
  get state(): TransferState {
    return this.#state;
  }

  /** Bytes moved so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How the bytes go at the moment; at the end, how the last one went. */
  get method(): TransferMethod {
    return this.#engine.method;
  }

  /** Begins at once: `onEnd` may be called before it returns. Idempotent. */
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
      if (this.#bytes > 0 && this.#result === undefined)
        this.#yield(); // a turn's worth has been moved
      else this.#run();
    }
  }

  /**
   * Caps the total at `bytes`, or at what has moved if that is more. A chunked body can stop only at the end of a
   * chunk.
   */
  limit(bytes: number): void {
    this.#length = Math.min(this.#length, Math.max(bytes, this.#bytes));
    if (this.#state === 'ready' || this.#state === 'starting' || this.#bytes < this.#length) return;
    if (this.#state === 'waiting' || this.#state === 'yielding') this.#end(null);
  }

  /**
   * Ends the transfer where it is: with `error`, or as a success if it is null. Bytes that the destination's stream has
   * accepted count as moved. A call that is under way on another thread is waited for. Idempotent.
   * @param handedBack why it ends as a success before its end, in words: published with it.
   */
  stop(error: unknown, handedBack?: string): void {
    if (error === null) this.#handedBack ??= handedBack;
    if (this.#state === 'waiting') this.#moved(this.#engine.inStream ?? 0);
    this.lost(error);
  }

  /** Before {@link lost}: the kernel has taken `bytes` of what the destination's stream has accepted. */
  taken(bytes: number): void {
    if (this.#state === 'waiting') this.#moved(bytes);
  }

  /**
   * {@link stop} where the destination is gone: bytes that its stream had accepted and not acknowledged are not
   * counted.
   */
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
    if (this.#state === 'ended') return; // stopped while it waited; the stream goes on with what it has accepted
    if (bytes > 0) this.#moved(bytes);
    if (this.#ending !== undefined) this.#end(this.#ending.error);
    else if (error !== null) this.#succeedOrEnd(error);
    else if (bytes === SOURCE_ENDED) this.#end(null);
    else this.#run();
  };

  /**
   * Attempts until it has to pause. An engine may resume before its wait() or offload() has returned: the loop then
   * goes on.
   */
  #run(): void {
    if (this.#looping) {
      this.#state = 'attempting'; // the loop that called wait() or offload() sees this when they return
      return;
    }
    this.#looping = true;
    this.#turn = 0;
    this.#state = 'attempting';
    this.#attempts();
    this.#looping = false;
  }
  #looping = false;
  /** Bytes moved in this turn of the event loop, also by waits that have resumed within it. */
  #turn = 0;

  #attempts(): void {
    const { pieceMin } = this.#engine;
    const quantum = quantumSize(this.#bytes === 0, pieceMin);
    const piece = Math.min(quantum, pieceSize(pieceMin));
    while (this.#state === 'attempting') {
      if (this.#ending !== undefined) return this.#end(this.#ending.error);
      const left = this.#length - this.#bytes;
      if (left <= 0) return this.#end(null);
      if (this.#turn >= quantum) return this.#yield();
      const result = this.#result ?? this.#attempt(Math.min(left, piece, MAX_RW_COUNT));
      this.#result = undefined;
      if (result > 0) {
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

  #attempt(count: number): number {
    const result = this.#engine.attempt(count);
    if (result > NOT_RESIDENT) this.#syscalls++;
    return result;
  }
  /** Of an attempt that was made before. */
  #result: number | undefined;

  #yield(): void {
    if (!this.#report()) return;
    this.#state = 'yielding';
    setImmediate(this.#onNextTurn);
  }

  /** Goes on with another engine where the kernel refuses this one. Returns false if there is none. */
  #succeed(errno: number): boolean {
    const successor = this.#engine.successor?.(errno);
    if (successor !== undefined) this.#engine = successor;
    return successor !== undefined;
  }

  /** A call on another thread may be refused as well. An error of a wait is the destination stream's. */
  #succeedOrEnd(error: Error): void {
    const refused = this.#state === 'offloading' && error instanceof SyscallError;
    if (refused && this.#succeed(error.errno)) this.#run();
    else this.#end(error);
  }

  #pause(state: 'waiting' | 'offloading'): void {
    if (!this.#report()) return;
    // At most what one call moves (kernel-rules: max-rw-count), and never Infinity, which C would read as a count of 0.
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
    this.#turn += bytes;
    this.#options.onMoved?.(bytes);
  }

  /** Reports progress, if bytes have moved since the last report. Returns false if that ended the transfer. */
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
    this.#engine.leave?.();
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
