/** One call of `sendFile`, once its file is open: what all kinds of destinations need of it. */
import { constants, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import { type CachePolicy, KernelPathUnavailableError, type SlotOutcome, type SlotTransfer } from '@zerocopy/transfer';
import type { Resolution } from './destination.js';
import { createFileSend, type FileSendOptions } from './file-send.js';
import { isLeaseBroken, type LeaseOptions } from './lease.js';
import type { OpenFile } from './open-file.js';
import { whenTurnIsLost } from './queued-response.js';
import { planSend, type SendPlan } from './send-plan.js';
import { SMALL_FILE_SIZE } from './small-file.js';

/** What `sendFile` takes besides its destination and its file. */
export interface SendFileOptions extends LeaseOptions {
  /** First byte, from 0. Default 0; for a descriptor or FileHandle its own position. */
  start?: number;
  /** Last byte, inclusive. Default: the end of the file. */
  end?: number;
  /** Ends the transfer where it is: it rejects with an AbortError. */
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
  /**
   * 'drop': pages that the sending has brought into the page cache leave it again, those that a slow receiver has to get yet some seconds later;
   * those that were there before stay. Default 'keep'.
   */
  cache?: CachePolicy;
  /**
   * Whether a file that is given by its path may stay open for the next call, see {@link keepFilesOpen}. Each call makes sure
   * that it is still what the path leads to, unchanged. Default true.
   */
  keepOpen?: boolean;
}

export interface SendJob {
  /** Held by the job for as long as it lasts. */
  readonly file: OpenFile;
  /** Where no `start` is given: from the descriptor's own position, and not from the file's first byte. */
  readonly fromOwnPosition: boolean;
  readonly options: SendFileOptions;
  /** Its file may be closed as one that was opened in this turn of the event loop: see {@link OpenFile.releaseInSameTurn}. */
  readonly openedInThisTurn: boolean;
}

/**
 * What is to be sent into `stream`.
 * @param resolved undefined: a descriptor.
 * @throws {KernelPathUnavailableError} if the kernel cannot, and nothing else is wanted.
 */
export function planOf(job: SendJob, stream: unknown, resolved: Resolution | undefined): SendPlan {
  const { file, options } = job;
  const { end = Number.POSITIVE_INFINITY, endMessage, smallFileSize = SMALL_FILE_SIZE } = options;
  const never = options.fallback === 'never';
  const plan = planSend({
    facts: file.facts,
    position: positionOf(job),
    last: end,
    stream,
    resolved,
    ends: endMessage,
    smallFileSize: never ? 0 : smallFileSize,
  });
  if (never && plan.refused !== undefined) throw unavailable(plan.refused);
  return plan;
}

/** Of the first byte; null: wherever the descriptor's own position is, which for some (a FIFO) is nowhere. */
function positionOf({ file, fromOwnPosition, options: { start } }: SendJob): number | null {
  if (start !== undefined) return start;
  if (!file.facts.sendable) return null;
  if (!fromOwnPosition) return 0;
  const current = syscalls.lseek(file.fd, 0, constants.SEEK_CUR);
  return current < 0 ? null : current;
}

/** The error of `fallback: 'never'`. */
export const unavailable = (reason: string): KernelPathUnavailableError =>
  new KernelPathUnavailableError('the kernel cannot send this file', reason);

/** Whether the caller's signal has ended it, and not a broken lease: bytes that end so must not look whole. */
export const wasAborted = ({ options: { signal } }: SendJob): boolean =>
  signal?.aborted === true && !isLeaseBroken(signal.reason);

/**
 * Runs one transfer of `job`.
 * @param onFailure before it is told: what becomes of the connection. `begun`: it may have got bytes, or headers.
 */
export function runJob(
  { file, options }: SendJob,
  what: Pick<FileSendOptions, 'target' | 'plan' | 'small' | 'endsMessage'>,
  onFailure?: (transfer: SlotTransfer, outcome: SlotOutcome & { readonly kind: 'failed' }, begun: boolean) => void,
): Promise<TransferResult> {
  const { target, plan, small, endsMessage } = what;
  return new Promise((resolve, reject) => {
    // Every property is named. For a literal that goes on after a spread the V8 of Node 20 makes new hidden classes in
    // each call, which no code is optimised for: measured, 20 of the 88 us of a small file.
    const transfer = createFileSend({
      file,
      name: file.path ?? file.fd,
      plan,
      target,
      small,
      announces: plan.ends,
      smallFileSize: options.smallFileSize ?? SMALL_FILE_SIZE,
      endsMessage,
      cache: options.cache,
      signal: options.signal,
      onProgress: options.onProgress,
      onEnd: (outcome, begun) => {
        unwatch();
        if (outcome.kind !== 'failed') return resolve(outcome.result);
        onFailure?.(transfer, outcome, begun);
        reject(outcome.error);
      },
    });
    let unwatch = (): void => {};
    transfer.start();
    if (transfer.ended) return;
    const stream = 'writable' in target ? target.writable : 'socket' in target ? target.stream : undefined;
    if (stream !== undefined) unwatch = whenTurnIsLost(stream, () => transfer.lost(null, 'destination'));
  });
}
