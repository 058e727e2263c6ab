/** What became of the pipes that were looked at, in this thread. */
import type { TransferMethod } from '@zerocopy/core-syscalls';
import type { PipeKind } from './pipe-kind.js';

/** What {@link stats} answers: a copy, which does not change afterwards. */
export interface PipeStats {
  /** Pipes whose bytes went, wholly or in part, beneath Node's. */
  readonly transfers: number;
  /** Of those: by the kinds of their two ends. */
  readonly kinds: Readonly<Partial<Record<PipeKind, number>>>;
  /** Bytes that went beneath Node's pipes, by the method. */
  readonly bytes: Readonly<Partial<Record<TransferMethod, number>>>;
  /** Pipes that were left to Node from their beginning, by the reason, in words. */
  readonly declined: Readonly<Record<string, number>>;
  /** Pipes that were given back to Node at a byte in the middle, by the reason, in words. */
  readonly handedBack: Readonly<Record<string, number>>;
}

/** Reasons hold names of classes: beyond this many they are counted together. */
const REASONS_MAX = 100;
const OTHER_REASONS = 'other reasons';

const kinds = new Map<PipeKind, number>();
const bytes = new Map<TransferMethod, number>();
const declined = new Map<string, number>();
const handedBack = new Map<string, number>();

const add = <Key>(counts: Map<Key, number>, key: Key, count = 1): void => {
  counts.set(key, (counts.get(key) ?? 0) + count);
};

function addReason(counts: Map<string, number>, reason: string): void {
  add(counts, counts.has(reason) || counts.size < REASONS_MAX ? reason : OTHER_REASONS);
}

/** Counts a pipe that Node is left with from its beginning. */
export const countDeclined = (reason: string): void => addReason(declined, reason);

/** Counts a pipe that goes on by Node from the middle. */
export const countHandedBack = (reason: string): void => addReason(handedBack, reason);

/** Counts a pipe whose first bytes have gone beneath it. */
export const countTransfer = (kind: PipeKind): void => add(kinds, kind);

/** Counts bytes that have gone beneath a pipe. */
export const countBytes = (method: TransferMethod, count: number): void => add(bytes, method, count);

/** The counts of this thread, since this copy of the package was loaded. */
export function stats(): PipeStats {
  let transfers = 0;
  for (const count of kinds.values()) transfers += count;
  return {
    transfers,
    kinds: Object.fromEntries(kinds),
    bytes: Object.fromEntries(bytes),
    declined: Object.fromEntries(declined),
    handedBack: Object.fromEntries(handedBack),
  };
}

/** The same as lines for people. */
export function statsLines(): readonly string[] {
  const all = stats();
  const list = (counts: Readonly<Record<string, number>>): [string, number][] =>
    Object.entries(counts).sort(([, a], [, b]) => b - a);
  return [
    `pipes: ${all.transfers} moved beneath Node’s`,
    ...list(all.kinds).map(([kind, count]) => `  ${kind}: ${count}`),
    ...list(all.declined).map(([reason, count]) => `  left to Node, ${count}: ${reason}`),
    ...list(all.handedBack).map(([reason, count]) => `  given back to Node, ${count}: ${reason}`),
  ];
}
