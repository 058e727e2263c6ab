/** Bytes from one place to another, as a promise. */
import type { IncomingMessage, OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { constants, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  CacheDrop,
  type CachePolicy,
  closedEarly,
  isAwaitingSocket,
  isOutgoingMessage,
  KernelPathUnavailableError,
  readOptions,
  type Side,
  transferError,
  validateBytes,
  validateChoice,
  validateFunction,
  validateSignal,
} from '@zerocopy/transfer';
import { KernelFileDestination } from './destination.js';
import {
  type DestinationEnd,
  type HeldFile,
  holdErrors,
  isDescriptor,
  openDestination,
  openSource,
  type SourceEnd,
  type SpliceDestination,
  type SpliceSource,
} from './endpoint.js';
import { StreamDestination, StreamSource } from './plain-streams.js';
import { Relay, type RelayOptions, type RelayOutcome } from './relay.js';
import { isRequest, isThrownAway, openRequest } from './request-body.js';

/** Of {@link splice}: how much, and who is told. */
export interface SpliceOptions {
  /** Bytes to move, at most. Default: up to the source's end. */
  length?: number;
  /**
   * Stops where it is: rejects with the code ABORT_ERR. Both streams stay open, and nothing is lost; only what has
   * been read from a bare descriptor, at most one pipe's worth, can be given back to nobody.
   */
  signal?: AbortSignal;
  /** After every pause of the transfer and at its end; `bytes` so far, `total` if `length` is given. */
  onProgress?: (bytes: number, total?: number) => void;
  /** 'auto' (the default): copy where the kernel cannot. 'never': reject with ERR_ZEROCOPY_UNAVAILABLE instead. */
  fallback?: 'auto' | 'never';
  /**
   * Of a destination that is a file. 'drop': pages that the transfer has brought into the page cache leave it again when they
   * have been written to the disk; those that were there before stay. Default 'keep'.
   */
  cache?: CachePolicy;
}

/**
 * Moves bytes from a socket, pipe, file or HTTP message that is received to a socket, pipe, file or HTTP message that is
 * sent, inside the kernel.
 *
 * Neither end is closed or ended; a socket can be used as an ordinary stream afterwards. With `length`, what follows
 * stays in the source, and so does what a destination with a Content-Length has no room for. The end of the source before
 * `length` is not an error: `bytes` tells. The end of an HTTP body before its Content-Length is one; and so is that of a file
 * which is cut short on its way (ERR_FILE_TRUNCATED), where `length` or the destination's Content-Length asked for what it had.
 *
 * @returns how many bytes went, and how. Rejects with a TransferError, whose `bytes` had arrived; with a TypeError or
 * RangeError for invalid arguments.
 */
export function splice(
  source: SpliceSource,
  destination: SpliceDestination,
  given: SpliceOptions = {},
): Promise<TransferResult> {
  return spliceInto(source, destination, given);
}

/** {@link splice}, also into a file that the caller keeps open. */
export async function spliceInto(
  source: SpliceSource,
  destination: SpliceDestination | HeldFile,
  given: SpliceOptions,
): Promise<TransferResult> {
  const options = readOptions<SpliceOptions>(given, ['length', 'signal', 'onProgress', 'fallback', 'cache']);
  validateBytes(options.length, 'length');
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  validateChoice(options.fallback ?? 'auto', 'fallback', ['auto', 'never']);
  validateChoice(options.cache ?? 'keep', 'cache', ['keep', 'drop']);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  const release = holdErrors([source, destination]);
  let from: SourceEnd | undefined;
  let to: DestinationEnd | undefined;
  try {
    const length = options.length ?? Number.POSITIVE_INFINITY;
    // At once: the caller may close a descriptor, and its number be used again, in this very turn (kernel-rules: fd-reuse).
    if (isDescriptor(destination)) to = openDestination(destination);
    if (isDescriptor(source)) from = openSource(source, length);
    await Promise.all([
      connected(source, 'source', options.signal),
      connected(destination, 'destination', options.signal),
    ]);
    to ??= openDestination(destination);
    const most = Math.min(length, to.room ?? length);
    from ??= isRequest(source) ? await openBody(source, most) : openSource(source, most);
    const refused = from.refused ?? to.refused;
    if (refused !== undefined && options.fallback === 'never') {
      throw new KernelPathUnavailableError('the kernel cannot move these bytes', refused);
    }
    return await run(from, to, { length, copied: refused }, options);
  } finally {
    from?.dispose();
    to?.dispose();
    release();
  }
}

/**
 * A body of which Node has thrown away what it had brought, because the answer was complete before anybody read it, can
 * only be told from a whole one here.
 */
async function openBody(message: IncomingMessage, length: number): Promise<SourceEnd> {
  if (isThrownAway(message)) throw closedEarly('source', 0);
  const untouched = !message.readableDidRead && !message.destroyed;
  const end = await openRequest(message, length);
  // Of a body that has been read in part, how much is left is not known.
  return untouched || end.refused === undefined
    ? { kind: 'http', ...end }
    : { kind: 'http', ...end, promised: undefined };
}

/** Resolves once a socket that is still connecting has connected, and an HTTP request has got its own. */
export function connected(thing: unknown, side: Side, signal?: AbortSignal): Promise<void> | undefined {
  if (isOutgoingMessage(thing)) {
    if (isAwaitingSocket(thing))
      return happened(thing, 'socket', side, signal).then(() => connected(thing, side, signal));
    return connected(thing.socket, side, signal);
  }
  const socket = thing as Partial<Socket> | null | undefined;
  if (typeof socket !== 'object' || socket?.connecting !== true) return undefined;
  return happened(socket as Socket, 'connect', side, signal);
}

function happened(
  stream: Socket | OutgoingMessage,
  event: 'connect' | 'socket',
  side: Side,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void): void => {
      stream.off(event, onEvent).off('error', onError).off('close', onClose);
      signal?.removeEventListener('abort', onAbort);
      done();
    };
    const onEvent = (): void => settle(resolve);
    const onError = (error: Error): void => settle(() => reject(transferError(error, 0)));
    const onClose = (): void => settle(() => reject(closedEarly(side, 0)));
    const onAbort = (): void => settle(() => reject(abortError(signal as AbortSignal, 0)));
    stream.on(event, onEvent).on('error', onError).on('close', onClose);
    signal?.addEventListener('abort', onAbort);
  });
}

