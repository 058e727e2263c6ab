/**
 * A file, one mapped window after the other: each is read into memory by another thread before it is shown, and the next
 * one while this one is being used, so that the event loop waits for no disk. A window stays mapped for as long as a view
 * of it, or an ArrayBuffer that it was transferred to, is left.
 */
import { close } from 'node:fs';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { mappingPageSize } from '@zerocopy/core-syscalls/descriptors';
import { uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { guardMapping, type MappingGuard } from '@zerocopy/lease-guard';
import { type CachePolicy, nextTick, OwnedDescriptor, readRetrying, runOffThread } from '@zerocopy/transfer';
import { saysUnmappable } from './cannot-map.js';
import { fileSize, isMappedAtOnce } from './file-status.js';
import { type FilePlacement, Region } from './region.js';
import { WindowDrop } from './window-drop.js';

const { EFAULT, EIO, MADV_POPULATE_READ, MADV_WILLNEED, MAP_PRIVATE } = constants;
const MiB = 1024 * 1024;
/** Bytes. Large enough for the hop to another thread not to matter, small enough not to keep much when a view is kept. */
const WINDOW = 2 * MiB;

interface Window {
  /** What has not been handed out of it. */
  bytes: Buffer;
  /** Calls back when it is in memory. */
  whenReady(callback: (error: Error | null) => void): void;
}

export class FileWindows {
  /** Its owner may close the one that was given, and its number be used again (kernel-rules: fd-reuse). */
  readonly #descriptor: CountedDescriptor;
  readonly #pageSize: number;
  #closed = false;
  /** Where the next window starts, in bytes. */
  #position: number;
  /** Where the last window ended, in bytes; 0: there was none. */
  #shown = 0;
  /** Exclusive; may be Infinity. */
  readonly #end: number;
  #current: Window | undefined;
  #ahead: Window | undefined;
  /** Of the windows that may still be looked at. */
  readonly #guards = new Set<MappingGuard>();

  readonly #onRefused: (code: string) => void;
  readonly #drop: WindowDrop;

  /**
   * @param fd stays the caller's. @param position, end in bytes; the end is exclusive.
   * @param cache what becomes of pages that are brought into the page cache.
   * @param onRefused called when a window cannot be mapped, and is read instead unless it throws.
   * @throws {SyscallError} EMFILE, EBADF.
   */
  constructor(fd: number, position: number, end: number, cache: CachePolicy, onRefused: (code: string) => void) {
    this.#descriptor = new CountedDescriptor(fd);
    this.#drop = new WindowDrop(cache, fd, position);
    this.#pageSize = mappingPageSize(fd);
    this.#position = position;
    this.#end = end;
    this.#onRefused = onRefused;
  }

  /** Calls back with up to `size` bytes, or null at the end of the file; after it has returned. */
  read(size: number, callback: (error: Error | null, bytes: Buffer | null) => void): void {
    try {
      if (this.#current === undefined || this.#current.bytes.length === 0) {
        this.#current = this.#ahead ?? this.#open();
        this.#ahead = this.#current === undefined ? undefined : this.#open();
      }
      if (this.#current === undefined) nextTick(callback, this.#loss(), null);
    } catch (error) {
      nextTick(callback, error, null);
      return;
    }
    const window = this.#current;
    if (window === undefined) return;
    window.whenReady((error) => {
      if (error !== null) return callback(error, null);
      const bytes = window.bytes.subarray(0, size);
      window.bytes = window.bytes.subarray(bytes.length);
      callback(null, bytes);
    });
  }

  /** No more windows. Those that are held stay; their file is closed. Idempotent. */
  close(): void {
    this.#current = undefined;
    this.#ahead = undefined;
    if (this.#closed) return;
    this.#closed = true;
    for (const guard of this.#guards) guard.forgetFile();
    this.#descriptor.release();
    this.#drop.close();
  }

  /** What has been handed out may have turned to zeros before it was used. */
  #loss(): Error | null {
    let lost = fileSize(this.#descriptor.fd) < this.#shown;
    for (const guard of this.#guards) {
      lost ||= guard.truncated;
      if (guard.unreadablePages > 0) return new SyscallError(EIO, 'read');
    }
    if (!lost) return null;
    const message = `the file was cut short while it was read: of its first ${this.#shown} bytes some are missing`;
    return Object.assign(new Error(message), { code: 'ERR_FILE_TRUNCATED' });
  }

  #open(): Window | undefined {
    const lost = this.#loss();
    if (lost !== null) throw lost;
    const from = this.#position;
    const limit = Math.min(fileSize(this.#descriptor.fd), this.#end);
    if (from >= limit) return undefined;
    const to = Math.min(limit, (Math.floor(from / WINDOW) + 1) * WINDOW);
    this.#drop.advance(to - from);
    const window = this.#map(from, to) ?? this.#read(from, to);
    this.#position = to;
    this.#shown = to;
    return window;
  }

  /** A window that is copied instead. */
  #read(from: number, to: number): Window {
    const bytes = Buffer.allocUnsafeSlow(to - from);
    const readiness = new Readiness();
    this.#descriptor.retain();
    const onRead = this.#drop.retain(from, to);
    const settle = (error: Error | null): void => {
      this.#descriptor.release();
      onRead();
      readiness.settle(error);
    };
    const readOn = (at: number): void =>
      readRetrying(this.#descriptor.fd, bytes.subarray(at), bytes.length - at, from + at, (error, count) => {
        if (error !== null) settle(error);
        else if (count === 0) settle(cutShort());
        else if (at + count < bytes.length && !this.#closed) readOn(at + count);
        else settle(null);
      });
    readOn(0);
    return { bytes, whenReady: readiness.when };
  }

  /**
   * Undefined if the process has too many mappings, or guards of them, of which those that are no longer looked at go with
   * the garbage; or if the file is not mapped here.
   */
  #map(from: number, to: number): Window | undefined {
    const lead = from % this.#pageSize;
    const place = { offset: from - lead, pageSize: this.#pageSize };
    const onUnused = this.#drop.retain(from, to);
    let region: Region | undefined;
    try {
      const window = new MappedWindow(lead + to - from, place, this.#descriptor, this.#guards, onUnused);
      region = window.region;
      const isCut = (): boolean => !this.#closed && fileSize(this.#descriptor.fd) < to;
      if (this.#descriptor.isLocal) window.map();
      return {
        bytes: region.view(lead, to - from),
        whenReady: this.#descriptor.isLocal ? populated(region, isCut) : this.#mappedLater(window, from, to, isCut),
      };
    } catch (error) {
      if (!this.#mayBeRead(error)) throw error;
      return undefined;
    } finally {
      if (region === undefined) onUnused();
      else region.disown(); // its views keep it
    }
  }

  /** Maps it on another thread; where that is refused, its bytes are read into a copy. */
  #mappedLater(window: MappedWindow, from: number, to: number, isCut: () => boolean): Window['whenReady'] {
    const readiness = new Readiness();
    window.mapOffThread().then(
      () => populated(window.region, isCut)((error) => readiness.settle(error)),
      (error: unknown) => {
        try {
          if (!this.#mayBeRead(error)) throw error;
          const copy = this.#read(from, to);
          copy.whenReady((failed) => {
            // Nothing of the window has been handed out before it was ready.
            if (this.#current?.whenReady === readiness.when) this.#current.bytes = copy.bytes;
            if (this.#ahead?.whenReady === readiness.when) this.#ahead.bytes = copy.bytes;
            readiness.settle(failed);
          });
        } catch (other) {
          readiness.settle(other as Error);
        }
      },
    );
    return readiness.when;
  }

  /** Whether this says that the window cannot be mapped, and not that something is wrong. */
  #mayBeRead(error: unknown): boolean {
    const { code, errno } = error as NodeJS.ErrnoException;
    if (code === 'ENOMEM' || code === 'ERR_ZEROCOPY_TOO_MANY_GUARDS') return true;
    if (!saysUnmappable(errno ?? 0)) return false;
    this.#onRefused(code as string);
    return true;
  }
}

/** The memory of a window, and its guard. It holds on to no view, which would hold on to it. */
class MappedWindow {
  readonly region: Region;
  readonly #size: number;
  readonly #descriptor: CountedDescriptor;
  readonly #offset: number;
  readonly #guards: Set<MappingGuard>;
  #guard: MappingGuard | undefined;

  /** @param onUnused called once, in the turn in which it is unmapped, before that. */
  constructor(
    size: number,
    { offset, pageSize }: { readonly offset: number; readonly pageSize: number },
    descriptor: CountedDescriptor,
    guards: Set<MappingGuard>,
    onUnused: () => void,
  ) {
    this.#size = size;
    this.#descriptor = descriptor;
    this.#offset = offset;
    this.#guards = guards;
    const endGuard = (): void => {
      this.#guard?.release();
      if (this.#guard !== undefined) guards.delete(this.#guard);
      onUnused();
    };
    this.region = new Region(size, endGuard, pageSize);
  }

  map(): void {
    this.region.placeFile(0, this.#size, this.#placement());
    this.#protect();
  }

  async mapOffThread(): Promise<void> {
    this.region.retain();
    this.#descriptor.retain();
    try {
      await this.region.placeFileOffThread(0, this.#size, this.#placement());
    } finally {
      this.#descriptor.release();
      this.#protect();
      this.region.release();
    }
  }

  #placement(): FilePlacement {
    return { fd: this.#descriptor.fd, offset: this.#offset, sharing: MAP_PRIVATE };
  }

  #protect(): void {
    const { address, size, pageSize } = this.region;
    const { fd } = this.#descriptor;
    const file = fd < 0 ? {} : { file: { fd, offset: this.#offset } }; // closed meanwhile
    this.#guard = guardMapping(address, size, { ...file, writable: true, pageSize });
    this.#guards.add(this.#guard);
  }
}

/** A duplicate that is closed by the last who needs it: its owner, or a call under way. */
class CountedDescriptor {
  /** Whether mapping and closing it waits for no server. */
  readonly isLocal: boolean;
  readonly #own: OwnedDescriptor;
  #users = 1;

  constructor(fd: number) {
    this.#own = OwnedDescriptor.duplicate(fd);
    this.isLocal = isMappedAtOnce(fd);
  }

  get fd(): number {
    return this.#own.fd;
  }

  retain(): void {
    this.#users++;
  }

  release(): void {
    if (--this.#users > 0) return;
    if (this.isLocal) this.#own.close();
    else close(this.#own.release(), () => {}); // it may flush to a server
  }
}

/** Calls back once, in a later turn, when there is something to say. */
class Readiness {
  #outcome: Error | null | undefined;
  #waiting: ((error: Error | null) => void) | undefined;

  settle(error: Error | null): void {
    this.#outcome = error;
    this.#waiting?.(error);
  }

  readonly when = (callback: (error: Error | null) => void): void => {
    if (this.#outcome === undefined) this.#waiting = callback;
    else nextTick(callback, this.#outcome); // never before the call returns, as for a file that is read
  };
}

/** ERR_FILE_TRUNCATED: what had been read of the file was not all of it. */
export const cutShort = (): Error =>
  Object.assign(new Error('the file was cut short while it was read'), { code: 'ERR_FILE_TRUNCATED' });

/** @param isCut whether the file does not reach to the window's end any more. */
function populated(region: Region, isCut: () => boolean): Window['whenReady'] {
  const readiness = new Readiness();
  region.retain();
  const populate = (done: (result: number) => void): void =>
    syscalls.madviseAsync(region.address, region.size, MADV_POPULATE_READ, done);
  runOffThread(
    (done) => uninterruptedAsync(populate, done),
    (result) => {
      const lost = result === -EFAULT && isCut();
      // It is there to be touched all the same: EINVAL before Linux 5.14, ENOMEM, a sandbox that knows no such advice;
      // EFAULT for a page within the file that there is none of, which the guard answers
      // (kernel-rules: sigbus-not-truncation).
      if (result < 0 && !lost) syscalls.madvise(region.address, region.size, MADV_WILLNEED);
      region.release();
      readiness.settle(lost ? cutShort() : null);
    },
  );
  return readiness.when;
}
