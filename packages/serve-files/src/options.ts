/** The options of serveFiles, read once and checked in one place. */

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { nodeHttp } from '@zerocopy/core-syscalls/descriptors';
import { type CacheLimits, DEFAULT_LIMITS, validateCacheLimits } from '@zerocopy/sendfile-stream/route';
import {
  invalidArgument,
  isURL,
  readOptions,
  validateBoolean,
  validateBytes,
  validateChoice,
  validateFunction,
} from '@zerocopy/transfer';
import type { RootCache } from './cached-root.js';
import { normalizeTypes, type Types } from './content-type.js';
import type { FileStat } from './file-status.js';
import { ENCODINGS, type Encoding } from './precompressed.js';
import { type Rate, RateLimit } from './rate.js';
import { normalizePath } from './request-target.js';
import type { SymlinkPolicy } from './root.js';

/** Header fields by name; in any case. */
export type HeaderFields = Readonly<Record<string, string | number | readonly string[]>>;

/** What is told of a response when it is over. */
export interface SentInfo {
  /** Of the file that was sent, from the root on, with a leading slash; of the target where there was none. */
  readonly path: string;
  /** The status code of the response. */
  readonly status: number;
  /** Of the body, as handed to the kernel or to Node's stream. */
  readonly bytes: number;
  /** The method of the request. */
  readonly method: string;
  /** Milliseconds from the call of the handler to the end of the response. */
  readonly duration: number;
  /** How the file was moved: 'sendfile' or 'copy'; undefined where there was no file to move. */
  readonly transfer: string | undefined;
  /** Why the response is not whole: the client went away, the file became shorter. Undefined: it is. */
  readonly error: Error | undefined;
}

/**
 * Paths given to functions are those of files beneath the root, decoded, with a leading slash: `/assets/app.js`. What a
 * function throws makes the response a 500, or goes to `next`.
 */
export interface ServeFilesOptions {
  /** Serve `.zst`, `.br` and `.gz` files that lie beside a file, to clients that accept them. Default false. */
  readonly precompressed?: boolean | readonly Encoding[];
  /** 'hide' (default): names that begin with a dot are 404, but for `/.well-known`. */
  readonly dotfiles?: 'hide' | 'serve';
  /**
   * 'beneath' (default): symbolic links are followed where they are relative and stay beneath the root at every step.
   * 'none': none is. 'follow': all are, wherever they lead, but for the magic ones of /proc.
   */
  readonly symlinks?: SymlinkPolicy;
  /** Names of the file that stands for its directory, in the order in which they are tried. Default 'index.html'. */
  readonly index?: string | readonly string[] | false;
  /** Answer a directory without its slash by 301 to the one with it. Default true; false: 404. */
  readonly redirect?: boolean;
  /** Pass 404 and 405 on, where there is a `next`. Default true. */
  readonly fallthrough?: boolean;
  /** A file beneath the root for navigations (Accept: text/html) to what does not exist and has no extension. */
  readonly fallback?: string;
  /** List directories without an index, as HTML or JSON. Default false. */
  readonly listing?: boolean;
  /** Cache-Control. Default: none. */
  readonly cacheControl?: string | ((path: string, stat: FileStat) => string | undefined);
  /**
   * `public, max-age=31536000, immutable` for names with a hash of their content, as builds make them, and `no-cache` for
   * others unless `cacheControl` says something. A RegExp or a function says itself which names. Default false.
   */
  readonly immutable?: boolean | RegExp | ((path: string) => boolean);
  /** More header fields. Those that frame the body are not taken: Content-Length, -Range, -Encoding, Transfer-Encoding. */
  readonly headers?: HeaderFields | ((path: string, stat: FileStat) => HeaderFields | undefined);
  /** Access-Control-Allow-Origin: true is `*`, a string an origin. Default false. */
  readonly cors?: boolean | string;
  /** Cross-Origin-Resource-Policy: true is 'cross-origin'. Default false. */
  readonly corp?: boolean | 'same-origin' | 'same-site' | 'cross-origin';
  /** Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp. Default false. */
  readonly isolate?: boolean;
  /**
   * true (default): a strong tag from device, inode, size, mtime and ctime in nanoseconds. A function: a tag of one's own,
   * quoted or not; undefined: none. `{ sidecar: '.sha256' }`: the first word of the file with that suffix beside it, for
   * builds whose files all have one mtime; where there is none, the tag is as for true.
   */
  readonly etag?:
    | boolean
    | ((path: string, stat: FileStat) => string | undefined)
    | {
        /** The suffix of the sidecar's name: a file name without `/`. */
        readonly sidecar: string;
      };
  /** Media types by extension, or a function of the path; before the table of mime-types. */
  readonly types?: Types;
  /** Content-Disposition: attachment. A string, or what a function answers, is the name to save under. Default false. */
  readonly download?: boolean | string | ((path: string) => boolean | string | undefined);
  /**
   * Bytes per second for each response; or a RateLimit, which all responses share that are given it; or both, in a list;
   * or a function that says so for a file.
   */
  readonly rate?: Rate | ((path: string, stat: FileStat) => Rate | undefined);
  /** Bytes of a response that are not held back by `rate`. Default 0. */
  readonly rateAfter?: number;
  /**
   * Keep up to `files` files open for up to `maxAgeMs`; each request makes sure that they are unchanged. false: none. Default:
   * 256 files for up to a second, and of those only what is asked for twice within a second.
   */
  readonly cache?: CacheLimits | false;
  /** Called once for each response that was answered here, when it is over, whichever way. */
  readonly onSent?: (info: SentInfo) => void;
}

