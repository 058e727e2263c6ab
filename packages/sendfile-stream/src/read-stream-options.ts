/** What `createSendfileStream` takes, and which events its stream has besides those of fs.ReadStream. */
import type { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { type CachePolicy, validateBoolean, validateBytes, validateChoice } from '@zerocopy/transfer';
import { cachedFs } from './cached-open.js';
import type { LeaseOptions } from './lease.js';
import { validateLease } from './options.js';
import { SMALL_FILE_SIZE } from './small-file.js';

/** The options of `fs.createReadStream`, and ours. */
export type SendfileStreamOptions = Exclude<Parameters<typeof createReadStream>[1], string | undefined> &
  LeaseOptions & {
    /** A descriptor or FileHandle to read from, in place of the path. */
    fd?: number | FileHandle | undefined;
    /** Destroys the stream. */
    signal?: AbortSignal | null | undefined;
    /**
     * 'auto' (the default): where the kernel path cannot be taken, the stream is Node's own.
     * 'never': then it fails with the code ERR_ZEROCOPY_UNAVAILABLE, and the reason, instead.
     */
    fallback?: 'auto' | 'never';
    /**
     * Up to this many bytes, inclusive, a warm file is copied into the write of the HTTP message's headers, which for so
     * few bytes costs less than a system call of their own. Default 65536; 0: never.
     */
    smallFileSize?: number;
    /**
     * 'drop': pages that the stream has brought into the page cache leave it again, those that a slow receiver has to get yet some seconds later;
     * those that were there before stay. Default 'keep'.
     */
    cache?: CachePolicy;
    /**
     * Whether a file that is given by its path may be one that stays open from one transfer to the next, see
     * {@link keepFilesOpen}. `fd` is always a descriptor of the stream's own. Default true.
     */
    keepOpen?: boolean;
  };

/** Bytes handed to the destination so far, and in all. */
type OnProgress = (bytes: number, total: number) => void;

/** The event that {@link SendfileReadStream} has besides those of fs.ReadStream. */
export interface SendfileStreamEvents {
  /** After every pause of the transfer and at its end; not where Node copies the file. */
  addListener(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end; not where Node copies the file. */
  on(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end; not where Node copies the file. */
  once(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end; not where Node copies the file. */
  prependListener(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end; not where Node copies the file. */
  prependOnceListener(event: 'progress', listener: OnProgress): this;
}

/** With those that `options` inherits, which Node counts as well. */
function allOptions(options: SendfileStreamOptions | BufferEncoding | null | undefined): SendfileStreamOptions {
  if (typeof options === 'string') return { encoding: options };
  const all = Object.create(null) as Record<string, unknown>; // '__proto__' out of JSON is a name like any other
  for (const name in options) all[name] = options[name as keyof typeof options];
  return all;
}

/** What options mean. */
export interface Settings {
  readonly neverCopies: boolean;
  readonly smallFileSize: number;
  readonly cache: CachePolicy;
  readonly lease: LeaseOptions | undefined;
  readonly keepOpen: boolean;
  /** Whether it reads by functions of the caller's. */
  readonly ownFs: boolean;
  /** Those of fs.ReadStream. */
  readonly node: object;
}

/** @throws {TypeError} ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE. @throws {RangeError} ERR_OUT_OF_RANGE. */
export function settingsOf(options: SendfileStreamOptions | BufferEncoding | null | undefined): Settings {
  const {
    fallback = 'auto',
    smallFileSize = SMALL_FILE_SIZE,
    cache = 'keep',
    lease = false,
    leaseBreak = 'finish',
    keepOpen = true,
    ...rest
  } = allOptions(options);
  validateChoice(fallback, 'fallback', ['auto', 'never']);
  validateBytes(smallFileSize, 'smallFileSize');
  validateChoice(cache, 'cache', ['keep', 'drop']);
  validateLease(lease, leaseBreak);
  validateBoolean(keepOpen, 'keepOpen');
  const opens = rest.fd === undefined || rest.fd === null;
  const ownFs = rest.fs !== undefined && rest.fs !== null;
  const neverCopies = fallback === 'never';
  return {
    neverCopies,
    smallFileSize: neverCopies ? 0 : smallFileSize,
    cache,
    lease: lease === false ? undefined : { lease, leaseBreak },
    keepOpen: keepOpen && opens && !ownFs && lease === false,
    ownFs,
    node: opens ? { fs: cachedFs, ...rest } : rest,
  };
}

/** Most streams have no options: what that means is made once, and Node copies it. */
let defaults: Settings | undefined;

export function defaultSettings(): Settings {
  defaults ??= settingsOf(undefined);
  return defaults;
}
