/** One source to several destinations, as a promise. */
import { fstatSync } from 'node:fs';
import { TransferError, type TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  invalidArgument,
  isOutgoingMessage,
  isSocket,
  isStandardOutput,
  readOptions,
  type SlotDestination,
  SlotTransfer,
  socketDescriptor,
  socketOfMessage,
  timeoutOf,
  validateBytes,
  validateFunction,
  validateSignal,
  type WriteSlot,
} from '@zerocopy/transfer';
import { type KernelDestination, KernelSocketDestination } from './destination.js';
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
import { feature } from './feature.js';
import { StreamDestination, StreamSource } from './plain-streams.js';
import type { KernelSource } from './source.js';
import { connected, type SpliceOptions } from './splice.js';
import { TeeBranch } from './tee-branch.js';
import { TeeEngine } from './tee-engine.js';

/** Of {@link tee}: how much, how long a destination may lag behind, and who is told. */
export interface TeeOptions extends Omit<SpliceOptions, 'fallback' | 'signal'> {
  /** Stops it: rejects with the code ABORT_ERR. The streams stay open; a piece may have reached some of them only. */
  signal?: AbortSignal;
  /**
   * Milliseconds that a destination may keep the others waiting with one piece; then it is dropped, with the code
   * ERR_DESTINATION_TOO_SLOW, and the others go on. Default 0: the slowest sets the pace.
   */
  dropAfter?: number;
}

/** What became of one destination. */
export interface TeeBranchResult {
  /** Bytes handed to it. */
  readonly bytes: number;
  /** Why it was dropped; absent if it got everything. */
  readonly error?: TransferError;
}

/** What a tee resolves with: `bytes` are those of the source. */
export interface TeeResult extends TransferResult {
  /** In the order of the argument. */
  readonly destinations: readonly TeeBranchResult[];
}

/** A tee that did not reach the source's end. */
export class TeeError extends TransferError {
  /** In the order of the argument. */
  readonly destinations: readonly TeeBranchResult[];

  /** @param error that ended it: its message, code, bytes and cause are those of the whole. */
  constructor(error: TransferError, destinations: readonly TeeBranchResult[]) {
    super(error.message, { code: error.code, bytes: error.bytes, cause: error.cause });
    this.destinations = destinations;
  }
}

/**
 * Moves what `source` brings to each of `destinations`. A destination that fails is dropped, and destroyed if it is a
 * socket; the others go on, and `destinations` in the result says so. It rejects when all have failed, or the source.
 *
 * @param source a socket, pipe or descriptor of either that the kernel can read.
 * @param destinations sockets, pipes and files, each once; none is ended.
 */
export async function tee(
  source: SpliceSource,
  destinations: readonly SpliceDestination[],
  given: TeeOptions = {},
): Promise<TeeResult> {
  const options = readOptions<TeeOptions>(given, ['length', 'signal', 'onProgress', 'dropAfter']);
  if (!Array.isArray(destinations) || destinations.length === 0) {
    throw invalidArgument('destinations', 'an array of at least one destination', destinations);
  }
  validateBytes(options.length, 'length');
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  timeoutOf(options.dropAfter, 'dropAfter', 0);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  const release = holdErrors([source, ...destinations]);
  const ends: (DestinationEnd | undefined)[] = [];
  let from: SourceEnd | undefined;
  const branches: TeeBranch[] = [];
  try {
    const length = options.length ?? Number.POSITIVE_INFINITY;
    // At once: the caller may close a descriptor, and its number be used again, in this very turn (kernel-rules: fd-reuse).
    if (isDescriptor(source)) from = openSource(source, length);
    for (const [index, destination] of destinations.entries()) {
      if (isDescriptor(destination)) ends[index] = openDestination(destination);
    }
    await Promise.all([
      connected(source, 'source', options.signal),
      ...destinations.map((destination) => connected(destination, 'destination', options.signal)),
    ]);
    from ??= openSource(source, length);
    for (const [index, destination] of destinations.entries()) ends[index] ??= openDestination(destination);
    validateDistinct(destinations, ends as DestinationEnd[]);
    return await run(from, ends as DestinationEnd[], branches, length, options);
  } finally {
    await Promise.all(branches.map((branch) => branch.idle()));
    for (const branch of branches) branch.release();
    from?.dispose();
    for (const end of ends) end?.dispose();
    release();
  }
}

