/** A file, or a range of it, on its way: which engine sends it into what, all of them in the one machine of a transfer. */
import type { OutgoingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import type { EndKind } from '@zerocopy/core-syscalls';
import {
  bodyFraming,
  CacheDrop,
  type CachePolicy,
  isOutgoingMessage,
  isSocket,
  isStandardOutput,
  type SlotEngine,
  type SlotOutcome,
  SlotTransfer,
  TransferError,
  type WriteSlot,
} from '@zerocopy/transfer';
import { ChunkedEngine, Chunks } from './chunked-engine.js';
import type { SocketDestination } from './destination.js';
import { FileCopyEngine, FileSendfileEngine, type InFile, type OutFile } from './file-engine.js';
import { isMessage, isOvercommitted, reserve } from './message-body.js';
import { announcePlan, type SendPlan } from './send-plan.js';
import { SendfileEngine } from './sendfile-engine.js';
import { SlotCopyEngine } from './slot-copy-engine.js';
import type { SmallRead } from './small-file.js';
import { SmallFileEngine, StreamCopyEngine } from './stream-engine.js';

/** Where it goes. */
export type SendTarget =
  /** By the kernel, in a slot of the socket's write queue. */
  | SocketDestination
  /** Into a file: by the kernel, or copied where the plan says so. `kind` is told to subscribers. */
  | { readonly out: OutFile; readonly kind: EndKind }
  /** By the stream's own write. */
  | { readonly writable: Writable };

export interface FileSendOptions {
  readonly file: InFile;
  /** Told to subscribers. */
  readonly name: string | number | Buffer;
  readonly plan: SendPlan;
  readonly target: SendTarget;
  /** What has been read of a small file; `target` is its message. It is all of the plan. */
  readonly small?: SmallRead | undefined;
  readonly smallFileSize?: number;
  /** The message ends with it: its Content-Length is set, unless its headers are written or say otherwise. */
  readonly announces: boolean;
  /** Whether a small file ends its message by itself. */
  readonly endsMessage?: boolean | undefined;
  /** A pipe sends it: what a corked message has taken counts as sent, so that the pipe's end can uncork it. */
  readonly piped?: boolean;
  /** 'drop': what the sending brings into the page cache leaves it again. */
  readonly cache?: CachePolicy | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** @param begun whether its engine had been made: from then on the destination may have got bytes, or headers. */
  readonly onEnd: (outcome: SlotOutcome, begun: boolean) => void;
}

/** A transfer to be started, of `options.plan` to `options.target`. */
export function createFileSend(options: FileSendOptions): SlotTransfer {
  const { plan, target, signal, onProgress, onMoved, onEnd } = options;
  const { small } = options;
  const stream = streamOf(target);
  const message = isMessage(stream);
  let engine: SlotEngine | undefined;
  let drop: CacheDrop | undefined;
  if (message && Number.isFinite(plan.length)) reserve(stream, plan.length);
  const reason = reasonOf(plan, small, options.smallFileSize);
  return new SlotTransfer({
    destination: 'socket' in target && small === undefined ? target : undefined,
    written: 'writable' in target ? target.writable : small === undefined ? undefined : (stream as OutgoingMessage),
    atOnce: !plan.queued,
    length: plan.length,
    promised: plan.promised ? plan.length : undefined,
    method: reason === undefined ? 'sendfile' : 'copy',
    fallbackReason: reason,
    signal,
    onProgress:
      onProgress === undefined || ('socket' in target && small === undefined && !plan.queued)
        ? onProgress
        : progressOfCopy(onProgress, plan),
    onMoved: options.cache === 'drop' ? andDrop(onMoved, () => drop) : onMoved,
    onStarted: options.announces ? () => announcePlan(stream, plan) : undefined,
    about: { source: 'file', destination: kindOf(target), detail: { source: options.name } },
    engine: (slot) => {
      if (message) checkBody(stream, plan.length);
      if (options.cache === 'drop' && plan.position !== null) {
        drop = CacheDrop.of(options.cache, options.file.fd, plan.position);
      }
      engine = engineFor(slot, options, reason);
      return engine;
    },
    onEnd: (outcome) => {
      void drop?.end();
      const unsent = plan.length - outcome.result.bytes;
      if (message && unsent > 0 && Number.isFinite(unsent)) reserve(stream, -unsent);
      onEnd(outcome, engine !== undefined);
    },
  });
}

/** Counts bytes, and drops their pages behind them. */
function andDrop(
  onMoved: ((bytes: number) => void) | undefined,
  dropOf: () => CacheDrop | undefined,
): (bytes: number) => void {
  return (bytes) => {
    dropOf()?.moved(bytes);
    onMoved?.(bytes);
  };
}

/** A wait of a stream's own comes before the first byte; and of a file without a size nobody knows the total. */
function progressOfCopy(
  onProgress: (bytes: number, total?: number) => void,
  { promised, length }: SendPlan,
): (bytes: number) => void {
  return (bytes) => {
    if (bytes > 0) onProgress(bytes, promised ? length : undefined);
  };
}

function engineFor(slot: WriteSlot | undefined, options: FileSendOptions, reason: string | undefined): SlotEngine {
  const { file, plan, target, small } = options;
  const { position } = plan;
  if (small !== undefined) {
    const { stream } = target as SocketDestination;
    const { endsMessage = false, piped = false } = options;
    return new SmallFileEngine(stream as OutgoingMessage, small, endsMessage, piped, reason as string);
  }
  if ('writable' in target) {
    return new StreamCopyEngine(target.writable, file, position, reason ?? 'the file cannot be sent by the kernel');
  }
  if ('out' in target) {
    return reason === undefined
      ? new FileSendfileEngine(target.out, file, position as number)
      : new FileCopyEngine(target.out, file, position, reason);
  }
  const inner = plan.queued
    ? new SlotCopyEngine(slot as WriteSlot, file.fd, position as number, reason as string)
    : new SendfileEngine(slot as WriteSlot, file.fd, position as number);
  const chunked = isOutgoingMessage(target.stream) && bodyFraming(target.stream).kind === 'chunked';
  return chunked ? new ChunkedEngine(inner, new Chunks()) : inner;
}

/**
 * Its headers may have been written by others since the plan was made: by a subscriber of the start, by the writes before.
 * @throws {TransferError} if there is no room left for what is to be sent.
 */
function checkBody(stream: unknown, length: number): void {
  if (!isOvercommitted(stream, length)) return;
  throw new TransferError(`the Content-Length was set to fewer than the ${length} bytes to be sent`, {
    code: 'ERR_HTTP_CONTENT_LENGTH_MISMATCH',
    bytes: 0,
  });
}

/** The last reason, kept: it is the same for nearly every small file, and is looked up by its text when it is counted. */
let lastReason = { smallFileSize: 0, text: '' };

/** Why it is copied; undefined: the kernel sends it. */
export function reasonOf(
  plan: SendPlan,
  small: SmallRead | undefined,
  smallFileSize: number | undefined,
): string | undefined {
  return plan.refused ?? (small === undefined ? undefined : smallReason(smallFileSize));
}

/** Why a small file is copied. */
function smallReason(smallFileSize = 0): string {
  if (lastReason.text === '' || lastReason.smallFileSize !== smallFileSize) {
    const text = `the file is small: up to ${smallFileSize} bytes are cheaper to copy with the headers`;
    lastReason = { smallFileSize, text };
  }
  return lastReason.text;
}

const streamOf = (target: SendTarget): unknown =>
  'socket' in target ? target.stream : 'writable' in target ? target.writable : undefined;

function kindOf(target: SendTarget): EndKind {
  if ('out' in target) return target.kind;
  const stream = streamOf(target);
  if (isMessage(stream)) return 'http';
  if (isStandardOutput(stream)) return 'stdio';
  return isSocket(stream) ? 'socket' : 'stream';
}
