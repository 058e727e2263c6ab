/** Validation of what callers pass, in one place: what was expected, and what came. */
import { inspect } from 'node:util';

class ArgumentError extends TypeError {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

class ArgumentRangeError extends RangeError {
  readonly code = 'ERR_OUT_OF_RANGE';
}

const received = (value: unknown): string => `Received ${inspect(value, { depth: 0 })}`;

export function invalidArgument(name: string, expected: string, value: unknown): TypeError {
  return new ArgumentError('ERR_INVALID_ARG_TYPE', `'${name}' must be ${expected}. ${received(value)}`);
}

export function outOfRange(name: string, expected: string, value: unknown): RangeError {
  return new ArgumentRangeError(`'${name}' must be ${expected}. ${received(value)}`);
}

export function validateChoice<T extends string>(
  value: unknown,
  name: string,
  choices: readonly T[],
): asserts value is T {
  if (choices.includes(value as T)) return;
  const list = choices.map((choice) => `'${choice}'`).join(', ');
  throw new ArgumentError('ERR_INVALID_ARG_VALUE', `'${name}' must be one of ${list}. ${received(value)}`);
}

export function validateBoolean(value: unknown, name: string): void {
  if (typeof value !== 'boolean') throw invalidArgument(name, 'a boolean', value);
}

/** A whole number of bytes, or of things: from `min` to `max`, both inclusive. */
export function validateCount(value: unknown, name: string, min = 0, max: number = Number.MAX_SAFE_INTEGER): void {
  if (typeof value !== 'number') throw invalidArgument(name, 'a number', value);
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw outOfRange(name, `a whole number from ${min} to ${max}`, value);
  }
}

export function validateOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options', 'an object', options);
}

export function validatePath(path: unknown): void {
  if (typeof path === 'string' || Buffer.isBuffer(path) || path instanceof URL) return;
  throw invalidArgument('path', 'a string, Buffer or URL', path);
}

export function validateSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidArgument('signal', 'an AbortSignal', signal);
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
  validateOptions(range);
  const { offset = 0 } = range;
  validateCount(offset, 'offset', 0, total);
  const { length = total - offset } = range;
  validateCount(length, 'length', 0, total - offset);
  return { offset, length };
}
