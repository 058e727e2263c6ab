/** `diagnostics_channel.tracingChannel('zerocopy:transfer')`: start, end, asyncStart, asyncEnd and error of every transfer. */
import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel';
import { TRANSFER_CHANNEL, type TransferResult, type TransferTrace } from '@zerocopy/core-syscalls';

const channel: TracingChannel<TransferTrace, TransferTrace> = tracingChannel<TransferTrace, TransferTrace>(
  TRANSFER_CHANNEL,
);

function observed(): boolean {
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

/** Announces a transfer. Returns undefined, and costs nothing further, if nobody listens. */
export function traceStart(
  length: number | undefined,
  detail: Readonly<Record<string, unknown>> | undefined,
): TransferTrace | undefined {
  if (!observed()) return undefined;
  const trace: TransferTrace = { length, detail };
  channel.start.publish(trace);
  channel.end.publish(trace);
  return trace;
}

export function traceSuccess(trace: TransferTrace | undefined, result: TransferResult, offThread: number): void {
  if (trace === undefined) return;
  trace.result = result;
  trace.offThread = offThread;
  channel.asyncStart.publish(trace);
  channel.asyncEnd.publish(trace);
}

export function traceFailure(trace: TransferTrace | undefined, error: unknown): void {
  if (trace === undefined) return;
  trace.error = error;
  channel.error.publish(trace);
  channel.asyncStart.publish(trace);
  channel.asyncEnd.publish(trace);
}
