/**
 * How a transfer is published, and the async context in which its callbacks run.
 *
 *   new ──start──► open ──succeed / fail──► closed      (published exactly once, at any size and by any method)
 *
 * Subscribers of the channel are foreign code, which may stop the transfer: after `start` the owner checks its state
 * again.
 */
import { AsyncResource } from 'node:async_hooks';
import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel';
import {
  type EndKind,
  TRANSFER_CHANNEL,
  type TransferError,
  type TransferResult,
  type TransferTrace,
} from '@zerocopy/core-syscalls';
import { summarizeCounts } from './debug-summary.js';
import { TransferCounters, type TransferCounts } from './transfer-counters.js';

const channel: TracingChannel<TransferTrace, TransferTrace> = tracingChannel<TransferTrace, TransferTrace>(
  TRANSFER_CHANNEL,
);

/**
 * Whether there is a subscriber of the channel or a bound store. Where there is none, and no callback of the caller's to be run,
 * a transfer needs no scope: it is only counted, by {@link countTransfer}.
 */
export function isObserved(): boolean {
  // TracingChannel.hasSubscribers came with Node 22.
  const { start, end, asyncStart, asyncEnd, error } = channel;
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  );
}

const counters = new TransferCounters();
summarizeCounts(() => counters.read());

/** What this copy of the package has moved, in this thread, since it was loaded. */
export function transferCounts(): TransferCounts {
  return counters.read();
}

/** Counts a transfer that had no scope. @param failed whether it has failed. */
export function countTransfer(result: TransferResult, failed: boolean): void {
  if (failed) counters.failed(result);
  else counters.ended(result);
}

/** What is published of a transfer when it starts. */
export interface TransferAbout {
  /** Bytes asked for, if that is known. */
  readonly length?: number | undefined;
  /** Bytes that Node's own pipe had moved before the transfer took over: they are published with its own. Default: 0. */
  readonly before?: number | undefined;
  /** What the bytes come from. */
  readonly source?: EndKind | undefined;
  /** What they go to. */
  readonly destination?: EndKind | undefined;
  /** Whatever else the package says of it, for instance the path. */
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
  /** It is a part of another transfer, which publishes and counts all of it: nothing is published of it, or counted. */
  readonly isPart?: boolean | undefined;
}

/** Publishes one transfer, once, and runs its callbacks in the async context of its caller. */
export class TransferScope {
  readonly #about: TransferAbout;
  #resource: AsyncResource;
  #trace: TransferTrace | undefined;
  #state: 'new' | 'open' | 'closed' = 'new';
  #breakOff: ((bytes: number) => TransferError) | undefined;

  /** To be made in the caller's async context, in which its callbacks run from then on. */
  constructor(about: TransferAbout) {
    this.#about = about;
    this.#resource = new AsyncResource('ZEROCOPY_TRANSFER');
  }

  /**
   * Publishes the start. Stores bound to the channel (`start.bindStore`) are in force in all that follows. Idempotent.
   */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'open';
    if (this.#about.isPart || !isObserved()) return;
    const { length, before = 0, source, destination, detail } = this.#about;
    const trace: TransferTrace = { length: length && before + length, source, destination, detail };
    this.#trace = trace;
    this.#resource.runInAsyncScope(() => {
      channel.start.runStores(trace, () => {
        this.#resource = new AsyncResource('ZEROCOPY_TRANSFER');
        channel.end.publish(trace);
      });
    });
  }

  /** Calls `callback` in the caller's async context. */
  run<Arguments extends unknown[], Result>(callback: (...args: Arguments) => Result, ...args: Arguments): Result {
    return this.#resource.runInAsyncScope(callback, undefined, ...args);
  }

  /** Nobody moves the rest: an end that comes before all that was asked for is a failure, and this is its error. */
  breakOff(error: (bytes: number) => TransferError): void {
    this.#breakOff ??= error;
  }

  /**
   * Publishes that it has ended without a failure. Only the first end is published.
   * @param offThread how many of its system calls ran on other threads.
   * @param handedBack why Node's own stream moves the rest, in words, where that is so.
   */
  succeed(result: TransferResult, offThread = 0, handedBack?: string): void {
    if (this.#breakOff !== undefined && !(result.bytes >= (this.#about.length ?? Number.POSITIVE_INFINITY))) {
      return this.fail(this.#breakOff(result.bytes), result, offThread);
    }
    if (!this.#close(result, offThread)) return;
    counters.ended(result);
    const trace = this.#trace;
    if (trace === undefined) return;
    trace.result = this.#about.before ? { ...result, bytes: this.#about.before + result.bytes } : result;
    if (handedBack !== undefined) trace.handedBack = handedBack;
    this.run(publishEnd, trace);
  }

  /**
   * Publishes that it has failed. Only the first end is published.
   * @param result what had left for the destination by then.
   * @param offThread how many of its system calls ran on other threads.
   */
  fail(error: unknown, result: TransferResult, offThread = 0): void {
    if (!this.#close(result, offThread)) return;
    counters.failed(result);
    const trace = this.#trace;
    if (trace === undefined) return;
    trace.error = error;
    this.run(publishFailure, trace);
  }

  #close(result: TransferResult, offThread: number): boolean {
    if (this.#state === 'new') this.start();
    if (this.#state === 'closed') return false;
    this.#state = 'closed';
    if (this.#about.isPart) return false;
    const trace = this.#trace;
    if (trace === undefined) return true;
    trace.bytes = (this.#about.before ?? 0) + result.bytes;
    trace.method = result.method;
    if (result.fallbackReason !== undefined) trace.fallbackReason = result.fallbackReason;
    trace.offThread = offThread;
    return true;
  }
}

function publishEnd(trace: TransferTrace): void {
  channel.asyncStart.publish(trace);
  channel.asyncEnd.publish(trace);
}

function publishFailure(trace: TransferTrace): void {
  channel.error.publish(trace);
  publishEnd(trace);
}
