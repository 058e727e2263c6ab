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
  return new ArgumentError('ERR_INVALID_ARG_TYPE', `The argument '${name}' must be ${expected}. ${received(value)}`);
}

export function validateChoice<T extends string>(
  value: unknown,
  name: string,
  choices: readonly T[],
): asserts value is T {
  if (!choices.includes(value as T)) {
    const list = choices.map((choice) => `'${choice}'`).join(', ');
    throw new ArgumentError('ERR_INVALID_ARG_VALUE', `The option '${name}' must be one of ${list}. ${received(value)}`);
  }
}

export function validateFunction(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'function') {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', `The option '${name}' must be a function. ${received(value)}`);
  }
}

/** A number of bytes: an integer from 0 to Number.MAX_SAFE_INTEGER. */
export function validateBytes(value: unknown, name: string): void {
  if (value === undefined) return;
  if (typeof value !== 'number') {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', `The option '${name}' must be a number. ${received(value)}`);
  }
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new ArgumentRangeError(
      `The option '${name}' must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}. ${received(value)}`,
    );
  }
}

/** The longest time a timer of Node's takes, in milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** Milliseconds; 0 or Infinity: no limit. Answers with 0 for both. */
export function timeoutOf(value: unknown, name: string, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value !== 'number') {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', `The option '${name}' must be a number. ${received(value)}`);
  }
  if (value === Number.POSITIVE_INFINITY) return 0;
  if (!(value >= 0 && value <= MAX_TIMEOUT)) {
    throw new ArgumentRangeError(
      `The option '${name}' must be a number of milliseconds from 0 to ${MAX_TIMEOUT}, or Infinity. ${received(value)}`,
    );
  }
  return value;
}

export function validateSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', `The option 'signal' must be an AbortSignal. ${received(signal)}`);
  }
}
