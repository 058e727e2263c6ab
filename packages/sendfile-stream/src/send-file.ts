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
import { type FileSource, type OpenFile, openSource } from './open-file.js';
import { validateDestination, validateLease } from './options.js';
import type { SendFileOptions, SendJob } from './send-job.js';
import { sendSmallFile } from './send-small-file.js';
import { DescriptorDestination, sendToDescriptor } from './send-to-descriptor.js';
import { type PreparedSend, prepareSend, sendToStream } from './send-to-stream.js';

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
  'lease',
  'leaseBreak',
  'keepOpen',
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
export function sendFile(
  destination: SendFileDestination,
  source: FileSource,
  given?: SendFileOptions,
): Promise<TransferResult> {
  try {
    const options = given === undefined ? DEFAULTS : readOptions<SendFileOptions>(given, OPTIONS);
    if (given !== undefined) validate(options);
    validateDestination(destination);
    if (options.signal?.aborted) throw abortError(options.signal, 0);
    if (typeof destination === 'number' || isFileHandle(destination)) {
      return sendToNumber(new DescriptorDestination(descriptorOf(destination)), source, options);
    }
    const stream = destination as Writable;
    const opening = openSource(source, mayBeKept(options));
    if (opening instanceof Promise || options.lease) return sendWhenOpen(stream, source, options, opening);
    return sendOpened(stream, jobOf(source, options, opening));
  } catch (error) {
    return Promise.reject(error);
  }
}

const DEFAULTS: SendFileOptions = Object.freeze({});

/** A lease is on the open file: on one that is only this transfer's. */
const mayBeKept = ({ keepOpen = true, lease }: SendFileOptions): boolean => keepOpen && !lease;

function jobOf(source: FileSource, options: SendFileOptions, file: OpenFile, openedInThisTurn = true): SendJob {
  const fromOwnPosition = typeof source === 'number' || isFileHandle(source);
  return { file, fromOwnPosition, options, openedInThisTurn: openedInThisTurn && file !== source };
}

async function sendToNumber(
  target: DescriptorDestination,
  source: FileSource,
  options: SendFileOptions,
): Promise<TransferResult> {
  try {
    const opening = openSource(source, mayBeKept(options));
    return await withFile(source, options, opening, (job) => sendToDescriptor(target, job));
  } finally {
    target.own?.close();
  }
}

/** The way of almost every call: the file is open, and nothing is to be taken or waited for before it is sent. */
function sendOpened(stream: Writable, job: SendJob): Promise<TransferResult> {
  const { file } = job;
  let prepared: PreparedSend | undefined;
  try {
    prepared = prepareSend(stream, job);
    if (prepared?.isPlain) {
      file.release()?.catch(() => {}); // it was only read
      return sendSmallFile(stream as unknown as OutgoingMessage, prepared);
    }
  } catch (error) {
    file.release();
    throw error;
  }
  const leave = withoutErrorEvent(stream);
  let sent: Promise<TransferResult>;
  try {
    sent = sendToStream(stream, job, prepared);
  } catch (error) {
    sent = Promise.reject(error);
  }
  return sent.then(
    (result) => {
      leave();
      const closing = file.release();
      return closing === undefined ? result : closing.then(() => result);
    },
    (error: unknown) => {
      leave(error);
      const closing = file.release() ?? Promise.resolve();
      return closing.then(() => {
        throw error;
      });
    },
  );
}

async function sendWhenOpen(
  stream: Writable,
  source: FileSource,
  options: SendFileOptions,
  opening: OpenFile | Promise<OpenFile>,
): Promise<TransferResult> {
  let failure: Error | undefined;
  const leave = withoutErrorEvent(stream, (error) => {
    failure ??= error;
  });
  try {
    const result = await withFile(source, options, opening, (job) => {
      // It may have failed while the file was opened, and there may be no other sign of it.
      if (failure !== undefined) throw transferError(failure, 0);
      return sendToStream(stream, job);
    });
    leave();
    return result;
  } catch (error) {
    leave(error);
    throw error;
  }
}

function validate(options: SendFileOptions): void {
  validateRange(options.start, options.end);
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  validateBoolean(options.endMessage, 'endMessage');
  validateBytes(options.smallFileSize, 'smallFileSize');
  validateBoolean(options.keepOpen, 'keepOpen');
  validateLease(options.lease ?? false, options.leaseBreak ?? 'finish');
  validateChoice(options.fallback ?? 'auto', 'fallback', ['auto', 'never']);
}

/**
 * The promise tells of a failure; the stream's own event needs no listener for that, as with stream.pipeline.
 * @returns what ends this, with the error that the transfer has ended with, if it has failed.
 */
function withoutErrorEvent(stream: Writable, onError: (error: Error) => void = () => {}): (error?: unknown) => void {
  addSharedListener(stream, 'error', onError);
  const leave = (): void => removeSharedListener(stream, 'error', onError);
  return (error) => {
    // Its event may be still to come; that of the standard output too, which does not stay destroyed.
    if (error instanceof TransferError && isConnectionCode(error.code)) setImmediate(leave);
    else if (error === undefined || !stream.destroyed) leave();
  };
}

/** Takes the lease that is wanted, once the file is open, and gives both back however the transfer ends. */
async function withFile(
  source: FileSource,
  options: SendFileOptions,
  opening: OpenFile | Promise<OpenFile>,
  transfer: (job: SendJob) => Promise<TransferResult>,
): Promise<TransferResult> {
  const file = opening instanceof Promise ? await opening : opening;
  try {
    const job = jobOf(source, options, file, false);
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
      options: withSignal(options, ending.signal),
      openedInThisTurn: false,
    });
  } catch (error) {
    throw broken === undefined ? error : transferError(broken, bytesOf(error));
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await lease.release();
  }
}

const withSignal = (options: SendFileOptions, signal: AbortSignal): SendFileOptions =>
  Object.assign({}, options, { signal });

const bytesOf = (error: unknown): number => (error instanceof TransferError ? error.bytes : 0);
