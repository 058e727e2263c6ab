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

export function validateType(value: unknown, name: string, expected: 'function' | 'boolean'): void {
  if (value !== undefined && typeof value !== expected) {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', `The option '${name}' must be a ${expected}. ${received(value)}`);
  }
}

/** A byte offset or a size: an integer from 0 to Number.MAX_SAFE_INTEGER. */
export function validateOffset(value: unknown, name: string): void {
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

export function validateLease(lease: unknown, leaseBreak: unknown): void {
  const isProvider = typeof (lease as { acquire?: unknown } | null)?.acquire === 'function';
  if (typeof lease !== 'boolean' && !isProvider) {
    throw new ArgumentError(
      'ERR_INVALID_ARG_TYPE',
      `The option 'lease' must be a boolean or an object with acquire(). ${received(lease)}`,
    );
  }
  validateChoice(leaseBreak, 'leaseBreak', ['finish', 'fail']);
}

/** Start and inclusive end, in bytes. */
export function validateRange(start: unknown, end: unknown): void {
  validateOffset(start, 'start');
  if (end !== Number.POSITIVE_INFINITY) validateOffset(end, 'end');
  if (start !== undefined && end !== undefined && (start as number) > (end as number)) {
    throw new ArgumentRangeError(`The option 'start' must be at most 'end' (${String(end)}). ${received(start)}`);
  }
}

/** A Writable, a FileHandle or a descriptor. */
export function validateDestination(value: unknown): void {
  const { write, on } = Object(value) as { write?: unknown; on?: unknown };
  if (typeof value === 'number' || (typeof write === 'function' && typeof on === 'function')) return;
  throw new ArgumentError(
    'ERR_INVALID_ARG_TYPE',
    `The destination must be a Writable, an HTTP message, a FileHandle or a descriptor. ${received(value)}`,
  );
}

export function validateSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', `The option 'signal' must be an AbortSignal. ${received(signal)}`);
  }
}
