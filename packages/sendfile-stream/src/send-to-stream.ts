/** A file to a stream: by the kernel into a socket or an HTTP message, or by the stream's own write into any Writable. */
import type { OutgoingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  addSharedListener,
  closedEarly,
  isAwaitingSocket,
  removeSharedListener,
  type SlotOutcome,
  transferError,
  whileUncorked,
} from '@zerocopy/transfer';
import { resetWhenClosed } from './connection-reset.js';
import { resolveDestination } from './destination.js';
import type { SendTarget } from './file-send.js';
import { isMessage } from './message-body.js';
import { planOf, runJob, type SendJob, wasAborted } from './send-job.js';
import { sendToDescriptor } from './send-to-descriptor.js';
import { readSmall } from './small-file.js';

// Promises are chained here, not awaited: what waits for a slow receiver is a thousand times in memory, and the frame of an
// async function costs more there than the transfer itself.

/**
 * Resolves when every byte is out and, where the message ends with the file, its end too. Rejects with a TransferError.
 * @param sameTurn the job's file has been opened, if that was done for this job, in this turn of the event loop.
 */
export function sendToStream(
  stream: Writable | OutgoingMessage,
  job: SendJob,
  sameTurn = false,
): Promise<TransferResult> {
  const resolved = resolveDestination(stream);
  if ('pending' in resolved) {
    return connectionOf(resolved.pending, job.options.signal).then(() => sendToStream(stream, job));
  }
  if ('file' in resolved) return sendToDescriptor(resolved.file, job, 'stdio');
  const plan = planOf(job, stream, resolved);
  const small = plan.small ? readSmall(job.file.fd, plan.position as number, plan.length) : undefined;
  // All of it has been read: whoever receives it slowly holds no descriptor.
  if (small !== undefined && sameTurn) job.file.releaseInSameTurn();
  const target: SendTarget =
    plan.refused === undefined && 'socket' in resolved ? resolved : { writable: stream as Writable };
  const sent = runJob(job, { target, plan, small, endsMessage: plan.ends }, (transfer, outcome, begun) => {
    // A plain stream that has not been promised anything may go on after an abort; a half-sent body may not.
    const keeps =
      outcome.side === 'destination' ||
      !begun ||
      (wasAborted(job) && !isMessage(stream)) ||
      (!plan.promised && couldNotBeRead(outcome) && !(stream as OutgoingMessage).headersSent);
    if (!keeps) resetWhenClosed(stream);
    transfer.settle(keeps ? 'keep' : 'destroy');
    if (!keeps) (stream as Writable).destroy();
  });
  return plan.ends ? sent.then((result) => endMessage(stream, result)) : sent;
}

/** The first read has failed, as for a directory: that is as good as a file that cannot be opened. */
const couldNotBeRead = ({ side, result }: SlotOutcome & { readonly kind: 'failed' }): boolean =>
  side === 'source' && result.bytes === 0;

/** Waits until a request has its connection. */
function connectionOf(message: OutgoingMessage, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      removeSharedListener(message, 'socket', onSocket);
      removeSharedListener(message, 'close', onClose);
      removeSharedListener(message, 'error', onError);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: Error): void => {
      leave();
      reject(error);
    };
    const onSocket = (): void => {
      leave();
      resolve();
    };
    const onClose = (): void => {
      if (!isAwaitingSocket(message)) fail(closedEarly('destination', 0));
    };
    const onError = (error: Error): void => fail(transferError(error, 0));
    const onAbort = (): void => fail(abortError(signal as AbortSignal, 0));
    addSharedListener(message, 'socket', onSocket);
    addSharedListener(message, 'close', onClose);
    addSharedListener(message, 'error', onError);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Not corked: what is held back of a body in chunks would come after its end (Node 22 to 26). */
function endMessage(
  message: Writable | OutgoingMessage,
  result: TransferResult,
): TransferResult | Promise<TransferResult> {
  if (message.writableEnded) return result;
  whileUncorked(message, () => message.end());
  return finished(message as Writable, { readable: false }).then(
    () => result,
    (error: unknown) => {
      throw transferError(error, result.bytes);
    },
  );
}
