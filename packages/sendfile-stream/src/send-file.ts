/** One file, or a range of it, to one destination, as a promise. */
import { once } from 'node:events';
import nodeFs, { createWriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { constants, descriptorOf, feature, libcStatus, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import { type FileFacts, factsOf, isPollable } from '@zerocopy/core-syscalls/descriptors';
import {
  abortError,
  bodyFraming,
  closeUnwaited,
  isOutgoingMessage,
  isSocket,
  OwnedDescriptor,
  readOptions,
  socketOver,
  TransferError,
  transferError,
  whileUncorked,
} from '@zerocopy/transfer';
import { closeAtOnce, openAtOnce } from './cached-open.js';
import { type CopySource, copyToStream } from './copy.js';
import { announce, type Resolution, resolveDestination, type SocketDestination } from './destination.js';
import { FileSend } from './file-destination.js';
import { connectionClosed, KernelSend, type SendRange } from './kernel-send.js';
import { isLeaseBroken, LeaseHold, type LeaseOptions } from './lease.js';
import {
  validateChoice,
  validateDestination,
  validateLease,
  validateOffset,
  validateRange,
  validateSignal,
  validateType,
} from './options.js';
import { readSmall, SMALL_FILE_SIZE } from './small-file.js';
import { inspectSource } from './source.js';

export interface SendFileOptions extends LeaseOptions {
  /** First byte, from 0. Default 0; for a descriptor or FileHandle its own position. */
  start?: number;
  /** Last byte, inclusive. Default: the end of the file. */
  end?: number;
  signal?: AbortSignal;
  /** After every pause of the transfer and at its end; `bytes` so far, `total` if it is known. */
  onProgress?: (bytes: number, total?: number) => void;
  /** 'auto' (the default): copy where the kernel cannot send. 'never': reject with ERR_ZEROCOPY_UNAVAILABLE instead. */
  fallback?: 'auto' | 'never';
  /**
   * Whether to end an HTTP message afterwards. By default it is ended if the file is its whole body: its
   * Content-Length is the range's length, or it had none and no headers were sent, in which case the length is set.
   */
  endMessage?: boolean;
  /** As for createSendfileStream, in bytes: default 65536; 0: never. */
  smallFileSize?: number;
}

export type FileSource = string | Buffer | URL | FileHandle | number;
export type SendFileDestination = Socket | OutgoingMessage | FileHandle | number | NodeJS.WritableStream;

/**
 * The file, on a descriptor of this transfer's own: the caller may close theirs, and its number be used again, in the
 * same tick (rule 40). Closed when nobody holds it any more.
 */
class OpenSource {
  readonly fd: number;
  readonly path: string | undefined;
  /** What it was when it was opened, if that was asked. */
  readonly facts: FileFacts | undefined;
  readonly #close: () => Promise<void> | undefined;
  #holds = 1;

  constructor(fd: number, path: string | undefined, close: () => Promise<void> | undefined, facts?: FileFacts) {
    this.fd = fd;
    this.path = path;
    this.facts = facts;
    this.#close = close;
  }

  /** For the time of a read on another thread. */
  hold(): void {
    this.#holds++;
  }

  /** What was opened here is closed with the last of them; the promise is only of that. */
  release(): Promise<void> | undefined {
    return --this.#holds === 0 ? this.#close() : undefined;
  }
}

/** A descriptor of the caller's, to be written to. */
class DescriptorDestination {
  /** Null: it is not open. */
  readonly fd: number | null;
  /** A duplicate, wherever there can be one. */
  readonly own: OwnedDescriptor | undefined;

  constructor(fd: number | null) {
    this.fd = fd;
    this.own = fd !== null && libcStatus().available ? duplicate(fd) : undefined;
  }

  /** Closes the duplicate, if it has not been given away. */
  close(): void {
    const own = this.own?.release() ?? -1;
    if (own >= 0) closeUnwaited(own);
  }
}

const closeOffThread = promisify(nodeFs.close);

const isFileHandle = (thing: unknown): thing is FileHandle =>
  typeof thing === 'object' &&
  thing !== null &&
  typeof (thing as FileHandle).fd === 'number' &&
  'readableWebStream' in thing;

const isDescriptor = (thing: SendFileDestination): thing is FileHandle | number =>
  typeof thing === 'number' || isFileHandle(thing);

/** What is open already, or can be opened without waiting. */
function openNow(source: FileSource): OpenSource | undefined {
  if (typeof source === 'number') return lentSource(source);
  if (isFileHandle(source)) return lentSource(source.fd);
  const file = openAtOnce(source);
  if (file === undefined) return undefined;
  const { fd, facts } = file;
  return new OpenSource(fd, String(source), () => (closeAtOnce(fd) ? undefined : closeOffThread(fd)), facts);
}

function lentSource(fd: number): OpenSource {
  if (!libcStatus().available) return new OpenSource(fd, undefined, () => undefined);
  const own = duplicate(fd);
  return new OpenSource(own.fd, undefined, () => void closeUnwaited(own.release()));
}

async function openSource(source: string | Buffer | URL): Promise<OpenSource> {
  const handle = await open(source);
  return new OpenSource(handle.fd, String(source), () => handle.close());
}

/**
 * Sends a file, or a range of it, to a net.Socket, an HTTP message, a FileHandle or a descriptor.
 *
 * A socket or message stays open (see `endMessage`), and its earlier and later writes keep their order. If the file
 * turns out to be shorter than it was at the start, the connection is destroyed: nobody can take it for whole.
 * The pages are shared with the socket, not copied: see the README on files that are modified in flight.
 *
 * @returns how many bytes went, and how. Rejects with a {@link TransferError}, whose `bytes` had left; with Node's own
 * error if the file cannot be opened; with a TypeError or RangeError for options that are none.
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
  const target = isDescriptor(destination) ? new DescriptorDestination(descriptorOf(destination)) : destination;
  // The promise tells of a failure; the stream's own event needs no listener for that, as with stream.pipeline.
  const stream = target instanceof DescriptorDestination ? undefined : (target as Writable);
  let failure: Error | undefined;
  const onError = (error: Error): void => {
    failure ??= error;
  };
  stream?.on('error', onError);
  /** A destination may have failed while the file was opened, and there may be no other sign of it. */
  const begin = (file: OpenSource, withOptions: SendFileOptions): Promise<TransferResult> => {
    if (failure !== undefined) throw transferError(failure, 0);
    return send(target, file, withOptions);
  };
  let failed = true;
  try {
    const file = openNow(source) ?? (await openSource(source as string | Buffer | URL));
    try {
      const result = options.lease
        ? await underLease(file, options, (guarded) => begin(file, guarded))
        : await begin(file, options);
      failed = false;
      return result;
    } finally {
      const closing = file.release();
      if (closing !== undefined) await closing;
    }
  } finally {
    // A stream that is destroyed: its event may be still to come.
    if (!failed || !stream?.destroyed) stream?.off('error', onError);
    if (target instanceof DescriptorDestination) target.close();
  }
}

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
] as const;

