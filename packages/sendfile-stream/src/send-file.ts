/** One file, or a range of it, to one destination, as a promise. */
import type { FileHandle } from 'node:fs/promises';
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { descriptorOf, type TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  addSharedListener,
  isConnectionCode,
  isFileHandle,
  readOptions,
  removeSharedListener,
  setImmediate,
  TransferError,
  transferError,
  validateBoolean,
  validateBytes,
  validateChoice,
  validateFunction,
  validateRange,
  validateSignal,
} from '@zerocopy/transfer';
import { LeaseHold } from './lease.js';
import { type FileSource, openSource } from './open-file.js';
import { validateDestination, validateLease } from './options.js';
import type { SendFileOptions, SendJob } from './send-job.js';
import { DescriptorDestination, sendToDescriptor } from './send-to-descriptor.js';
import { sendToStream } from './send-to-stream.js';

/** What `sendFile` sends to. */
export type SendFileDestination = Socket | OutgoingMessage | FileHandle | number | NodeJS.WritableStream;

const OPTIONS = [
  'start',
  'end',
  'signal',
  'onProgress',
  'fallback',
  'endMessage',
  'smallFileSize',
  'cache',
  'lease',
  'leaseBreak',
] as const;

/**
 * Sends a file, or a range of it, to a net.Socket, an HTTP message, a FileHandle or a descriptor.
 *
 * A socket or message stays open (see `endMessage`), and its earlier and later writes keep their order. If the file
 * turns out to be shorter than it was at the start, the connection is destroyed, and reset where its end could be taken for
 * the file's: nobody can take it for whole. (Unix sockets, TLS connections and connections that were given as descriptors
 * cannot be reset.)
 * The pages are shared with the socket, not copied: see the README on files that are modified in flight.
 *
 * @returns how many bytes went, and how. Rejects with a {@link TransferError}, whose `bytes` had left; with Node's own
 * error if the file cannot be opened; with a TypeError or RangeError for invalid options.
 */
export async function sendFile(
  destination: SendFileDestination,
  source: FileSource,
  given: SendFileOptions = {},
): Promise<TransferResult> {
  const options = readOptions<SendFileOptions>(given, OPTIONS);
  validate(options);
  validateDestination(destination);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  if (typeof destination !== 'number' && !isFileHandle(destination)) {
    const stream = destination as Writable;
    return withoutErrorEvent(stream, (check) =>
      withFile(source, options, (job) => {
        check(); // it may have failed while the file was opened, and there may be no other sign of it
        return sendToStream(stream, job, job.openedInThisTurn);
      }),
    );
  }
  const target = new DescriptorDestination(descriptorOf(destination));
  try {
    return await withFile(source, options, (job) => sendToDescriptor(target, job));
  } finally {
    target.own?.close();
  }
}

function validate(options: SendFileOptions): void {
  validateRange(options.start, options.end);
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  validateBoolean(options.endMessage, 'endMessage');
  validateBytes(options.smallFileSize, 'smallFileSize');
  validateLease(options.lease ?? false, options.leaseBreak ?? 'finish');
  validateChoice(options.fallback ?? 'auto', 'fallback', ['auto', 'never']);
  validateChoice(options.cache ?? 'keep', 'cache', ['keep', 'drop']);
}

/** The promise tells of a failure; the stream's own event needs no listener for that, as with stream.pipeline. */
async function withoutErrorEvent(
  stream: Writable,
  use: (check: () => void) => Promise<TransferResult>,
): Promise<TransferResult> {
  let failure: Error | undefined;
  const onError = (error: Error): void => {
    failure ??= error;
  };
  addSharedListener(stream, 'error', onError);
  const leave = (): void => removeSharedListener(stream, 'error', onError);
  const check = (): void => {
    if (failure !== undefined) throw transferError(failure, 0);
  };
  try {
    const result = await use(check);
    leave();
    return result;
  } catch (error) {
    // Its event may be still to come; that of the standard output too, which does not stay destroyed.
    if (error instanceof TransferError && isConnectionCode(error.code)) setImmediate(leave);
    else if (!stream.destroyed) leave();
    throw error;
  }
}

/** Opens the file, takes the lease that is wanted, and gives both back however the transfer ends. */
async function withFile(
  source: FileSource,
  options: SendFileOptions,
  transfer: (job: SendJob) => Promise<TransferResult>,
): Promise<TransferResult> {
  const fromOwnPosition = typeof source === 'number' || isFileHandle(source);
  const opening = openSource(source);
  const file = opening instanceof Promise ? await opening : opening;
  try {
    // A lease is on the open file: that stays open with it.
    const openedInThisTurn = !(opening instanceof Promise || opening === source || options.lease);
    const job = { file, fromOwnPosition, options, openedInThisTurn };
    return await (options.lease ? underLease(job, transfer) : transfer(job));
  } finally {
    const closing = file.release();
    if (closing !== undefined) await closing;
  }
}

/** Runs a transfer with a lease on its file; when the lease must be given up first, the transfer is aborted. */
async function underLease(job: SendJob, transfer: (job: SendJob) => Promise<TransferResult>): Promise<TransferResult> {
  const { file, options } = job;
  // Not AbortSignal.any: on Node 20 a signal that lives long keeps each signal that was made from it.
  const ending = new AbortController();
  let broken: Error | undefined;
  const lease = await LeaseHold.acquire(options, file.fd, file.path, (error) => {
    broken = error;
    ending.abort(error);
  });
  const { signal } = options;
  const onAbort = (): void => ending.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted) onAbort();
  try {
    return await transfer({
      file,
      fromOwnPosition: job.fromOwnPosition,
      options: { ...options, signal: ending.signal },
      openedInThisTurn: false,
    });
  } catch (error) {
    throw broken === undefined ? error : transferError(broken, bytesOf(error));
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await lease.release();
  }
}

const bytesOf = (error: unknown): number => (error instanceof TransferError ? error.bytes : 0);
