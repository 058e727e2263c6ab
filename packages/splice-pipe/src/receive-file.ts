/** An upload into a file, as a promise: what `sendFile` is for downloads. */
import { ftruncate } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { Readable } from 'node:stream';
import { constants, type TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  closedEarly,
  failureOf,
  invalidArgument,
  isSocket,
  readOptions,
  TransferError,
  TransferScope,
  transferError,
  validateBoolean,
  validateBytes,
  validateFunction,
  validatePath,
  validateSignal,
} from '@zerocopy/transfer';
import { BodyCopy } from './body-copy.js';
import { COLLECT_MAX } from './collected-body.js';
import { isCutOffBody } from './cut-off-body.js';
import { HeldFile, holdErrors, unavailable } from './endpoint.js';
import { FLAG_NAMES, flagsOf, ReceivedFile } from './received-file.js';
import { claimBody, contentLength, isRequest, isThrownAway, refusalOfRequest } from './request-body.js';
import { keepUnread, refusalOfSource } from './source.js';
import { spliceInto } from './splice.js';

/** What {@link receiveFile} receives: an HTTP message of node:http or node:http2, a socket, any Readable of bytes. */
export type ReceiveSource = IncomingMessage | Http2ServerRequest | Readable;

/** The options of {@link receiveFile}. */
export interface ReceiveFileOptions {
  /**
   * Bytes that the body may have, inclusive. A body that announces more is refused before anything is read or opened,
   * any other at the first byte beyond: ERR_BODY_TOO_LARGE. Default: any number.
   */
  maxBytes?: number;
  /** Ends it where it is: rejects with the code ABORT_ERR. */
  signal?: AbortSignal;
  /** After every pause of the transfer, and at its end: bytes that are in the file, and will be, if that is known. */
  onProgress?: (bytes: number, total?: number) => void;
  /**
   * As of fs.open: 'w' (the default), 'wx', 'a', 'ax', 'r+', or a number that allows writing. With `atomic` 'w' or 'wx'.
   */
  flags?: string | number;
  /** Permissions of a file that is made, without those of the umask. Default 0o666. */
  mode?: number;
  /**
   * Whether the body is written to a temporary file in the same directory, which gets the name `path` when it is
   * whole, and is removed if it does not become so. A file that has the name already is replaced, or with 'wx' kept:
   * EEXIST. Default false.
   */
  atomic?: boolean;
  /**
   * Whether the bytes are on the disk (fsync) before the file gets its name, or is closed. Otherwise, and for the name in
   * its directory in any case, they are when the system writes them: a crash of the machine may lose them. Default false.
   */
  flush?: boolean;
}

/** A body with more bytes than `maxBytes`. */
const tooLarge = (maxBytes: number, bytes: number): TransferError =>
  new TransferError(`the body is larger than the ${maxBytes} bytes that are allowed`, {
    code: 'ERR_BODY_TOO_LARGE',
    bytes,
  });

const used = (bytes: number): TransferError =>
  new TransferError('the body has been read already, or what it brings is not bytes', { code: 'ERR_BODY_USED', bytes });

const { O_APPEND, O_CREAT, O_TRUNC } = constants;
const NAMES = ['maxBytes', 'signal', 'onProgress', 'flags', 'mode', 'atomic', 'flush'] as const;

interface Task {
  readonly source: Readable;
  readonly path: string | Buffer | URL;
  readonly file: ReceivedFile;
  readonly maxBytes: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ReceiveFileOptions['onProgress'];
}

/**
 * Receives the body of an HTTP message into the file `path`: an upload. Also all that a socket, or any Readable, brings.
 *
 * A large body with a Content-Length on a plain HTTP/1 connection, and what a plain socket brings, is written by the
 * kernel; any other is copied in few large pieces, a small one at once (`method`, `fallbackReason`).
 *
 * If it fails, a temporary file (`atomic`) is removed, and any other keeps what has come. Unless it was refused before
 * anything was read, what still comes of the body is read and thrown away, so that the request can be answered; answer
 * with `Connection: close` where the client is not to send all of it: it may be reset before it has read the answer.
 *
 * @param request nothing may have been read from it.
 * @returns how many bytes are in the file, and how they went. Rejects with a TransferError: ERR_BODY_TOO_LARGE,
 * ERR_BODY_USED, ABORT_ERR, ECONNRESET where the client has gone away, or the code of a write that failed; with
 * Node's own error where the file cannot be opened or renamed; ENODEV where it is no regular file; with a TypeError or
 * RangeError for invalid arguments.
 */
