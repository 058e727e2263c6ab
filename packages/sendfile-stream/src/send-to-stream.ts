/** A file to a stream: by the kernel into a socket or an HTTP message, or by the stream's own write into any Writable. */
import type { OutgoingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  addSharedListener,
  closedEarly,
  failureOf,
  isAwaitingSocket,
  isObserved,
  isOutgoingMessage,
  removeSharedListener,
  type SlotOutcome,
  TransferError,
  transferError,
  whileUncorked,
} from '@zerocopy/transfer';
import { resetWhenClosed } from './connection-reset.js';
import { resolveDestination, type SocketDestination } from './destination.js';
import type { SendTarget } from './file-send.js';
import { isMessage } from './message-body.js';
import { whenTurnIsLost } from './queued-response.js';
import { planOf, runJob, type SendJob, wasAborted } from './send-job.js';
import type { SendPlan } from './send-plan.js';
import { sendToDescriptor } from './send-to-descriptor.js';
import { readSmall, SMALL_FILE_SIZE, type SmallRead } from './small-file.js';

// Promises are chained here, not awaited: what waits for a slow receiver is a thousand times in memory, and the frame of an
// async function costs more there than the transfer itself.

/** What is known of a transfer before anything has happened to its stream. */
export interface PreparedSend {
  readonly resolved: SocketDestination | { readonly refused: string };
  readonly plan: SendPlan;
  /** All of it, where it is small and in memory. */
  readonly small: SmallRead | undefined;
  /** {@link small} is the whole body of a message of HTTP/1, and nobody wants to hear of it but by the promise. */
  readonly isPlain: boolean;
  /** As of the options, in bytes. */
  readonly smallFileSize: number;
}

/** Undefined: it waits for a connection, or goes to a descriptor. */
export function prepareSend(stream: Writable | OutgoingMessage, job: SendJob): PreparedSend | undefined {
  const resolved = resolveDestination(stream);
  if ('pending' in resolved || 'file' in resolved) return undefined;
  const { file, options } = job;
  const plan = planOf(job, stream, resolved);
  const inMemory = file.facts.sendable && file.facts.inMemory;
  const small = plan.small ? readSmall(file.fd, plan.position as number, plan.length, inMemory) : undefined;
  // All of it has been read: whoever receives it slowly holds no descriptor.
  if (small !== undefined && job.openedInThisTurn) file.releaseInSameTurn();
  const { smallFileSize = SMALL_FILE_SIZE, signal, onProgress } = options;
  const isSilent = signal === undefined && onProgress === undefined && !isObserved();
  const isPlain = small !== undefined && plan.ends && isSilent && (stream as OutgoingMessage).writableCorked === 0;
  return { resolved, plan, small, isPlain, smallFileSize };
}

/** Resolves when every byte is out and, where the message ends with the file, its end too. Rejects with a TransferError. */
export function sendToStream(
  stream: Writable | OutgoingMessage,
  job: SendJob,
  prepared: PreparedSend | undefined = prepareSend(stream, job),
): Promise<TransferResult> {
  if (prepared === undefined) {
    const resolved = resolveDestination(stream);
    if ('file' in resolved) return sendToDescriptor(resolved.file, job, 'stdio');
    if (!('pending' in resolved)) return sendToStream(stream, job);
    return connectionOf(resolved.pending, job.options.signal).then(() => sendToStream(stream, withoutTurn(job)));
  }
  const { resolved, plan, small } = prepared;
  const target: SendTarget =
    'socket' in resolved && (plan.refused === undefined || plan.queued) ? resolved : { writable: stream as Writable };
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
  if (!plan.ends && plan.endsAfter === undefined) return sent;
  return sent.then((result) => (plan.ends || result.bytes === plan.endsAfter ? endMessage(stream, result) : result));
}

/** In a later turn of the event loop, what was asked of its file may not be so any more. */
const withoutTurn = ({ file, fromOwnPosition, options }: SendJob): SendJob => ({
  file,
  fromOwnPosition,
  options,
  openedInThisTurn: false,
});

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
  if (message.writableFinished) return result;
  if (isOutgoingMessage(message)) return whenFinished(message, result);
  return finished(message as Writable, { readable: false }).then(
    () => result,
    (error: unknown) => {
      throw transferError(error, result.bytes);
    },
  );
}

function whenFinished(message: OutgoingMessage, result: TransferResult): Promise<TransferResult> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      removeSharedListener(message, 'finish', onFinish);
      removeSharedListener(message, 'close', onClose);
      unwatch();
    };
    const onFinish = (): void => {
      leave();
      resolve(result);
    };
    const onClose = (): void => {
      leave();
      const { bytes } = result;
      const failure = failureOf(message);
      reject(failure === null ? prematureClose(bytes) : transferError(failure, bytes));
    };
    addSharedListener(message, 'finish', onFinish);
    addSharedListener(message, 'close', onClose);
    let unwatch = (): void => {};
    unwatch = whenTurnIsLost(message, onClose);
  });
}

/** As of stream.finished. */
const prematureClose = (bytes: number): TransferError =>
  new TransferError('Premature close', { code: 'ERR_STREAM_PREMATURE_CLOSE', bytes });
