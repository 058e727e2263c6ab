/**
 * A root that keeps its files open between requests. The way to a file was checked when it was opened; that the same file is
 * still there, unchanged, is checked every time (OpenFileCache of sendfile-stream).
 */
import { syscalls } from '@zerocopy/core-syscalls';
import { freeSpareDescriptors } from '@zerocopy/core-syscalls/descriptors';
import { type CacheLimits, OpenFileCache } from '@zerocopy/sendfile-stream/route';
import { feature } from './feature.js';
import type { FileStatus } from './file-status.js';
import type { Maybe } from './maybe.js';
import { OpenedFile } from './opened-file.js';
import type { Entry, Found, Root } from './root.js';

/** How many files stay open, for how long, and from when on. */
export interface RootCache extends CacheLimits {
  /** From the first time on that a file is asked for; else from the second within the age. */
  readonly eager: boolean;
}

const status = Buffer.alloc(syscalls.STATX_SIZE);

/** The keys of its cache are the paths of the files. */
export class CachedRoot implements Root {
  readonly #root: Root;
  /** Undefined: nothing stays open. */
  readonly #cache: OpenFileCache<OpenedFile> | undefined;

  constructor(root: Root, cache: RootCache | undefined) {
    this.#root = root;
    if (cache !== undefined && feature('openat2').available)
      this.#cache = new OpenFileCache(cache, cache.eager, (path, buffer) => root.statAtOnce(path, buffer));
  }

  get path(): string {
    return this.#root.path;
  }

  look(path: string): Maybe<FileStatus | undefined> {
    return this.#root.look(path);
  }

  list(path: string, wanted: (name: string) => boolean, max: number): Promise<readonly Entry[] | undefined> {
    return this.#root.list(path, wanted, max);
  }

  statAtOnce(path: string, buffer: Buffer): boolean {
    return this.#root.statAtOnce(path, buffer);
  }

  open(path: string): Maybe<Found> {
    const cache = this.#cache;
    const kept = cache === undefined || cache.size === 0 ? undefined : cache.get(path);
    if (kept !== undefined) return kept;
    const found = this.#open(path);
    if (found instanceof Promise) return found.then((file) => this.#keep(path, file));
    return this.#keep(path, found);
  }

  /** What is kept open, here and elsewhere, may be what is too much. */
  #open(path: string): Maybe<Found> {
    const again = (error: unknown): Maybe<Found> => {
      if (freeSpareDescriptors(error)) return this.#root.open(path);
      throw error;
    };
    try {
      const found = this.#root.open(path);
      return found instanceof Promise ? found.catch(again) : found;
    } catch (error) {
      return again(error);
    }
  }

  #keep(path: string, found: Found): Found {
    const isFit = found instanceof OpenedFile && found.isLocal && !found.unsized;
    // What cannot be looked at at once, as behind a link, would be closed by its next request.
    if (isFit && this.#cache?.wants(path) && this.#root.statAtOnce(path, status) && found.isOfStatx(status)) {
      found.kept = true;
      this.#cache.keep(path, found);
    }
    return found;
  }
}
