/** What is particular to the arguments of this package; the rest is checked as in every other (transfer's options.ts). */
import { inspect } from 'node:util';
import { invalidArgument } from '@zerocopy/transfer';

class ArgumentRangeError extends RangeError {
  readonly code = 'ERR_OUT_OF_RANGE';
}

/** ERR_OUT_OF_RANGE. */
export function outOfRange(name: string, expected: string, value: unknown): RangeError {
  return new ArgumentRangeError(`'${name}' must be ${expected}. Received ${inspect(value, { depth: 0 })}`);
}

/** A whole number of bytes, or of things: from `min` to `max`, both inclusive. */
export function validateCount(value: unknown, name: string, min = 0, max: number = Number.MAX_SAFE_INTEGER): void {
  if (typeof value !== 'number') throw invalidArgument(name, 'a number', value);
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw outOfRange(name, `a whole number from ${min} to ${max}`, value);
  }
}

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