function validate(options: SendFileOptions): void {
  validateRange(options.start, options.end);
  validateSignal(options.signal);
  validateType(options.onProgress, 'onProgress', 'function');
  validateType(options.endMessage, 'endMessage', 'boolean');
  validateOffset(options.smallFileSize, 'smallFileSize');
  validateLease(options.lease ?? false, options.leaseBreak ?? 'finish');
  validateChoice(options.fallback ?? 'auto', 'fallback', ['auto', 'never']);
}

/** Runs a transfer with a lease on its file; when the lease must be given up first, the transfer is aborted. */
async function underLease(
  file: OpenSource,
  options: SendFileOptions,
  transfer: (options: SendFileOptions) => Promise<TransferResult>,
): Promise<TransferResult> {
  const broken = new AbortController();
  const lease = await LeaseHold.acquire(options, file.fd, file.path, (error) => broken.abort(error));
  const signal = options.signal === undefined ? broken.signal : AbortSignal.any([options.signal, broken.signal]);
  try {
    return await transfer({ ...options, signal });
  } catch (error) {
    throw broken.signal.aborted ? transferError(broken.signal.reason, bytesOf(error)) : error;
  } finally {
    await lease.release();
  }
}

const bytesOf = (error: unknown): number => (error instanceof TransferError ? error.bytes : 0);

