/**
 * Files that stay open between transfers: at most so many, at most so long. Each look-up asks what is at the path now, by
 * one statx(2): a file that was replaced, cut short, written to, removed, or whose permissions were changed is not handed out
 * again. The look-up itself asks for the right to pass the directories on the way.
 *
 *   asked for ──again, within the age──► kept ──► closed: by age, as the least recently used, because the path leads to
 *                                                 something else, or because descriptors run short
 *
 * What is kept is counted by reference: whoever sends it goes on with it. Descriptors are close-on-exec, and so in no child.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { addSpareDescriptors } from '@zerocopy/core-syscalls/descriptors';
import { clearTimeout, setTimeout, TIMER_MAX, validateInteger } from '@zerocopy/transfer';

const { AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;

/** How many files are kept open, and for how long. */
export interface CacheLimits {
  /** Files that are kept open, at most. */
  readonly files: number;
  /** Milliseconds for which one is kept after it was opened, at most. */
  readonly maxAgeMs: number;
}

/**
 * @param name of the option that they are.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE, {RangeError} ERR_OUT_OF_RANGE unless both are integers from 1 on, and the age one
 * that a timer takes.
 */
export function validateCacheLimits({ files, maxAgeMs }: CacheLimits, name: string): void {
  validateInteger(files, `${name}.files`, 1, Number.MAX_SAFE_INTEGER);
  validateInteger(maxAgeMs, `${name}.maxAgeMs`, 1, TIMER_MAX);
}

/** An open file, counted by reference. */
export interface KeptFile {
  /** One more reference. */
  hold(): void;
  /** One reference less: with the last one it is closed. */
  release(): unknown;
  /** Whether a buffer that statx(2) has filled tells of this file, unchanged since it was opened. */
  isOfStatx(buffer: Buffer): boolean;
}

interface Entry<File> {
  readonly file: File;
  /** By performance.now(). */
  readonly until: number;
}

const buffer = Buffer.alloc(syscalls.STATX_SIZE);

/**
 * Fills a buffer of STATX_SIZE bytes with the status of what is at `path` now, as of statx(2). @returns false if nothing is, or
 * if it is not to be used.
 */
export type Look = (path: string, buffer: Buffer) => boolean;

const lookAnywhere: Look = (path, target) =>
  syscalls.statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, target) === 0;

const { geteuid, getegid } = process;
/** Who opened the files, as far as it decides what may be read: a server may give up its privileges. */
const user = (): number => (geteuid?.() ?? 0) * 2 ** 32 + (getegid?.() ?? 0);

/** Open files by a key of their owner's. */
export class OpenFileCache<File extends KeptFile> {
  readonly #limits: CacheLimits;
  readonly #eager: boolean;
  readonly #look: Look;
  /** From the least to the most recently used. */
  readonly #entries = new Map<string, Entry<File>>();
  #newest: string | undefined;
  /** Until when a key counts as one that is asked for again: by performance.now(). */
  readonly #asked = new Map<string, number>();
  #user = -1;
  /** While there is something that grows old. */
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param eager keeps a file from the first time on that it is asked for; else from the second within `maxAgeMs`, so that
   * what is sent once does not stay open.
   * @param look by which rules a path leads to something. Default: by all links, as open(2).
   */
  constructor(limits: CacheLimits, eager: boolean, look: Look = lookAnywhere) {
    this.#look = look;
    this.#limits = limits;
    this.#eager = eager;
    addSpareDescriptors(this);
  }

  /** Files that are kept now. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * The file that was kept under `key`, with one reference more; undefined if there is none, or something else is at `path`.
   * @param path absolute, or from the current directory, unless `look` takes it otherwise.
   */
  get(key: string, path: string = key): File | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (!this.#isCurrent(entry, path)) {
      this.#remove(key, entry);
      return undefined;
    }
    if (this.#newest !== key) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      this.#newest = key;
    }
    entry.file.hold();
    return entry.file;
  }

  /** To be asked before a file is opened: whether it is worth keeping. */
  wants(key: string): boolean {
    return this.#eager || this.#isAskedAgain(key, performance.now());
  }

  /** Keeps a file that has just been opened. */
  keep(key: string, file: File): void {
    if (this.#user !== user()) {
      this.freeDescriptors();
      this.#user = user();
    }
    const { files, maxAgeMs } = this.#limits;
    const before = this.#entries.get(key);
    if (before !== undefined) this.#remove(key, before);
    file.hold();
    this.#entries.set(key, { file, until: performance.now() + maxAgeMs });
    this.#newest = key;
    this.#timer ??= setTimeout(this.#closeOld, maxAgeMs).unref();
    if (this.#entries.size <= files) return;
    const [oldest] = this.#entries;
    if (oldest !== undefined) this.#remove(...oldest);
  }

  /** Keeps nothing any more. What is being sent is closed afterwards. @returns how many files were kept. */
  freeDescriptors(): number {
    const { size } = this.#entries;
    for (const entry of this.#entries) this.#remove(...entry);
    return size;
  }

  #isCurrent({ file, until }: Entry<File>, path: string): boolean {
    if (performance.now() >= until || this.#user !== user()) return false;
    return this.#look(path, buffer) && file.isOfStatx(buffer);
  }

  #isAskedAgain(key: string, now: number): boolean {
    const asked = this.#asked;
    const until = asked.get(key) ?? 0;
    const again = now < until;
    asked.delete(key);
    // One that is kept now is asked for again, if it is at all, when it has grown old.
    asked.set(key, now + (again ? 2 : 1) * this.#limits.maxAgeMs);
    if (asked.size > this.#limits.files) {
      const [oldest] = asked.keys();
      asked.delete(oldest as string);
    }
    return again;
  }

  #remove(key: string, { file }: Entry<File>): void {
    this.#entries.delete(key);
    if (this.#newest === key) this.#newest = undefined;
    if (this.#entries.size === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    file.release();
  }

  readonly #closeOld = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [key, entry] of this.#entries) {
      if (entry.until > now) next = Math.min(next, entry.until);
      else this.#remove(key, entry);
    }
    if (this.#entries.size > 0) this.#timer = setTimeout(this.#closeOld, Math.ceil(next - now)).unref();
  };
}
