/** What `createSendfileStream` takes, and which events its stream has besides those of fs.ReadStream. */
import type { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { CachePolicy } from '@zerocopy/transfer';
import type { LeaseOptions } from './lease.js';

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
