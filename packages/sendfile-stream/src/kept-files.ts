/** The files that `sendFile` and the streams of this thread keep open between transfers: one cache for all of them. */
import { invalidArgument } from '@zerocopy/transfer';
import { type CacheLimits, type KeptFile, OpenFileCache, validateCacheLimits } from './open-file-cache.js';

/** A second: what it costs to open a file once more is nothing then, and neither space nor a mount is held for long. */
export const DEFAULT_LIMITS: CacheLimits = { files: 256, maxAgeMs: 1000 };

let cache: OpenFileCache<KeptFile> | undefined;
let limits: CacheLimits | false = DEFAULT_LIMITS;

/** The cache; undefined: nothing is kept open. */
export function openFiles(): OpenFileCache<KeptFile> | undefined {
  if (cache === undefined && limits !== false) cache = new OpenFileCache(limits, false);
  return cache;
}

/**
 * Sets how many files, asked for by path, are kept open between transfers of this process, and for how long; `false`: none.
 * What has been kept until now is closed, but for what is being sent: to be called before a filesystem is unmounted, for
 * instance. Default: 256 files for up to a second, each from the second time on that it is asked for within a second.
 *
 * @throws {TypeError} ERR_INVALID_ARG_TYPE, {RangeError} ERR_OUT_OF_RANGE
 */
export function keepFilesOpen(given: CacheLimits | false): void {
  if (given !== false) {
    if (typeof given !== 'object' || given === null) throw invalidArgument('limits', 'an object or false', given);
    validateCacheLimits(given, 'limits');
  }
  limits = given && { files: given.files, maxAgeMs: given.maxAgeMs };
  cache?.freeDescriptors();
  cache = undefined;
}
