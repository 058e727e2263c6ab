/**
 * `cache: 'drop'`: a transfer that leaves the page cache as it has found it. What it has brought there is dropped behind it,
 * window by window; what was there before stays, since others work with it.
 *
 *   window n+2  asked: which of its pages are resident? Before the kernel's read-ahead comes there.
 *   window n    the transfer is here
 *   window n-1  written back, if it was written to (dirty pages cannot be dropped)
 *   window n-2  dropped: pages that a socket still sends cannot be, and have had their time
 *
 * Pages that a process has mapped cannot be dropped, either. Who maps what it reads says when a part is not mapped any more,
 * and it is dropped then.
 *
 * Where it cannot be asked which pages are resident, all are taken for resident, and none is dropped. So it is for files that
 * this user neither owns nor may write to, of which the kernel tells a user nothing (mincore(2), since Linux 5.2).
 */
import { constants, OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { type FileFacts, factsOf, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { beginWriteBack, dropPages, type FileRange, missingPages, writeBack } from './page-cache.js';
import { setTimeout } from './timers.js';

/** What becomes of the pages that a transfer has brought into the page cache. */
export type CachePolicy = 'keep' | 'drop';

const MiB = 1024 * 1024;
/** Bytes: far more than the kernel reads ahead, and some milliseconds to drop. */
const WINDOW = 16 * MiB;
/** Windows that may wait to be written back before the transfer has to wait for them. */
const BACKLOG_MAX = 4;
/** Milliseconds after the end, when what a socket held by then is dropped as well: at first, and at last. */
const AFTER_END = 100;
const AFTER_END_MAX = 7000;

const { F_GETFL, O_APPEND } = constants;

/** What follows one file through a transfer; see the head of this file. */
export class CacheDrop {
  readonly #file: OwnedDescriptor;
  readonly #written: boolean;
  readonly #mapped: boolean;
  /** What was not resident, by the number of the window. */
  readonly #missing = new Map<number, readonly FileRange[]>();
  readonly #first: number;
  #position: number;
  /** Where the next window begins, in bytes. */
  #next: number;
  /** Windows that are being written back and dropped, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #backlog = 0;
  #ended = false;

  private constructor(file: OwnedDescriptor, position: number, how: 'read' | 'written' | 'mapped') {
    this.#file = file;
    this.#written = how === 'written';
    this.#mapped = how === 'mapped';
    this.#position = position;
    this.#first = Math.floor(position / WINDOW);
    this.#next = (this.#first + 1) * WINDOW;
    if (this.#mapped && this.#first > 0) this.#look(this.#first - 1);
    this.#look(this.#first);
    this.#look(this.#first + 1);
  }

  /**
   * To be made before the first byte moves.
   * @param fd an open file, which is duplicated. @param position of the first byte.
   * @param how the transfer reads it, writes to it, or maps it: then {@link unmapped} tells what can be dropped.
   * @returns undefined where nothing is to be dropped: `policy` is 'keep', or the file is none on a disk of this machine.
   */
  static of(
    policy: CachePolicy,
    fd: number,
    position: number,
    how: 'read' | 'written' | 'mapped' = 'read',
  ): CacheDrop | undefined {
    if (policy === 'keep' || fd < 0) return undefined;
    let facts: FileFacts;
    try {
      facts = factsOf(fd);
    } catch {
      return undefined; // not open: the transfer says so
    }
    if (!isRegularFile(facts) || facts.filesystem.kind !== 'local') return undefined;
    const appends = how === 'written' && (Math.max(0, syscalls.fcntl(fd, F_GETFL)) & O_APPEND) !== 0;
    const file = OwnedDescriptor.tryDuplicate(fd);
    return file === null ? undefined : new CacheDrop(file, appends ? facts.size : position, how);
  }

  /** Before so many bytes are moved in one step that they may reach behind the next window, which is 16 MiB. */
  expect(bytes: number): void {
    if (this.#ended) return;
    const last = Math.floor((this.#position + bytes) / WINDOW) + 1;
    for (let window = this.#next / WINDOW + 1; window <= last; window++) this.#look(window);
  }

  /** The next `bytes` have moved. Cheap: nothing is done before a window is full. */
  moved(bytes: number): void {
    this.#position += bytes;
    while (this.#position >= this.#next && !this.#ended) {
      const window = this.#next / WINDOW; // the one that is entered
      this.#next += WINDOW;
      this.#look(window + 1);
      if (this.#mapped) continue;
      if (this.#written) this.#writeBack(window - 1);
      this.#drop(window - 2);
    }
  }

  /** Of what has moved, the bytes from `start` to `end`, exclusive, are not mapped any more, and not read either. */
  unmapped(start: number, end: number): void {
    if (this.#ended) return;
    const page = syscalls.getpagesize();
    const first = start - (start % page);
    const last = Math.ceil(end / page) * page;
    for (let window = Math.floor(first / WINDOW); window * WINDOW < last; window++) {
      const ranges = (this.#missing.get(window) ?? [])
        .map((range) => ({ start: Math.max(range.start, first), end: Math.min(range.end, last) }))
        .filter((range) => range.start < range.end);
      if (ranges.length > 0) this.#queue(() => this.#dropRanges(ranges));
    }
  }

  /** Nothing more is going to be mapped. {@link unmapped} may still be called, and {@link end} is to be. */
  allMapped(): void {
    this.#dropEdges();
  }

  /** What the transfer has to wait for before it writes more; undefined: nothing. */
  room(): Promise<void> | undefined {
    return this.#backlog < BACKLOG_MAX ? undefined : this.#work;
  }

  /**
   * The transfer has ended, in whatever way. Idempotent.
   * @returns resolves, and never rejects, when all has been dropped that can be; what a socket still holds follows later.
   */
  async end(): Promise<void> {
    if (this.#ended) return this.#work;
    this.#ended = true;
    if (this.#mapped) {
      this.#dropEdges(); // again: a large folio that is mapped in part stays as a whole
      await this.#work;
      return this.#file.close();
    }
    const last = Math.floor(this.#position / WINDOW);
    this.#dropLast(last);
    await this.#work;
    if (this.#written) this.#file.close();
    else this.#dropLater(last, AFTER_END);
  }

  /** Drops the windows that are not dropped on the way, up to `last`. */
  #dropLast(last: number): void {
    for (let window = Math.max(this.#first, last - 2); window <= last; window++) this.#drop(window, true);
  }

  /** What a socket still sends cannot be dropped: it is tried again, at longer and longer intervals. */
  #dropLater(last: number, delay: number): void {
    const isLeft = [...this.#missing.values()].flat().some((range) => this.#isResident(range));
    if (!isLeft || delay > AFTER_END_MAX) return this.#file.close();
    const again = (): void => {
      this.#dropLast(last);
      void this.#work.then(() => this.#dropLater(last, 2 * delay));
    };
    setTimeout(again, delay).unref();
  }

  /** Whether a page of a part that was not resident still is: asked in the same way as before it was moved. */
  #isResident({ start, end }: FileRange): boolean {
    const missing = missingPages(this.#file.fd, { start, end }).reduce((sum, part) => sum + part.end - part.start, 0);
    return missing < end - start;
  }

  /** A fault reads around it: before the first byte that is mapped, and behind the last one. */
  #dropEdges(): void {
    const last = Math.floor(this.#position / WINDOW);
    for (const window of new Set([this.#first - 1, this.#first, last, last + 1])) this.#drop(window, true);
  }

  #look(window: number): void {
    if (this.#missing.has(window)) return;
    const start = window * WINDOW;
    this.#missing.set(window, missingPages(this.#file.fd, { start, end: start + WINDOW }));
  }

  /** Starts to write, so that it is done by the time when it is waited for. */
  #writeBack(window: number): void {
    this.#queue(() => beginWriteBack(this.#file.fd, window * WINDOW, WINDOW));
  }

  /** @param keep what is known of the window is needed once more. */
  #drop(window: number, keep = false): void {
    const ranges = this.#missing.get(window);
    if (!keep) this.#missing.delete(window);
    if (ranges === undefined || ranges.length === 0) return;
    this.#queue(async () => {
      if (this.#written) await writeBack(this.#file.fd, window * WINDOW, WINDOW);
      await this.#dropRanges(ranges);
    });
  }

  async #dropRanges(ranges: readonly FileRange[]): Promise<void> {
    for (const { start, end } of ranges) await dropPages(this.#file.fd, start, end - start);
  }

  #queue(job: () => Promise<unknown>): void {
    this.#backlog++;
    const after = (): void => {
      this.#backlog--;
    };
    this.#work = this.#work.then(job).then(after, after);
  }
}