// From here on promises are chained, not awaited: what waits for a slow receiver is a thousand times in memory, and the
// frame of an async function costs more there than the transfer itself.

type Target = DescriptorDestination | Exclude<SendFileDestination, FileHandle | number>;

function send(destination: Target, file: OpenSource, options: SendFileOptions): Promise<TransferResult> {
  return destination instanceof DescriptorDestination
    ? sendToDescriptor(destination, file, options)
    : sendToAnyStream(destination, file, options);
}

function sendToAnyStream(
  destination: Socket | OutgoingMessage | NodeJS.WritableStream,
  file: OpenSource,
  options: SendFileOptions,
): Promise<TransferResult> {
  const resolved = resolveDestination(destination);
  if ('file' in resolved) {
    const target = new DescriptorDestination(resolved.file);
    return sendToDescriptor(target, file, options).finally(() => target.close());
  }
  if (!('pending' in resolved)) return sendToStream(destination, resolved, file, options);
  return connectionOf(resolved.pending, options.signal).then(() =>
    sendToStream(destination, resolveDestination(destination), file, options),
  );
}

/** Waits until a request has its connection. */
async function connectionOf(message: OutgoingMessage, signal: AbortSignal | undefined): Promise<void> {
  try {
    await once(message, 'socket', signal === undefined ? {} : { signal });
  } catch (error) {
    if (signal?.aborted) throw abortError(signal, 0);
    throw transferError(error, 0);
  }
}

interface Plan {
  /** Undefined: of a file whose size cannot be known. */
  readonly range: SendRange | undefined;
  /** Why the kernel cannot send it. */
  readonly refused: string | undefined;
}

/** What of the file is to be sent, and whether the kernel can. The range is promised whichever way it goes. */
function plan(file: OpenSource, options: SendFileOptions): Plan {
  const facts = inspectSource(file.fd, file.facts);
  if (!facts.sendable) return { range: undefined, refused: facts.reason };
  const sendfile = feature('sendfile');
  const refused = sendfile.available ? undefined : (sendfile.reason ?? 'sendfile is not available');
  const own = file.path === undefined && options.start === undefined;
  const position = own ? syscalls.lseek(file.fd, 0, constants.SEEK_CUR) : (options.start ?? 0);
  if (position < 0) return { range: undefined, refused: refused ?? 'the position in the file is not known' };
  const length = Math.max(0, Math.min(facts.size, (options.end ?? Number.POSITIVE_INFINITY) + 1) - position);
  return { range: { fd: file.fd, position, length }, refused };
}

function sendToStream(
  stream: Socket | OutgoingMessage | NodeJS.WritableStream,
  resolved: Resolution,
  file: OpenSource,
  options: SendFileOptions,
): Promise<TransferResult> {
  const message = isOutgoingMessage(stream) ? stream : undefined;
  const planned = plan(file, options);
  const range = message === undefined ? planned.range : withinPromise(message, planned.range);
  let refused = 'refused' in resolved ? resolved.refused : planned.refused;
  if (range?.length === 0) refused ??= 'there is nothing to send';
  if (refused !== undefined && options.fallback === 'never') throw unavailable(refused);

  const endsMessage = message !== undefined && (options.endMessage ?? isWholeBody(message, range));
  if (endsMessage && range !== undefined) announce(message, range.length);
  if (message !== undefined && range !== undefined && refused === undefined) {
    const sent = sendSmall(message, range, endsMessage, options);
    if (sent !== undefined) return sent;
  }
  const sent =
    refused === undefined && range !== undefined && 'socket' in resolved
      ? sendByKernel(resolved, range, file, options)
      : copyToStream(
          stream as Writable,
          copySource(file, range, options),
          options,
          refused ?? 'the file cannot be sent by the kernel',
        );
  return endsMessage ? sent.then((result) => endMessage(message, result)) : sent;
}

