/**
 * Checks of options and arguments. They come from code of any kind: objects with getters, parsed JSON, values of
 * another realm. Each is read once, and checked by its shape as node:fs does, so that an AbortSignal or a URL that Node
 * has not made is accepted as well. Every message says what was expected and what was received.
 */
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

type Code = 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE' | 'ERR_OUT_OF_RANGE';

const received = (value: unknown): string => `Received ${inspect(value, { depth: 0 })}`;

/** A TypeError with a code of Node's: the value has the wrong type, or is not one of the allowed ones. */
function invalid(what: string, expected: string, value: unknown, code: Code = 'ERR_INVALID_ARG_TYPE'): TypeError {
  return Object.assign(new TypeError(`${what} must be ${expected}. ${received(value)}`), { code });
}

/** A RangeError with Node's code ERR_OUT_OF_RANGE: the type is right, the value is not. */
export function outOfRange(what: string, expected: string, value: unknown): RangeError {
  return Object.assign(new RangeError(`${what} must be ${expected}. ${received(value)}`), {
    code: 'ERR_OUT_OF_RANGE' satisfies Code,
  });
}

const option = (name: string): string => `The option '${name}'`;

/** The error for an argument (not an option) of the wrong type: ERR_INVALID_ARG_TYPE. */
export function invalidArgument(name: string, expected: string, value: unknown): TypeError {
  return invalid(`The argument '${name}'`, expected, value);
}

/**
 * Copies the options named `names`, inherited ones included. Each is read once, so that what has been validated is what
 * is used, even if a getter would answer something else the next time. Those that are undefined are left out.
 *
 * @throws {TypeError} ERR_INVALID_ARG_TYPE if `options` is not an object.
 */
export function readOptions<Options extends object>(
  options: unknown,
  names: readonly (keyof Options & string)[],
): Options {
  if (typeof options !== 'object' || options === null) throw invalid("'options'", 'an object', options);
  const read: Partial<Options> = {};
  for (const name of names) {
    const value = (options as Options)[name];
    if (value !== undefined) read[name] = value;
  }
  return read as Options;
}

/** @throws {TypeError} ERR_INVALID_ARG_VALUE unless `value` is one of `choices`. */
export function validateChoice<T extends string>(
  value: unknown,
  name: string,
  choices: readonly T[],
): asserts value is T {
  if (choices.includes(value as T)) return;
  const list = choices.map((choice) => `'${choice}'`).join(', ');
  throw invalid(option(name), `one of ${list}`, value, 'ERR_INVALID_ARG_VALUE');
}

/** @throws {TypeError} ERR_INVALID_ARG_TYPE unless `value` is undefined or a function. */
export function validateFunction(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'function') throw invalid(option(name), 'a function', value);
}

/** @throws {TypeError} ERR_INVALID_ARG_TYPE unless `value` is undefined or a boolean. */
export function validateBoolean(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'boolean') throw invalid(option(name), 'a boolean', value);
}

/**
 * Checks a count of bytes, or an offset in bytes: an integer from 0 to Number.MAX_SAFE_INTEGER, or undefined.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE if it is not a number.
 * @throws {RangeError} ERR_OUT_OF_RANGE if it is negative, too large or not an integer.
 */
export function validateBytes(value: unknown, name: string): void {
  if (value === undefined) return;
  if (typeof value !== 'number') throw invalid(option(name), 'a number', value);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw outOfRange(option(name), `an integer from 0 to ${Number.MAX_SAFE_INTEGER}`, value);
  }
}

/**
 * Checks an integer from `least` to `most`, both inclusive.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE if it is not a number.
 * @throws {RangeError} ERR_OUT_OF_RANGE if it is anything else than such an integer.
 */
export function validateInteger(value: unknown, name: string, least: number, most: number): void {
  if (typeof value !== 'number') throw invalid(option(name), 'a number', value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw outOfRange(option(name), `an integer from ${least} to ${most}`, value);
  }
}

/**
 * Checks a whole number of bytes, or of things, of an argument or an option: from `least` to `most`, both inclusive.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE. @throws {RangeError} ERR_OUT_OF_RANGE.
 */
