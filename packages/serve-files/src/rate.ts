/** How fast bodies are sent: in slices, each of which is given its time. */
import { inspect } from 'node:util';

/** A share of a second: a slice of a body is what may be sent in so much time. */
const SLICES_PER_SECOND = 20;
const SLICE_MIN = 256;
const SLICE_MAX = 1024 * 1024;
/** What a late timer or a slow reader has missed may be made up for, in milliseconds. */
const CREDIT = 100;

/** Bytes per second, for one response or, shared, for many: each slice is given the time after the one before it. */
export class RateLimit {
  /** As it was given: above 0. */
  readonly bytesPerSecond: number;
  /** When the next slice may be sent, in milliseconds of performance.now(). */
  #next = Number.NEGATIVE_INFINITY;

  /** @throws {RangeError} ERR_OUT_OF_RANGE unless it is a number above 0. */
  constructor(bytesPerSecond: number) {
    RateLimit.validate(bytesPerSecond, 'bytesPerSecond');
    this.bytesPerSecond = bytesPerSecond;
  }

  /** @throws {TypeError | RangeError} unless `rate` is a {@link Rate}. */
  static validate(rate: unknown, name: string): void {
    const parts: readonly unknown[] = Array.isArray(rate) ? rate : [rate];
    for (const part of parts) {
      if (part instanceof RateLimit) continue;
      const expected = 'a number of bytes per second above 0, a RateLimit, or a list of them';
      const message = `The option '${name}' must be ${expected}. Received ${inspect(part, { depth: 0 })}`;
      if (typeof part !== 'number') throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
      if (!(part > 0)) throw Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' });
    }
  }

  /** Gives `bytes` their time. @returns milliseconds to wait before they are sent. */
  reserve(bytes: number): number {
    const now = performance.now();
    const at = Math.max(now - CREDIT, this.#next);
    this.#next = at + (bytes / this.bytesPerSecond) * 1000;
    return Math.max(0, at - now);
  }
}

/** Bytes per second for one response, a limit that several share, or several of either at once. */
export type Rate = number | RateLimit | readonly (number | RateLimit)[];

/** The pace of one response. */
export class Pace {
  readonly #limits: readonly RateLimit[];
  readonly #slice: number;
  /** Bytes that are still free. */
  #free: number;

  private constructor(limits: readonly RateLimit[], free: number) {
    this.#limits = limits;
    this.#free = free;
    const slowest = Math.min(...limits.map(({ bytesPerSecond }) => bytesPerSecond));
    this.#slice = Math.min(SLICE_MAX, Math.max(SLICE_MIN, Math.ceil(slowest / SLICES_PER_SECOND)));
  }

  /** @param after bytes that go at full speed. @returns undefined where nothing is held back. */
  static of(rate: Rate | undefined, after: number): Pace | undefined {
    if (rate === undefined) return undefined;
    const parts = Array.isArray(rate) ? (rate as readonly (number | RateLimit)[]) : [rate as number | RateLimit];
    const limits = parts
      .map((part) => (typeof part === 'number' ? new RateLimit(part) : part))
      .filter(({ bytesPerSecond }) => bytesPerSecond !== Number.POSITIVE_INFINITY);
    return limits.length === 0 ? undefined : new Pace(limits, after);
  }

  /** Of the next `bytes`, how many may be sent in one piece, and after how many milliseconds. */
  next(bytes: number): { readonly bytes: number; readonly delay: number } {
    if (this.#free > 0) {
      const free = Math.min(bytes, this.#free);
      this.#free -= free;
      return { bytes: free, delay: 0 };
    }
    const slice = Math.min(bytes, this.#slice);
    return { bytes: slice, delay: Math.max(...this.#limits.map((limit) => limit.reserve(slice))) };
  }
}
