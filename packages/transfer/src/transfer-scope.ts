/**
 * One transfer as the outside sees it: what is published of it, and the async context in which its callbacks run.
 *
 *   new ──start──► open ──succeed / fail──► closed      (published exactly once, whatever the size and the method)
 *
 * Subscribers of the channel are foreign code: after `start` the owner has to look at its own state again.
 */
import { AsyncResource } from 'node:async_hooks';
import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel';
import { type EndKind, TRANSFER_CHANNEL, type TransferResult, type TransferTrace } from '@zerocopy/core-syscalls';
import { TransferCounters, type TransferCounts } from './transfer-counters.js';

const channel: TracingChannel<TransferTrace, TransferTrace> = tracingChannel<TransferTrace, TransferTrace>(
  TRANSFER_CHANNEL,
);

/** Whether there is a subscriber or a bound store. TracingChannel.hasSubscribers came with Node 22. */
function observed(): boolean {
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

/** What has been moved since the process started, on this thread. */
export function transferCounts(): TransferCounts {
  return counters.read();
}

/** What a transfer says of itself before it starts. */
export interface TransferAbout {
  /** Bytes asked for, if that is known. */
  readonly length?: number | undefined;
  /** Bytes that Node's own pipe had moved before the transfer took over: they are published with its own. Default: 0. */
  readonly before?: number | undefined;
  /** What the bytes come from. */
  readonly source?: EndKind | undefined;
  /** What they go to. */
  readonly destination?: EndKind | undefined;
  /** Published with it. */
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

export class TransferScope {
  readonly #about: TransferAbout;
  #resource: AsyncResource;
  #trace: TransferTrace | undefined;
  #state: 'new' | 'open' | 'closed' = 'new';

  /** To be made in the caller's async context, in which its callbacks run from then on. */
  constructor(about: TransferAbout) {
    this.#about = about;
    this.#resource = new AsyncResource('ZEROCOPY_TRANSFER');
  }

  /** Publishes the start. Stores bound to the channel (`start.bindStore`) are in force in everything that follows. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'open';
    if (!observed()) return;
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

  /** Publishes that it has ended well, or was handed back to Node's own stream. Only the first end is published. */
  succeed(result: TransferResult, offThread = 0, handedBack?: string): void {
    if (!this.#close(result, offThread)) return;
    counters.ended(result);
    const trace = this.#trace;
    if (trace === undefined) return;
    trace.result = this.#about.before ? { ...result, bytes: this.#about.before + result.bytes } : result;
    if (handedBack !== undefined) trace.handedBack = handedBack;
    this.run(publishEnd, trace);
  }

  /** Publishes that it has failed, with what had left by then. Only the first end is published. */
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
