/** The arguments of copyFile, checked as in every other package. */
import {
  type CachePolicy,
  pathText,
  readOptions,
  validateBoolean,
  validateChoice,
  validateFunction,
  validatePath,
  validateSignal,
} from '@zerocopy/transfer';
import type { CopyFileOptions, Reflink } from './copy-file.js';

type Path = string | Buffer | URL;

/** What is to be copied, and how. */
export interface CopyPlan {
  readonly source: string | Buffer;
  readonly destination: string | Buffer;
  /** The paths for errors. */
  readonly context: { readonly path: string; readonly dest: string };
  readonly reflink: Reflink;
  readonly exclusive: boolean;
  readonly cache: CachePolicy;
  readonly onProgress: CopyFileOptions['onProgress'];
  readonly signal: AbortSignal | undefined;
}

/** A path is looked at more than once: the caller may not change it in between. */
const kept = (path: Path): string | Buffer => (path instanceof Uint8Array ? Buffer.from(path) : pathText(path));

/** @throws {TypeError} unless these are what copyFile takes. */
export function planOf(source: Path, destination: Path, given: CopyFileOptions): CopyPlan {
  validatePath(source, 'source');
  validatePath(destination, 'destination');
  const options = readOptions<CopyFileOptions>(given, ['reflink', 'exclusive', 'cache', 'onProgress', 'signal']);
  const { reflink = 'auto', exclusive = false, cache = 'keep', onProgress, signal } = options;
  validateChoice(reflink, 'reflink', ['auto', 'always', 'never']);
  validateBoolean(exclusive, 'exclusive');
  validateChoice(cache, 'cache', ['keep', 'drop']);
  validateFunction(onProgress, 'onProgress');
  validateSignal(signal);
  const context = { path: pathText(source), dest: pathText(destination) };
  return {
    source: kept(source),
    destination: kept(destination),
    context,
    reflink,
    exclusive,
    cache,
    onProgress,
    signal,
  };
}