/** Not corked: what is held back of a body in chunks would come after its end (Node 22 to 26). */
function endMessage(message: OutgoingMessage, result: TransferResult): TransferResult | Promise<TransferResult> {
  if (message.writableEnded) return result;
  whileUncorked(message, () => message.end());
  return finished(message, { readable: false }).then(
    () => result,
    (error: unknown) => {
      throw transferError(error, result.bytes);
    },
  );
}

/** A small warm file in one write with the headers; undefined, and nothing done, if it is neither. */
function sendSmall(
  message: OutgoingMessage,
  { fd, position, length }: SendRange,
  ends: boolean,
  { smallFileSize = SMALL_FILE_SIZE, fallback, signal, onProgress }: SendFileOptions,
): Promise<TransferResult> | undefined {
  if (length > smallFileSize || fallback === 'never' || bodyFraming(message).kind === 'none') return undefined;
  if (signal?.aborted) return undefined; // as a large one
  const startedAt = performance.now();
  const read = readSmall(fd, position, length);
  if (read === undefined) return undefined;
  return new Promise((resolve, reject) => {
    let over = false;
    const leave = (): void => {
      over = true;
      message.off('close', onClose);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: TransferError): void => {
      leave();
      reject(error);
    };
    const onWritten = (error?: Error | null): void => {
      if (!error) read.recycle();
      if (over) return;
      if (error) return fail(transferError(error, 0));
      leave();
      try {
        onProgress?.(length, length);
      } catch (thrown) {
        return reject(transferError(thrown, length));
      }
      resolve({
        bytes: length,
        method: 'copy',
        fallbackReason: `the file is small: up to ${smallFileSize} bytes are cheaper to copy with the headers`,
        syscalls: 1,
        durationMs: performance.now() - startedAt,
      });
    };
    const onClose = (): void => {
      if (!message.writableFinished) fail(connectionClosed(0));
    };
    const onAbort = (): void => {
      fail(abortError(signal as AbortSignal, 0));
      message.destroy();
    };
    message.once('close', onClose);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (ends) whileUncorked(message, () => message.end(read.bytes, onWritten as () => void));
    else message.write(read.bytes, onWritten);
  });
}

/** The range, cut to what the message has announced: more would break the framing of what follows. */
function withinPromise(message: OutgoingMessage, range: SendRange | undefined): SendRange | undefined {
  const framing = bodyFraming(message);
  if (range === undefined || framing.kind !== 'length') return range;
  return { ...range, length: Math.min(range.length, framing.bytes) };
}

function copySource(file: OpenSource, range: SendRange | undefined, { start, end }: SendFileOptions): CopySource {
  const { fd } = file;
  // By then the transfer has been told as aborted, and nobody waits for the close.
  const held = { hold: () => file.hold(), release: () => void file.release()?.catch(() => {}) };
  if (range !== undefined) return { ...range, promised: true, ...held };
  const position = start ?? null;
  // Of a file that cannot be sized, or is empty, `end` is a bound and not a promise.
  const length = end === undefined ? Number.POSITIVE_INFINITY : end + 1 - (start ?? 0);
  return { fd, position, length, promised: false, ...held };
}

/** Nothing of the message has been sent and nothing else is promised: the file is all of its body. */
function isWholeBody(message: OutgoingMessage, range: SendRange | undefined): boolean {
  const framing = bodyFraming(message);
  switch (framing.kind) {
    case 'undecided':
    case 'none':
      return true;
    case 'length':
      return framing.bytes === range?.length;
    default:
      return false;
  }
}

function unavailable(reason: string): TransferError {
  return new TransferError(`the kernel cannot send this file: ${reason} (fallback is 'never')`, {
    code: 'ERR_ZEROCOPY_UNAVAILABLE',
    bytes: 0,
  });
}

/** By its owner, that is, and not because a lease was broken: such bytes must not look whole. */
const wasAborted = (signal: AbortSignal | undefined): boolean =>
  signal?.aborted === true && !isLeaseBroken(signal.reason);