/** The options as they are used: each of one type. */
export interface Settings {
  readonly precompressed: readonly Encoding[];
  readonly hidesDotfiles: boolean;
  readonly symlinks: SymlinkPolicy;
  readonly index: readonly string[];
  readonly redirect: boolean;
  readonly fallthrough: boolean;
  readonly fallback: string | undefined;
  readonly listing: boolean;
  readonly cacheControl: ServeFilesOptions['cacheControl'];
  readonly immutable: ServeFilesOptions['immutable'];
  readonly headers: ServeFilesOptions['headers'];
  readonly cors: string | undefined;
  readonly corp: string | undefined;
  readonly isolate: boolean;
  readonly etag: NonNullable<ServeFilesOptions['etag']>;
  readonly types: Types | undefined;
  readonly download: NonNullable<ServeFilesOptions['download']>;
  readonly rate: ServeFilesOptions['rate'];
  readonly rateAfter: number;
  readonly cache: RootCache | undefined;
  readonly onSent: ServeFilesOptions['onSent'];
  /** Whether what is said of a file depends on nothing but the file: no option for it is a function. */
  readonly unchanging: boolean;
}

const NAMES = [
  'precompressed',
  'dotfiles',
  'symlinks',
  'index',
  'redirect',
  'fallthrough',
  'fallback',
  'listing',
  'cacheControl',
  'immutable',
  'headers',
  'cors',
  'corp',
  'isolate',
  'etag',
  'types',
  'download',
  'rate',
  'rateAfter',
  'cache',
  'onSent',
] as const;

/** @throws {TypeError} ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE, {RangeError} ERR_OUT_OF_RANGE, as node:fs does. */
export function settingsOf(given: ServeFilesOptions): Settings {
  const options = readOptions<{ -readonly [Name in keyof ServeFilesOptions]: ServeFilesOptions[Name] }>(given, NAMES);
  validate(options);
  const { precompressed = false, index = 'index.html', corp = false, cors = false } = options;
  return {
    precompressed: Array.isArray(precompressed) ? [...precompressed] : precompressed === true ? ENCODINGS : [],
    hidesDotfiles: (options.dotfiles ?? 'hide') === 'hide',
    symlinks: options.symlinks ?? 'beneath',
    index: index === false ? [] : typeof index === 'string' ? [index] : [...index],
    redirect: options.redirect ?? true,
    fallthrough: options.fallthrough ?? true,
    fallback: options.fallback === undefined ? undefined : pathOption(options.fallback, 'fallback'),
    listing: options.listing ?? false,
    cacheControl: options.cacheControl,
    immutable: options.immutable,
    headers: options.headers,
    cors: cors === true ? '*' : cors === false ? undefined : cors,
    corp: corp === true ? 'cross-origin' : corp === false ? undefined : corp,
    isolate: options.isolate ?? false,
    etag: options.etag ?? true,
    types: options.types === undefined ? undefined : normalizeTypes(options.types),
    download: options.download ?? false,
    rate: options.rate,
    rateAfter: options.rateAfter ?? 0,
    cache: cacheOf(options.cache),
    onSent: options.onSent,
    unchanging: SAYING.every((name) => typeof options[name] !== 'function') && typeof options.etag !== 'object',
  };
}

/** Options by which something is said of a file in header fields. */
const SAYING = ['cacheControl', 'immutable', 'headers', 'etag', 'types', 'download'] as const;

