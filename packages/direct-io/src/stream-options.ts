/** What both streams have in common: options of ours beside those of node:fs, and what they have learnt of a file. */
import { validateChoice } from '@zerocopy/transfer';

/** Bytes of a chunk, unless `highWaterMark` says otherwise. */
export const CHUNK: number = 1024 * 1024;

/** Whether a stream that cannot go past the page cache is Node's own, or fails. */
export type Fallback = 'auto' | 'never';

/** Whether these are options that node:fs takes; it refuses all others in its own words. */
export const isBag = (options: unknown): boolean =>
  options === undefined || options === null || typeof options === 'object' || typeof options === 'string';

/** @throws {TypeError} ERR_INVALID_ARG_VALUE. */
export function validateFallback(value: unknown): asserts value is Fallback {
  validateChoice(value, 'fallback', ['auto', 'never']);
}
