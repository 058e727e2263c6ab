/**
 * Files that stay open between requests: at most so many, at most so long. Each request asks what is at the path now,
 * by one statx(2): a file that was replaced, cut short, written to or removed is not served again. The way to it was
 * checked when it was opened; that the same file is still there, unchanged, is checked every time.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { setTimeout } from '@zerocopy/transfer';
import { feature } from './feature.js';
import type { FileStatus } from './file-status.js';
import { type Maybe, run, type Steps, settled } from './maybe.js';
import { OpenedFile } from './opened-file.js';
import { type Entry, type Found, join, OpenError, type Root } from './root.js';

const { AT_FDCWD, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;

/** How many files are kept open, and for how long. */
export interface CacheLimits {
  /** Files that are kept open, at most. */
  readonly files: number;
  /** Milliseconds for which one is kept, at most. */
  readonly maxAgeMs: number;
}

interface Kept {
  readonly file: OpenedFile;
  readonly until: number;
}

const buffer = Buffer.alloc(syscalls.STATX_SIZE);

/** A root that keeps its files open. */
export class OpenFileCache implements Root {
  readonly #root: Root;
  readonly #limits: CacheLimits;
  /** From the least to the most recently used. */
  readonly #kept = new Map<string, Kept>();
  readonly #usable: boolean = feature('openat2').available;
  /** While there is something that grows old. */
  #sweep: NodeJS.Timeout | undefined;

  constructor(root: Root, limits: CacheLimits) {
    this.#root = root;
    this.#limits = limits;
  }

  get path(): string {
    return this.#root.path;
  }

  /** Files that are open now. */
  get size(): number {
    return this.#kept.size;
  }

  look(path: string): Maybe<FileStatus | undefined> {
    return this.#root.look(path);
  }

  list(path: string, wanted: (name: string) => boolean, max: number): Promise<readonly Entry[] | undefined> {
    return this.#root.list(path, wanted, max);
  }

  open(path: string): Maybe<Found> {
    const kept = this.#kept.get(path);
    if (kept !== undefined) {
      this.#kept.delete(path);
      if (this.#isCurrent(path, kept)) {
        this.#kept.set(path, kept);
        kept.file.hold();
        return kept.file;
      }
      kept.file.release();
    }
    return run(this.#openAndKeep(path));
  }

  /** Closes every file that nobody is sending. */
  clear(): void {
    for (const { file } of this.#kept.values()) file.release();
    this.#kept.clear();
  }

  #isCurrent(path: string, { file, until }: Kept): boolean {
    if (performance.now() >= until) return false;
    const result = syscalls.statx(AT_FDCWD, join(this.path, path), AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer);
    return result === 0 && file.status.isOfStatx(buffer);
  }

  *#openAndKeep(path: string): Steps<Found> {
    let found: Found;
    try {
      found = yield* settled(this.#root.open(path));
    } catch (error) {
      // The files kept here may be those that are too many.
      if (!(error instanceof OpenError) || error.code !== 'EMFILE' || this.#kept.size === 0) throw error;
      this.clear();
      found = yield* settled(this.#root.open(path));
    }
    if (found instanceof OpenedFile && this.#usable && found.isLocal && !found.unsized) this.#keep(path, found);
    return found;
  }

  #keep(path: string, file: OpenedFile): void {
    this.#kept.get(path)?.file.release();
    this.#kept.delete(path);
    file.hold();
    file.kept = true;
    this.#kept.set(path, { file, until: performance.now() + this.#limits.maxAgeMs });
    this.#sweep ??= setTimeout(() => this.#closeOld(), this.#limits.maxAgeMs).unref();
    if (this.#kept.size <= this.#limits.files) return;
    const [oldest] = this.#kept;
    if (oldest === undefined) return;
    this.#kept.delete(oldest[0]);
    oldest[1].file.release();
  }

  #closeOld(): void {
    this.#sweep = undefined;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [path, { file, until }] of this.#kept) {
      if (until > now) next = Math.min(next, until);
      else {
        this.#kept.delete(path);
        file.release();
      }
    }
    if (this.#kept.size > 0) this.#sweep = setTimeout(() => this.#closeOld(), Math.ceil(next - now)).unref();
  }
}