/** A destination that is named twice would wait for itself: its slot is held until all have got a piece. */
function validateDistinct(destinations: readonly unknown[], ends: readonly DestinationEnd[]): void {
  const seen = new Set<unknown>();
  for (const [index, destination] of destinations.entries()) {
    const names: unknown[] = [
      isOutgoingMessage(destination) ? (socketOfMessage(destination) ?? destination) : destination,
    ];
    const { socket } = ends[index] as DestinationEnd;
    const fd = socket === undefined ? -1 : socketDescriptor(socket);
    if (fd >= 0) {
      const { dev, ino } = fstatSync(fd, { bigint: true });
      names.push(`${dev}:${ino}`);
    }
    if (names.some((name) => seen.has(name))) {
      throw invalidArgument('destinations', 'an array that names each destination once', destinations);
    }
    for (const name of names) seen.add(name);
  }
}

const resultsOf = (branches: readonly TeeBranch[]): TeeBranchResult[] =>
  branches.map(({ bytes, error }) => (error === undefined ? { bytes } : { bytes, error }));

/** A stream that has got a part of the whole must not look complete. Standard output only goes without the rest. */
function destroyDropped(stream: unknown, error: TransferError, slot?: WriteSlot): void {
  if (isStandardOutput(stream)) {
    slot?.end();
    return;
  }
  slot?.abandon();
  if (isSocket(stream)) stream.destroy(error);
}

/** By the streams' own writing. */
function copyingBranch(end: DestinationEnd): TeeBranch {
  const stream = end.stream();
  return new TeeBranch(new StreamDestination(stream), (error) => destroyDropped(stream, error));
}

function slotBranch({ socket }: SlotDestination, slot: WriteSlot): TeeBranch {
  return new TeeBranch(new KernelSocketDestination(slot), (error) => destroyDropped(socket, error, slot));
}

function run(
  from: SourceEnd,
  ends: readonly DestinationEnd[],
  branches: TeeBranch[],
  length: number,
  { signal, onProgress, dropAfter }: TeeOptions,
): Promise<TeeResult> {
  const refused =
    feature('tee').reason ??
    from.refused ??
    (from.socket === undefined ? 'the source is a file' : undefined) ??
    ends.find((end) => end.refused !== undefined)?.refused ??
    (ends.some(({ kind }) => kind === 'http') ? 'a destination is an HTTP message' : undefined);
  const slotted = refused === undefined ? ends.filter(({ target }) => isSocket(target)) : [];
  const destinations = slotted.map(({ socket }) => ({ stream: socket, socket }) as SlotDestination);
  return new Promise((resolve, reject) => {
    let source: KernelSource | undefined;
    let engine: TeeEngine | undefined;
    const transfer = new SlotTransfer({
      destination: destinations,
      source: refused === undefined ? from.socket : undefined,
      engine(_slot, slots) {
        const bySlot = destinations.map((destination, index) => slotBranch(destination, slots[index] as WriteSlot));
        for (const end of ends) {
          const slot = slotted.indexOf(end);
          if (refused !== undefined) branches.push(copyingBranch(end));
          else if (slot >= 0) branches.push(bySlot[slot] as TeeBranch);
          else branches.push(new TeeBranch(end.target as KernelDestination));
        }
        source = refused === undefined ? from.take() : new StreamSource(from.stream());
        engine = new TeeEngine({ source, branches, bySlot, dropAfter: timeoutOf(dropAfter, 'dropAfter', 0), refused });
        return engine;
      },
      length,
      method: refused === undefined ? 'splice' : 'copy',
      fallbackReason: refused,
      signal,
      onProgress,
      about: { source: from.kind, destination: sameKind(ends) },
      onEnd(outcome) {
        source?.giveBack(engine?.close() ?? Buffer.alloc(0), engine?.ended ?? false, engine?.missing);
        for (const branch of branches) branch.close();
        transfer.settle('keep');
        if (outcome.kind !== 'failed') {
          resolve({ ...outcome.result, destinations: resultsOf(branches) });
          return;
        }
        const { error, side } = outcome;
        const cause = error.cause instanceof Error ? error.cause : undefined;
        if (side === 'source' && refused === undefined) from.socket?.destroy(cause);
        // What a call on another thread writes is counted, too.
        void Promise.all(branches.map((branch) => branch.idle())).then(() =>
          reject(engine === undefined ? error : new TeeError(error, resultsOf(branches))),
        );
      },
    });
    transfer.start();
  });
}

/** What is published of several: their kind, where they have one in common. */
function sameKind([first, ...others]: readonly DestinationEnd[]): DestinationEnd['kind'] {
  return others.every(({ kind }) => kind === first?.kind) ? first?.kind : undefined;
}