/** The two ends for the kernel, or, where it refuses one, for their own reading and writing. */
function endsOf(
  from: SourceEnd,
  to: DestinationEnd,
  copied: string | undefined,
  onTouched: (how: string) => void,
): Pick<RelayOptions, 'source' | 'destination' | 'socket' | 'written' | 'copied'> {
  if (copied === undefined) return { source: () => from.take(onTouched), destination: to.target, socket: from.socket };
  const stream = from.stream();
  const source = (): StreamSource => new StreamSource(stream, to.textError);
  // Not by a stream, which would be closed, or left, while a write of its own is under way.
  if (to.file !== undefined) return { source, destination: to.file, copied };
  const written = to.stream();
  return {
    source,
    destination: new StreamDestination(written),
    written,
    copied,
  };
}

/** What is to be moved: `before` has been, by a transfer that other code has put an end to. */
interface Task {
  readonly length: number;
  readonly copied: string | undefined;
  readonly before?: TransferResult;
}

function run(
  from: SourceEnd,
  to: DestinationEnd,
  { length, copied, before }: Task,
  options: SpliceOptions,
): Promise<TransferResult> {
  const { signal, onProgress } = options;
  const done = before?.bytes ?? 0;
  const promised = Number.isSafeInteger(from.promised) ? (from.promised as number) - done : undefined;
  const most = Math.min(length, to.room ?? length, (copied === undefined ? promised : undefined) ?? length);
  // Where nobody knows how much is wanted, the end of the file is the end, wherever it is by then.
  const extent = Number.isFinite(most) ? from.extent?.() : undefined;
  const bound = promised ?? extent?.bytes;
  let touched: string | undefined;
  const drop = options.cache === 'drop' ? dropOf(to) : undefined;
  return new Promise((resolve, reject) => {
    const relay = new Relay({
      ...endsOf(from, to, copied, (how) => {
        touched = `the connection was given back: ${how}`;
        relay.stop(null, touched);
      }),
      eager: true,
      destinationStays: true,
      length: most,
      promised: bound === undefined ? undefined : Math.min(bound, most),
      endedEarly: (bytes, due) => (extent === undefined ? closedEarly('source', bytes) : extent.shortfall(bytes, due)),
      signal,
      onProgress: onProgress && ((bytes, total) => onProgress(done + bytes, total && done + total)),
      onMoved: drop === undefined ? to.moved : (bytes) => drop.moved(bytes),
      about: { source: from.kind, destination: to.kind },
      onEnd(outcome) {
        void drop?.end();
        settle(relay, outcome, copied === undefined ? from.socket : undefined);
        const { error, result, ended } = outcome;
        if (error !== null) reject(done === 0 ? error : transferError(error, done + error.bytes));
        else if (touched !== undefined && !ended && result.bytes < most) {
          // Node has it back, and brings the rest.
          if (options.fallback === 'never') reject(new KernelPathUnavailableError('the kernel cannot go on', touched));
          else resolve(run(from, to, { length: length - result.bytes, copied: touched, before: result }, options));
        } else resolve(before === undefined ? result : sum(before, result));
      },
    });
    relay.start();
  });
}

/** Of a file that is written to at its own position. */
function dropOf({ target }: DestinationEnd): CacheDrop | undefined {
  if (!(target instanceof KernelFileDestination)) return undefined;
  const fd = target.descriptor();
  return CacheDrop.of('drop', fd, Math.max(0, syscalls.lseek(fd, 0, constants.SEEK_CUR)), 'written');
}

function sum(before: TransferResult, result: TransferResult): TransferResult {
  return {
    ...result,
    bytes: before.bytes + result.bytes,
    syscalls: before.syscalls + result.syscalls,
    durationMs: before.durationMs + result.durationMs,
  };
}

/** What a failure does to the two streams: the one that failed fails as after a call of Node's own; the other stays. */
export function settle(relay: Relay, { error, failed, ended }: RelayOutcome, source: Socket | undefined): void {
  const cause = error?.cause instanceof Error ? error.cause : (error ?? undefined);
  relay.release();
  if (failed === 'source' && !ended) source?.destroy(cause);
}