export function validateCount(
  value: unknown,
  name: string,
  least = 0,
  most: number = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== 'number') throw invalidArgument(name, 'a number', value);
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw outOfRange(`'${name}'`, `a whole number from ${least} to ${most}`, value);
  }
}

/** A copy of options that node:fs gets: inherited ones included, as node:fs copies its options. */
export function copyOptions<Options extends object>(options: Options): Options {
  const copy: Record<string, unknown> = {};
  for (const name in options) copy[name] = options[name];
  return copy as Options;
}

/**
 * Checks the first and the last byte of a range, both inclusive, as of fs.createReadStream: `end` may be Infinity.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE, as {@link validateBytes}.
 * @throws {RangeError} ERR_OUT_OF_RANGE, as {@link validateBytes}, or if the range ends before it starts.
 */
export function validateRange(start: unknown, end: unknown): void {
  validateBytes(start, 'start');
  if (end !== Number.POSITIVE_INFINITY) validateBytes(end, 'end');
  if (start !== undefined && end !== undefined && (start as number) > (end as number)) {
    throw outOfRange(option('start'), `at most 'end' (${String(end)})`, start);
  }
}

/** The longest delay that Node's timers take, in milliseconds. A timer with a longer one fires after 1 ms. */
export const TIMER_MAX: number = 2 ** 31 - 1;

/**
 * Reads a time-out. 0 and Infinity mean that there is none, and both are returned as 0.
 * @param otherwise what is returned where `value` is undefined, in milliseconds.
 * @returns milliseconds; 0: no limit.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE if it is not a number.
 * @throws {RangeError} ERR_OUT_OF_RANGE if it is negative, NaN or longer than a timer takes.
 */
export function timeoutOf(value: unknown, name: string, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value !== 'number') throw invalid(option(name), 'a number', value);
  if (value === Number.POSITIVE_INFINITY) return 0;
  if (value >= 0 && value <= TIMER_MAX) return value;
  throw outOfRange(option(name), `a number of milliseconds from 0 to ${TIMER_MAX}, or Infinity`, value);
}

/**
 * Checks a signal by its shape, as Node does: `aborted`, and the methods of an EventTarget. So the AbortSignals of
 * npm's abort-controller, of jsdom and of another realm are accepted.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE unless `signal` is undefined or an AbortSignal.
 */
export function validateSignal(signal: unknown): asserts signal is AbortSignal | undefined {
  if (signal === undefined) return;
  const { aborted, addEventListener, removeEventListener } = Object(signal) as Partial<AbortSignal>;
  const isSignal =
    typeof aborted === 'boolean' && typeof addEventListener === 'function' && typeof removeEventListener === 'function';
  if (!isSignal) throw invalid(option('signal'), 'an AbortSignal', signal);
}

/** Whether node:fs takes `value` for a URL: by its shape, also where it comes from another realm or library. */
export function isURL(value: unknown): value is URL {
  const { href, protocol, auth, path } = Object(value) as Record<string, unknown>;
  return Boolean(href && protocol) && auth === undefined && path === undefined;
}

/** Whether `value` is a path as node:fs takes it: a string, a Buffer or another Uint8Array, or a URL. */
export function isPath(value: unknown): value is string | Buffer | URL {
  return typeof value === 'string' || value instanceof Uint8Array || isURL(value);
}

/** @throws {TypeError} ERR_INVALID_ARG_TYPE unless `value` is a path; see {@link isPath}. */
export function validatePath(value: unknown, name: string): asserts value is string | Buffer | URL {
  if (!isPath(value)) throw invalidArgument(name, 'a string, Buffer, Uint8Array or URL', value);
}

/** A path as text, as Node writes it in its errors. */
export function pathText(path: string | Uint8Array | URL): string {
  if (typeof path === 'string') return path;
  return isURL(path) ? fileURLToPath(path) : Buffer.from(path).toString();
}

/** Whether `thing` is a FileHandle of node:fs/promises. */
export function isFileHandle(thing: unknown): thing is import('node:fs/promises').FileHandle {
  return (
    typeof thing === 'object' &&
    thing !== null &&
    typeof (thing as { fd?: unknown }).fd === 'number' &&
    'readableWebStream' in thing
  );
}
