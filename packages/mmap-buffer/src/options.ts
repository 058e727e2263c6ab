/** What is particular to the arguments of this package; the rest is checked as in every other (transfer's options.ts). */
import { invalidArgument, validateCount } from '@zerocopy/transfer';

/** Part of something of `total` bytes. */
export interface ByteRange {
  /** In bytes from the start. Default 0. */
  offset?: number;
  /** In bytes. Default: to the end. */
  length?: number;
}

/** @returns both in bytes. @throws {RangeError} ERR_OUT_OF_RANGE if it reaches beyond `total`. */
export function resolveRange(range: ByteRange, total: number): Required<ByteRange> {
  if (typeof range !== 'object' || range === null) throw invalidArgument('range', 'an object', range);
  const { offset = 0, length: given } = range;
  validateCount(offset, 'offset', 0, total);
  const length = given ?? total - offset;
  validateCount(length, 'length', 0, total - offset);
  return { offset, length };
}
