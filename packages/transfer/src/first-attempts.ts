/** The attempts that a transfer makes before it waits for anything, not even for its turn in a queue. */
import { pieceSize, quantumSize } from './quantum.js';
import { NOT_RESIDENT, type TransferBefore, type TransferEngine } from './transfer.js';

/** Of a transfer without first attempts. */
export const NOTHING_MOVED: TransferBefore = { bytes: 0, syscalls: 0, result: undefined };

/** Attempts until `length` bytes, or a first turn's worth, are moved, or an attempt moves nothing. Runs no foreign code. */
export function attemptFirst(engine: TransferEngine, length: number): TransferBefore {
  const { pieceMin } = engine;
  const quantum = Math.min(length, quantumSize(true, pieceMin));
  let bytes = 0;
  let calls = 0;
  let last: number | undefined;
  while (bytes < quantum && last === undefined) {
    const result = engine.attempt(Math.min(quantum - bytes, pieceSize(pieceMin)));
    if (result > NOT_RESIDENT) calls++;
    if (result > 0) bytes += result;
    else last = result; // dealt with when the slot has come
  }
  return { bytes, syscalls: calls, result: last };
}
