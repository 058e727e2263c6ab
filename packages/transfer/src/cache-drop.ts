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
 * this user neither owns nor may write to, of which the kernel tells nobody (mincore(2), since Linux 5.2).
 */
import { constants, OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { type FileFacts, factsOf, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { runOffThread } from './off-thread.js';
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

const { F_GETFL, MAP_SHARED, O_APPEND, POSIX_FADV_DONTNEED, PROT_NONE } = constants;
const { SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE } = constants;
const WRITE_BACK = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

/** A part of the file, in bytes: `end` is exclusive. */
interface Range {
  readonly start: number;
  readonly end: number;
}

const asked = new BigUint64Array(2);
const counted = new BigUint64Array(5);

/** The parts of a range whose pages are not in the page cache; none where that cannot be asked. */
function missingPages(fd: number, { start, end }: Range): readonly Range[] {
  const page = syscalls.getpagesize();
  asked[0] = BigInt(start);
  asked[1] = BigInt(end - start);
  if (syscalls.cachestat(fd, asked, counted) === 0) {
    const resident = Number(counted[0]);
    if (resident === 0) return [{ start, end }];
    if (resident >= (end - start) / page) return [];
  }
  const address = syscalls.mmap(null, end - start, PROT_NONE, MAP_SHARED, fd, start);
  if (address < 0) return [];
  const vector = new Uint8Array(Math.ceil((end - start) / page));
  const told = syscalls.mincore(address, end - start, vector);
  syscalls.munmap(address, end - start);
  if (told < 0) return [];
  const missing: Range[] = [];
  let from = -1;
  for (let index = 0; index <= vector.length; index++) {
    const isMissing = index < vector.length && ((vector[index] as number) & 1) === 0;
    if (isMissing && from < 0) from = index;
    else if (!isMissing && from >= 0) {
      missing.push({ start: start + from * page, end: start + index * page });
      from = -1;
    }
  }
  return missing;
}

const call = (make: (done: (result: number) => void) => void): Promise<number> =>
  new Promise((resolve) => runOffThread(make, resolve));

/** What follows one file through a transfer; see the head of this file. */
export class CacheDrop {
  readonly #file: OwnedDescriptor;
  readonly #written: boolean;
  readonly #mapped: boolean;
  /** What was not resident, by the number of the window. */
  readonly #missing = new Map<number, readonly Range[]>();
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
    for (let window = Math.max(this.#first, last - 2); window <= last; window++) this.#drop(window, true);
    await this.#work;
    if (this.#written) this.#file.close();
    else this.#dropLater(last, AFTER_END);
  }

  /** What a socket still sends cannot be dropped: it is tried again, at longer and longer intervals. */
  #dropLater(last: number, delay: number): void {
    const isLeft = [...this.#missing.values()].flat().some((range) => this.#isResident(range));
    if (!isLeft || delay > AFTER_END_MAX) return this.#file.close();
    const again = (): void => {
      for (let window = Math.max(this.#first, last - 2); window <= last; window++) this.#drop(window, true);
      void this.#work.then(() => this.#dropLater(last, 2 * delay));
    };
    setTimeout(again, delay).unref();
  }

  /** Whether a page of a part that was not resident still is: asked in the same way as before it was moved. */
  #isResident({ start, end }: Range): boolean {
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
    this.#queue(async () => {
      const { fd } = this.#file;
      await call((done) => syscalls.syncFileRangeAsync(fd, window * WINDOW, WINDOW, SYNC_FILE_RANGE_WRITE, done));
    });
  }

  /** @param keep what is known of the window is needed once more. */
  #drop(window: number, keep = false): void {
    const ranges = this.#missing.get(window);
    if (!keep) this.#missing.delete(window);
    if (ranges === undefined || ranges.length === 0) return;
    this.#queue(async () => {
      const { fd } = this.#file;
      if (this.#written)
        await call((done) => syscalls.syncFileRangeAsync(fd, window * WINDOW, WINDOW, WRITE_BACK, done));
      await this.#dropRanges(ranges);
    });
  }

  async #dropRanges(ranges: readonly Range[]): Promise<void> {
    const { fd } = this.#file;
    for (const { start, end } of ranges) {
      await call((done) => syscalls.posixFadviseAsync(fd, start, end - start, POSIX_FADV_DONTNEED, done));
    }
  }

  #queue(job: () => Promise<void>): void {
    this.#backlog++;
    this.#work = this.#work.then(job).finally(() => {
      this.#backlog--;
    });
  }
}
