/**
 * A file, one mapped window after the other: each is read into memory by another thread before it is shown, and the next
 * one while this one is being used, so that nobody waits for a disk on the event loop. A window stays mapped for as long
 * as anybody holds a view of it.
 */
import { fstatSync } from 'node:fs';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { mappingPageSize } from '@zerocopy/core-syscalls/descriptors';
import { uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { guardMapping, type MappingGuard } from '@zerocopy/lease-guard';
import { nextTick, OwnedDescriptor, readRetrying, runOffThread } from '@zerocopy/transfer';
import { Region } from './region.js';

const { EACCES, EFAULT, EIO, ENODEV, ENOSYS, EPERM, MADV_POPULATE_READ, MADV_WILLNEED, MAP_PRIVATE } = constants;
/** Says that this file is not mapped here: sysfs, some FUSE, a sandbox. */
const CANNOT_MAP: readonly number[] = [ENODEV, EACCES, EPERM, ENOSYS];
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
  /** Of the windows that somebody may still look at. */
  readonly #guards = new Set<MappingGuard>();

  readonly #onRefused: (code: string) => void;

  /**
   * @param fd stays the caller's. @param position, end in bytes; the end is exclusive.
   * @param onRefused called when a window cannot be mapped, and is read instead unless it throws.
   * @throws {SyscallError} EMFILE, EBADF.
   */
  constructor(fd: number, position: number, end: number, onRefused: (code: string) => void) {
    this.#descriptor = new CountedDescriptor(fd);
    this.#pageSize = mappingPageSize(fd);
    this.#position = position;
    this.#end = end;
    this.#onRefused = onRefused;
  }

  /** Calls back with up to `size` bytes, or null at the end of the file; after it has returned. */
  read(size: number, callback: (error: Error | null, bytes: Buffer | null) => void): void {
    if (this.#current === undefined || this.#current.bytes.length === 0) {
      try {
        this.#current = this.#ahead ?? this.#open();
        this.#ahead = this.#current === undefined ? undefined : this.#open();
      } catch (error) {
        nextTick(callback, error, null);
        return;
      }
    }
    const window = this.#current;
    if (window === undefined) {
      nextTick(callback, this.#loss(), null);
      return;
    }
    window.whenReady((error) => {
      if (error !== null) return callback(error, null);
      const bytes = window.bytes.subarray(0, size);
      window.bytes = window.bytes.subarray(bytes.length);
      callback(null, bytes);
    });
  }

  /** No more windows. Those that are held stay, and the descriptor with them. Idempotent. */
  close(): void {
    this.#current = undefined;
    this.#ahead = undefined;
    if (this.#closed) return;
    this.#closed = true;
    this.#descriptor.release();
  }

  /** What has been handed out may have turned to zeros before it was used. */
  #loss(): Error | null {
    let lost = fstatSync(this.#descriptor.fd).size < this.#shown;
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
    const limit = Math.min(fstatSync(this.#descriptor.fd).size, this.#end);
    if (from >= limit) return undefined;
    const to = Math.min(limit, (Math.floor(from / WINDOW) + 1) * WINDOW);
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
    const settle = (error: Error | null): void => {
      this.#descriptor.release();
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
   * Undefined if the process has too many mappings, or guards of them, of which those that nobody holds go with the
   * garbage; or if the file is not mapped here.
   */
  #map(from: number, to: number): Window | undefined {
    const lead = from % this.#pageSize;
    const guards = this.#guards; // a region must not hold on to these windows, nor so to its own views
    const descriptor = this.#descriptor;
    let guard: MappingGuard | undefined;
    let region: Region | undefined;
    try {
      const onUnused = (): void => {
        guard?.release();
        if (guard !== undefined) guards.delete(guard);
        descriptor.release();
      };
      region = new Region(lead + to - from, onUnused, this.#pageSize);
      descriptor.retain();
      const file = { fd: descriptor.fd, offset: from - lead };
      region.placeFile(0, lead + to - from, { ...file, sharing: MAP_PRIVATE });
      guard = guardMapping(region.address, region.size, { file, writable: true, pageSize: this.#pageSize });
      guards.add(guard);
      return { bytes: region.view(lead, to - from), whenReady: populated(region) };
    } catch (error) {
      const { code, errno } = error as NodeJS.ErrnoException;
      if (code === 'ENOMEM' || code === 'ERR_ZEROCOPY_TOO_MANY_GUARDS') return undefined;
      if (!CANNOT_MAP.includes(-(errno ?? 0))) throw error;
      this.#onRefused(code as string);
      return undefined;
    } finally {
      region?.disown(); // its views keep it
    }
  }
}

/** A duplicate that is closed by the last who needs it: its owner, a read under way, a window's guard. */
class CountedDescriptor {
  readonly #own: OwnedDescriptor;
  #users = 1;

  constructor(fd: number) {
    this.#own = OwnedDescriptor.duplicate(fd);
  }

  get fd(): number {
    return this.#own.fd;
  }

  retain(): void {
    this.#users++;
  }

  release(): void {
    if (--this.#users === 0) this.#own.close();
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

const cutShort = (): Error =>
  Object.assign(new Error('the file was cut short while it was read'), { code: 'ERR_FILE_TRUNCATED' });

function populated(region: Region): Window['whenReady'] {
  const readiness = new Readiness();
  region.retain();
  const populate = (done: (result: number) => void): void =>
    syscalls.madviseAsync(region.address, region.size, MADV_POPULATE_READ, done);
  runOffThread(
    (done) => uninterruptedAsync(populate, done),
    (result) => {
      // It is there to be touched all the same: EINVAL before Linux 5.14, ENOMEM, a sandbox that knows no such advice.
      if (result < 0 && result !== -EFAULT) syscalls.madvise(region.address, region.size, MADV_WILLNEED);
      region.release();
      readiness.settle(result === -EFAULT ? cutShort() : null);
    },
  );
  return readiness.when;
}
