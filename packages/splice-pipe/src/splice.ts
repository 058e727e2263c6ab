/** Bytes from one place to another, as a promise. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TransferResult } from '@zerocopy/core-syscalls';
import { abortError, readOptions, Transfer, TransferError, transferError } from '@zerocopy/transfer';
import {
  type DestinationEnd,
  holdErrors,
  isDescriptor,
  openDestination,
  openSource,
  type SourceEnd,
  type SpliceDestination,
  type SpliceSource,
} from './endpoint.js';
import { validateBytes, validateChoice, validateFunction, validateSignal } from './options.js';
import { closed, Relay, type RelayOutcome } from './relay.js';
import { isRequest, openRequest } from './request-body.js';
import { StreamCopyEngine } from './stream-copy.js';

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
}

/**
 * Moves bytes from a socket, pipe, file or HTTP request to a socket, pipe or file, inside the kernel.
 *
 * Neither end is closed or ended; a socket can be used as an ordinary stream afterwards. With `length`, what follows
 * stays in the source. The end of the source before `length` is not an error: `bytes` tells.
 *
 * @returns how many bytes went, and how. Rejects with a {@link TransferError}, whose `bytes` had arrived; with a
 * TypeError or RangeError for arguments that are none.
 */
export async function splice(
  source: SpliceSource | IncomingMessage,
  destination: SpliceDestination,
  given: SpliceOptions = {},
): Promise<TransferResult> {
  const options = readOptions<SpliceOptions>(given, ['length', 'signal', 'onProgress', 'fallback']);
  validateBytes(options.length, 'length');
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  validateChoice(options.fallback ?? 'auto', 'fallback', ['auto', 'never']);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  const release = holdErrors([source, destination]);
  let from: SourceEnd | undefined;
  let to: DestinationEnd | undefined;
  try {
    const length = options.length ?? Number.POSITIVE_INFINITY;
    // At once: the caller may close a descriptor, and its number be used again, in this very turn (rule 40).
    if (isDescriptor(destination)) to = openDestination(destination);
    if (isDescriptor(source)) from = openSource(source, length);
    await Promise.all([connected(source, options.signal), connected(destination, options.signal)]);
    to ??= openDestination(destination);
    from ??= isRequest(source) ? await openRequest(source, length) : openSource(source, length);
    const refused = from.refused ?? to.refused;
    if (refused !== undefined && options.fallback === 'never') {
      throw new TransferError(`the kernel cannot move these bytes: ${refused} (fallback is 'never')`, {
        code: 'ERR_ZEROCOPY_UNAVAILABLE',
        bytes: 0,
      });
    }
    return await (refused === undefined
      ? byKernel(from, to, length, options)
      : byNode(from, to, length, options, refused));
  } finally {
    from?.dispose();
    to?.dispose();
    release();
  }
}

/** Resolves once a socket that is still connecting has connected. */
export function connected(thing: unknown, signal?: AbortSignal): Promise<void> | undefined {
  const socket = thing as Partial<Socket> | null;
  if (typeof socket !== 'object' || socket?.connecting !== true) return undefined;
  return new Promise((resolve, reject) => {
    const connecting = socket as Socket;
    const settle = (done: () => void) => (): void => {
      connecting.off('connect', onConnect).off('error', onError).off('close', onClose);
      signal?.removeEventListener('abort', onAbort);
      done();
    };
    const onConnect = settle(resolve);
    const onError = (error: Error): void => settle(() => reject(transferError(error, 0)))();
    const onClose = settle(() => reject(closed('destination')));
    const onAbort = settle(() => reject(abortError(signal as AbortSignal, 0)));
    connecting.on('connect', onConnect).on('error', onError).on('close', onClose);
    signal?.addEventListener('abort', onAbort);
  });
}

function byKernel(
  from: SourceEnd,
  to: DestinationEnd,
  length: number,
  { signal, onProgress }: SpliceOptions,
): Promise<TransferResult> {
  return new Promise((resolve, reject) => {
    const onSourceClose = (): void => relay.lost(from.socket?.errored ?? closed('source'), 'source');
    const relay = new Relay({
      source: from.take,
      destination: to.target,
      eager: true,
      length: Math.min(length, from.promised ?? length),
      signal,
      onProgress,
      onEnd(outcome) {
        from.socket?.off('close', onSourceClose);
        signal?.removeEventListener('abort', onAbort);
        settle(relay, outcome, from.socket);
        const { error, result } = outcome;
        if (error !== null) reject(error);
        else if (result.bytes < (from.promised ?? 0)) reject(transferError(closed('source'), result.bytes));
        else resolve(result);
      },
    });
    const onAbort = (): void => relay.stop(abortError(signal as AbortSignal, relay.bytes));
    from.socket?.on('close', onSourceClose);
    signal?.addEventListener('abort', onAbort, { once: true });
    relay.start();
  });
}

/** What a failure does to the two streams: the one that failed fails as after a call of Node's own; the other stays. */
export function settle(relay: Relay, { error, failed }: RelayOutcome, source: Socket | undefined): void {
  const cause = error?.cause instanceof Error ? error.cause : (error ?? undefined);
  relay.release(failed === 'destination' ? cause : undefined);
  if (failed === 'source') source?.destroy(cause);
}

function byNode(
  from: SourceEnd,
  to: DestinationEnd,
  length: number,
  { signal, onProgress }: SpliceOptions,
  refused: string,
): Promise<TransferResult> {
  return new Promise((resolve, reject) => {
    const destination = to.stream();
    const engine = new StreamCopyEngine(from.stream(), destination, refused);
    // Also while the source brings nothing, and nothing is written that would fail.
    const onClose = (): void => transfer.lost(destination.errored ?? closed('destination'));
    const transfer = new Transfer({
      engine,
      length,
      signal,
      onProgress,
      onEnd(error, result) {
        destination.off('close', onClose);
        engine.close();
        if (error === null) resolve(result);
        else reject(error);
      },
    });
    destination.on('close', onClose);
    transfer.start();
    if (destination.destroyed) onClose();
  });
}