export async function receiveFile(
  request: ReceiveSource,
  path: string | Buffer | URL,
  given: ReceiveFileOptions = {},
): Promise<TransferResult> {
  const task = taskOf(request, path, given);
  const { source, maxBytes, signal } = task;
  if (signal?.aborted) throw abortError(signal, 0);
  const refused = refusalOf(source, maxBytes);
  if (refused !== undefined) throw refused;
  const release = holdErrors([source]);
  try {
    const reason = copyingReason(task);
    return reason === undefined ? await byKernel(task) : await byCopy(task, reason);
  } catch (error) {
    if (!source.destroyed) source.resume();
    throw error;
  } finally {
    release();
  }
}

function taskOf(source: unknown, path: string | Buffer | URL, given: ReceiveFileOptions): Task {
  if (!(source instanceof Readable)) throw invalidArgument('request', 'an HTTP message or a Readable', source);
  validatePath(path, 'path');
  const options = readOptions<ReceiveFileOptions>(given, NAMES);
  const {
    maxBytes = Number.POSITIVE_INFINITY,
    signal,
    onProgress,
    mode = 0o666,
    atomic = false,
    flush = false,
  } = options;
  validateBytes(options.maxBytes, 'maxBytes');
  validateSignal(signal);
  validateFunction(onProgress, 'onProgress');
  validateBytes(mode, 'mode');
  validateBoolean(atomic, 'atomic');
  validateBoolean(flush, 'flush');
  const flags = validFlags(options.flags ?? 'w', atomic);
  return { source, path, file: new ReceivedFile(path, { flags, mode, atomic, flush }), maxBytes, signal, onProgress };
}

function validFlags(given: unknown, atomic: boolean): number {
  const flags = flagsOf(given);
  const names = FLAG_NAMES.map((name) => `'${name}'`).join(', ');
  if (flags === undefined) throw invalidFlags(`one of ${names}, or a number that allows writing`, given);
  const replaces = (flags & O_APPEND) === 0 && (flags & O_CREAT) !== 0 && (flags & O_TRUNC) !== 0;
  if (atomic && !replaces) throw invalidFlags("'w' or 'wx' with 'atomic'", given);
  return flags;
}

const invalidFlags = (expected: string, value: unknown): TypeError =>
  Object.assign(new TypeError(`The option 'flags' must be ${expected}. Received ${String(value)}`), {
    code: 'ERR_INVALID_ARG_VALUE',
  });

/** What speaks against it before anything is read or opened. */
function refusalOf(source: Readable, maxBytes: number): Error | undefined {
  if (isRequest(source)) {
    if (contentLength(source) > maxBytes) return tooLarge(maxBytes, 0);
    if (isThrownAway(source)) return closedEarly('source', 0);
  }
  if (isLost(source)) return gone(source, 0);
  const { readableDidRead, readableEnded, readableEncoding, readableObjectMode } = source;
  return readableDidRead || readableEnded || readableEncoding !== null || readableObjectMode ? used(0) : undefined;
}

/** Nothing more comes of it, or not all. */
const isLost = (source: Readable): boolean => !source.readableEnded && (source.destroyed || isCutOffBody(source));

/** The client has gone away, or other code has destroyed the stream. */
function gone(source: Readable, bytes: number): TransferError {
  const { code, message } = closedEarly('source', bytes);
  return new TransferError(message, { code, bytes, cause: failureOf(source) ?? undefined });
}

/** Why the kernel does not write it, or undefined. */
function copyingReason({ source, file, maxBytes }: Task): string | undefined {
  const reason = unavailable();
  if (reason !== undefined) return reason;
  if (file.appends) return 'the file is open for appending';
  if (isRequest(source)) return refusalOfRequest(source, 0, COLLECT_MAX);
  // The kernel writes the first byte too many before anybody can tell that there is one.
  if (Number.isFinite(maxBytes) && !file.startsEmpty) return 'the file is not cut off, and the body may be too large';
  if (isSocket(source)) return source.connecting ? 'the source is not connected yet' : refusalOfSource(source);
  return `the source is not a socket but a ${source.constructor?.name || 'stream'}`;
}

const opened = (file: ReceivedFile): Promise<void> =>
  new Promise((resolve, reject) => file.open((error) => (error === null ? resolve() : reject(error))));