function validate(options: ServeFilesOptions): void {
  for (const name of ['redirect', 'fallthrough', 'listing', 'isolate'] as const) validateBoolean(options[name], name);
  if (options.dotfiles !== undefined) validateChoice(options.dotfiles, 'dotfiles', ['hide', 'serve']);
  if (options.symlinks !== undefined) validateChoice(options.symlinks, 'symlinks', ['beneath', 'none', 'follow']);
  const { precompressed, index, corp, rate, cache, etag } = options;
  if (Array.isArray(precompressed)) {
    for (const encoding of precompressed) validateChoice(encoding, 'precompressed', ENCODINGS);
  } else if (precompressed !== undefined && typeof precompressed !== 'boolean') {
    throw wrong('precompressed', "a boolean or an Array of 'zstd', 'br' and 'gzip'", precompressed);
  }
  if (index !== undefined && index !== false) {
    const names: readonly unknown[] = Array.isArray(index) ? index : [index];
    for (const name of names) pathOption(name, 'index');
  }
  if (corp !== undefined && typeof corp !== 'boolean') {
    validateChoice(corp, 'corp', ['same-origin', 'same-site', 'cross-origin']);
  }
  oneOf(options.cacheControl, 'cacheControl', ['string', 'function']);
  oneOf(options.immutable, 'immutable', ['boolean', 'function', 'RegExp']);
  oneOf(options.headers, 'headers', ['object', 'function']);
  oneOf(options.cors, 'cors', ['boolean', 'string']);
  if (typeof options.cors === 'string') headerValue('cors', 'access-control-allow-origin', options.cors);
  if (typeof options.cacheControl === 'string') headerValue('cacheControl', 'cache-control', options.cacheControl);
  oneOf(options.types, 'types', ['object', 'function']);
  oneOf(options.download, 'download', ['boolean', 'string', 'function']);
  oneOf(etag, 'etag', ['boolean', 'function', 'object']);
  if (typeof etag === 'object' && (typeof etag.sidecar !== 'string' || !/^[^/\0]+$/.test(etag.sidecar))) {
    throw wrong('etag.sidecar', 'the suffix of a file name', etag.sidecar);
  }
  if (rate !== undefined && typeof rate !== 'function') RateLimit.validate(rate, 'rate');
  validateBytes(options.rateAfter, 'rateAfter');
  if (cache !== undefined && cache !== false) {
    if (typeof cache !== 'object' || cache === null) throw wrong('cache', 'false or { files, maxAgeMs }', cache);
    validateCacheLimits(cache, 'cache');
  }
  validateFunction(options.onSent, 'onSent');
}

function cacheOf(cache: ServeFilesOptions['cache']): RootCache | undefined {
  if (cache === false) return undefined;
  const { files, maxAgeMs } = cache ?? DEFAULT_LIMITS;
  return { files, maxAgeMs, eager: cache !== undefined };
}

type Kind = 'boolean' | 'string' | 'function' | 'object' | 'RegExp';

function oneOf(value: unknown, name: string, kinds: readonly Kind[]): void {
  if (value === undefined) return;
  const fits = kinds.some((kind) =>
    kind === 'RegExp' ? value instanceof RegExp : typeof value === kind && value !== null,
  );
  if (!fits)
    throw wrong(name, kinds.map((kind) => (kind === 'object' ? 'an object' : `a ${kind}`)).join(' or '), value);
}

const received = (value: unknown): string => `Received ${inspect(value, { depth: 0 })}`;

const wrong = (name: string, expected: string, value: unknown): TypeError =>
  Object.assign(new TypeError(`The option '${name}' must be ${expected}. ${received(value)}`), {
    code: 'ERR_INVALID_ARG_TYPE',
  });

/** A field would be refused with each response. */
function headerValue(option: string, name: string, value: string): void {
  try {
    nodeHttp().validateHeaderValue(name, value);
  } catch {
    throw wrong(option, 'the value of a header field', value);
  }
}

/** A path beneath the root. */
function pathOption(value: unknown, name: string): string {
  const target = typeof value === 'string' ? normalizePath(value) : 400;
  if (typeof target === 'number' || target.directory) throw wrong(name, 'the path of a file beneath the root', value);
  return target.path;
}

/** The root as an absolute path. @throws {TypeError} ERR_INVALID_ARG_TYPE */
export function rootPath(root: unknown): string {
  if (typeof root === 'string' && root !== '' && !root.includes('\0')) return resolve(root);
  if (isURL(root)) return fileURLToPath(root);
  throw invalidArgument('root', 'the path of a directory, as a string or a file: URL', root);
}