function sendByKernel(
  destination: SocketDestination,
  range: SendRange,
  file: OpenSource,
  { signal, onProgress }: SendFileOptions,
): Promise<TransferResult> {
  return new Promise((resolve, reject) => {
    const send = new KernelSend({
      destination,
      range,
      signal,
      onProgress,
      about: { detail: { source: file.path ?? file.fd } },
      onEnd(outcome) {
        signal?.removeEventListener('abort', onAbort);
        switch (outcome.kind) {
          case 'completed':
          case 'dropped':
            resolve(outcome.result);
            break;
          case 'stopped': // by the signal, while it was still waiting for its turn
            reject(abortError(signal as AbortSignal, outcome.result.bytes));
            break;
          case 'destination-failed':
            reject(outcome.error);
            break;
          case 'failed':
            // A bare socket that has not been promised anything may go on; a half-sent body may not.
            send.settle(isSocket(destination.stream) && wasAborted(signal) ? 'keep' : 'destroy');
            reject(outcome.error);
            break;
        }
      },
    });
    const onAbort = (): void => {
      if (send.queued) send.stop();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    send.start();
  });
}

/** The duplicate is closed by whoever made it, if it still has one by then. */
async function sendToDescriptor(
  { fd, own }: DescriptorDestination,
  file: OpenSource,
  options: SendFileOptions,
): Promise<TransferResult> {
  if (fd === null) {
    throw new TransferError('the destination is not an open descriptor', { code: 'EBADF', bytes: 0 });
  }
  if (own === undefined) return copyToDescriptor(fd, file, undefined, options, plan(file, options).refused);
  if (isPollable(factsOf(own.fd))) return sendToSocketDescriptor(own, file, options);
  const { range, refused } = plan(file, options);
  if (refused !== undefined || range === undefined) return copyToDescriptor(fd, file, own, options, refused);
  return new Promise((resolve, reject) => {
    new FileSend({
      out: own,
      range,
      signal: options.signal,
      onProgress: options.onProgress,
      about: { detail: { source: file.path ?? file.fd } },
      onEnd: (outcome) => ('error' in outcome ? reject(outcome.error) : resolve(outcome.result)),
    }).start();
  });
}

function duplicate(fd: number): OwnedDescriptor {
  try {
    return OwnedDescriptor.duplicate(fd);
  } catch (error) {
    throw transferError(error, 0);
  }
}

/** By Node's streams; on a duplicate where there can be one, so that ending the stream leaves the caller's descriptor open. */
async function copyToDescriptor(
  fd: number,
  file: OpenSource,
  own: OwnedDescriptor | undefined,
  options: SendFileOptions,
  refused = 'the file cannot be sent by the kernel',
): Promise<TransferResult> {
  if (options.fallback === 'never') throw unavailable(refused);
  const target =
    own === undefined
      ? createWriteStream('', { fd, fs: { ...nodeFs, close: (_fd: number, done: () => void) => done() } })
      : createWriteStream('', { fd: own.release() });
  try {
    const result = await copyToStream(target, copySource(file, plan(file, options).range, options), options, refused);
    target.end();
    await finished(target);
    return result;
  } catch (error) {
    // A write that failed may have written a part: the file knows how much, once no other is under way.
    await closed(target);
    throw error instanceof TransferError ? withBytes(error, target.bytesWritten) : error;
  } finally {
    target.destroy(); // closes the duplicate, whatever has come of it
  }
}

function closed(stream: Writable): Promise<void> {
  stream.destroy();
  return stream.closed ? Promise.resolve() : new Promise((resolve) => stream.once('close', resolve));
}

const withBytes = (error: TransferError, bytes: number): TransferError =>
  error.bytes === bytes ? error : new TransferError(error.message, { code: error.code, bytes, cause: error.cause });

/** A socket or pipe known by its number: a stream of our own over the duplicate brings the waiting. */
async function sendToSocketDescriptor(
  own: OwnedDescriptor,
  file: OpenSource,
  options: SendFileOptions,
): Promise<TransferResult> {
  let socket: Socket;
  try {
    socket = socketOver(own, { readable: false, writable: true });
  } catch (error) {
    throw transferError(error, 0); // a kind of socket that libuv does not open
  }
  socket.on('error', () => {});
  try {
    return await sendToAnyStream(socket, file, options);
  } finally {
    // Not end(): that would shut down the connection that the caller's own descriptor shares.
    socket.destroy();
  }
}