const kept = (file: ReceivedFile): Promise<void> =>
  new Promise((resolve, reject) => file.keep((error) => (error === null ? resolve() : reject(error))));

async function byKernel(task: Task): Promise<TransferResult> {
  const { source, file, maxBytes, signal, onProgress } = task;
  const flowAgain = keepUnread(source);
  if (isRequest(source)) claimBody(source);
  try {
    await opened(file);
  } catch (error) {
    new TransferScope(aboutOf(task)).fail(error, nothing('splice'));
    throw error;
  } finally {
    flowAgain(); // splice keeps it from here on, in this very turn
  }
  try {
    // One byte more than a socket may bring tells that there is more.
    const length = isRequest(source) ? Number.POSITIVE_INFINITY : maxBytes + 1;
    const total = isRequest(source) ? contentLength(source) : undefined;
    const result = await spliceInto(source, new HeldFile(file.fd, () => used(0)), {
      ...(Number.isSafeInteger(length) && { length }),
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (bytes) => onProgress(Math.min(bytes, maxBytes), total) }),
    });
    if (result.bytes > maxBytes) {
      await new Promise((resolve) => ftruncate(file.fd, maxBytes, resolve));
      throw tooLarge(maxBytes, maxBytes);
    }
    await kept(file);
    return result;
  } catch (error) {
    await new Promise<void>((resolve) => file.discard(resolve));
    throw error;
  }
}

const aboutOf = ({ source, path }: Task): ConstructorParameters<typeof TransferScope>[0] => {
  const length = isRequest(source) ? contentLength(source) : undefined;
  return {
    length: Number.isSafeInteger(length) ? length : undefined,
    source: isRequest(source) ? 'http' : isSocket(source) ? 'socket' : 'stream',
    destination: 'file',
    detail: { destination: path },
  };
};

const nothing = (method: 'splice' | 'copy'): TransferResult => ({ bytes: 0, method, syscalls: 0, durationMs: 0 });

function byCopy(task: Task, reason: string): Promise<TransferResult> {
  const { source, file, maxBytes, signal, onProgress } = task;
  const promised = isRequest(source) ? contentLength(source) : Number.NaN;
  const total = Number.isSafeInteger(promised) ? promised : undefined;
  return new Promise((resolve, reject) => {
    const scope = new TransferScope(aboutOf(task));
    const startedAt = performance.now();
    let opening = true;
    /** The error that it has ended with; null: none. */
    let ended: Error | null | undefined;
    const result = (): TransferResult => ({
      bytes: copy.written,
      method: 'copy',
      fallbackReason: reason,
      syscalls: copy.calls,
      durationMs: performance.now() - startedAt,
    });
    const fail = (error: Error): void => {
      const told = result();
      scope.fail(error, told);
      reject(error);
    };
    const finish = (): void => {
      if (opening || ended === undefined) return;
      signal?.removeEventListener('abort', onAbort);
      const error = ended;
      if (error !== null) return file.discard(() => fail(error));
      file.keep((failure) => {
        if (failure !== null) return fail(failure);
        const told = result();
        scope.succeed(told);
        resolve(told);
      });
    };
    const onAbort = (): void => copy.fail(abortError(signal as AbortSignal, copy.written));
    scope.start(); // foreign code: it may have destroyed the source
    const copy = new BodyCopy({
      source,
      whole: promised <= COLLECT_MAX ? promised : 0,
      maxBytes,
      onWritten: onProgress && ((bytes) => scope.run(onProgress, bytes, total)),
      tooLarge: () => tooLarge(maxBytes, copy.written),
      notBytes: () => used(copy.written),
      incomplete: (received) =>
        (total === undefined ? isCutOffBody(source) : received !== total) ? gone(source, copy.written) : null,
      closed: () => gone(source, copy.written),
      onEnd: (error) => {
        // What had come is written after the failure: so many bytes are in the file in the end.
        ended = error === null || openingError === error ? error : transferError(error, copy.written);
        finish();
      },
    });
    let openingError: Error | undefined;
    signal?.addEventListener('abort', onAbort, { once: true });
    if (isLost(source)) copy.fail(gone(source, 0));
    else if (signal?.aborted) onAbort();
    file.open((error) => {
      opening = false;
      if (error !== null) {
        openingError = error;
        if (ended === undefined)
          copy.fail(error, true); // it ends by this
        else finish();
      } else if (ended === undefined) copy.opened(file.fd, file.keepsParts);
      else finish();
    });
  });
}
