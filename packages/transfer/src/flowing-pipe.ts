/**
 * What Node 26.12 and later do in a pipe that flows. Where a Readable of bytes has one destination, a chunk goes from one `_read`
 * to the `_write` of the other: neither 'data' is emitted nor `write` called for it, and the next `_read` comes while the
 * chunk before is still in Node's hand, and counted nowhere (flowSync and writeKnownBuffer in lib/internal/streams).
 */
import type { Readable } from 'node:stream';

interface FlowingState {
  readonly fastChunk?: unknown;
  pipeOnData?: unknown;
}

const stateOf = (source: Readable): FlowingState | undefined =>
  (source as unknown as { _readableState?: FlowingState })._readableState;

/** By which the bits of every Readable's state are kept; looked for once. */
let bitsKey: symbol | undefined;

/** The bit of the state that is set while flowSync is inside of `_read`. */
const FAST_PUSH = 1 << 30;

/**
 * To be asked within `_read`: whether Node has a chunk that it has not delivered yet, besides those that `readableLength` counts.
 * What is sent beneath the pipe now would arrive before it. Where that cannot be known, it may be so.
 */
export function hasChunkInHand(source: Readable): boolean {
  const state = stateOf(source);
  if (state === undefined || !('fastChunk' in state)) return false;
  bitsKey ??= Object.getOwnPropertySymbols(state).find(({ description }) => description === 'kState');
  const bits = bitsKey && (state as Record<symbol, unknown>)[bitsKey];
  return typeof bits !== 'number' || (bits & FAST_PUSH) !== 0;
}

/** Makes the pipe of `source` call the `write` of its destination for every chunk, as before: to be called on 'pipe'. */
export function writeEachChunk(source: unknown): void {
  const state = stateOf(source as Readable);
  if (state?.pipeOnData) state.pipeOnData = null; // what Node does itself where there are two destinations
}
