/** A regular file that has been found once, with its facts: headers, validators and body come from this one descriptor. */
import nodeFs from 'node:fs';
import { OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { freeSpareDescriptors, isMainThread } from '@zerocopy/core-syscalls/descriptors';
import { OpenFile } from '@zerocopy/sendfile-stream';
import type { FileStatus } from './file-status.js';
import { type Maybe, then } from './maybe.js';
import { OpenError } from './root.js';
import { closeBehindServer, waitForServer } from './waiting-lane.js';

/** Up to this many bytes a file is read at once, and closed again before it can have been removed, as a rule. */
const CLOSED_SOON = 64 * 1024;

/**
 * Where calls for a file may be made. `here`: on this thread, none of them waits for a server
 * (kernel-rules: open-may-wait); `memory`: nor for a disk, since there is none.
 */
export type Place = 'here' | 'memory' | 'off-thread';

/** What is known of a file besides its status. */
export interface OpenedFileFacts {
  readonly place: Place;
  /** Whether its size is made up, so that it has to be read to know it. Default false. */
  readonly unsized?: boolean;
  /**
   * Opens what the descriptor refers to for reading, once, if that descriptor was opened with O_PATH, for a file that may
   * be read as far as is known. Answers undefined if it may not be read any more. Default: it is open for reading.
   */
  readonly reopen?: (fd: number) => Maybe<number | undefined>;
}

/** Reference counted: closed with the last {@link release}. */
export class OpenedFile {
  /** Relative to the root, as it was asked for; without a leading slash. */
  readonly path: string;
  /** At the moment of opening. */
  readonly status: FileStatus;
  #descriptor: OwnedDescriptor;
  readonly #place: Place;
  #holders = 1;
  /** Set by a cache: it stays open for longer than one response. */
  kept = false;
  /** Whether its size is made up, so that it has to be read to know it. */
  readonly unsized: boolean;
  #reopen: OpenedFileFacts['reopen'];
  #source: OpenFile | undefined;

  /** Takes over `fd`. */
  constructor(fd: number, path: string, status: FileStatus, { place, unsized = false, reopen }: OpenedFileFacts) {
    this.#descriptor = OwnedDescriptor.adopt(fd);
    this.path = path;
    this.status = status;
    this.#place = place;
    this.unsized = unsized;
    this.#reopen = reopen;
  }

  /** The descriptor; -1 once it is closed. Open for reading once {@link open} has answered true. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  /** Bytes, at the moment of opening. */
  get size(): number {
    return this.status.size;
  }

  /** Whether its filesystem is known to be local: asking for its status never waits for a server. */
  get isLocal(): boolean {
    return this.#place !== 'off-thread';
  }

  /** For sendFile: what the kernel must know of the file is asked once. Valid for as long as this is held. */
  get source(): OpenFile {
    this.#source ??= new OpenFile(this.fd, { path: `/${this.path}`, close: () => {} });
    return this.#source;
  }

  /**
   * Opens the file for reading, if it has only been looked at: a 304 needs no more than that. Idempotent.
   * @returns false if it may not be read any more.
   * @throws {OpenError} if the server cannot open files.
   */
  open(): Maybe<boolean> {
    const reopen = this.#reopen;
    if (reopen === undefined) return true;
    return then(this.#reopened(reopen), (fd) => {
      if (fd === undefined) return false;
      if (this.#reopen === undefined) {
        syscalls.close(fd); // it was opened twice at once
        return true;
      }
      this.#reopen = undefined;
      this.#descriptor.closeAtOnce(); // of O_PATH: there is nothing to flush
      this.#descriptor = OwnedDescriptor.adopt(fd);
      return true;
    });
  }

  /** What is kept open elsewhere may be what is too much. */
  #reopened(reopen: NonNullable<OpenedFileFacts['reopen']>): Maybe<number | undefined> {
    try {
      return reopen(this.fd);
    } catch (error) {
      if (freeSpareDescriptors(error)) return reopen(this.fd);
      throw error;
    }
  }

  /**
   * Reads from `position` on, on the thread pool, once {@link open} has answered true.
   * @returns bytes, fewer than there is room for at the end of the file only, 0 beyond it. Rejects with the system's error.
   */
  read(buffer: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const read = (done: (result: number) => void): void => {
        nodeFs.read(this.fd, buffer, 0, buffer.length, position, (error, bytes) => {
          if (error) reject(error);
          else resolve(bytes);
          done(0);
        });
      };
      if (this.isLocal) return read(() => {});
      void waitForServer(read).then((result) => {
        if (result < 0) reject(new OpenError('EAGAIN')); // too many wait
      });
    });
  }

  /** Whether a buffer that statx(2) has filled tells of this file, unchanged since it was found. */
  isOfStatx(buffer: Buffer): boolean {
    return this.status.isOfStatx(buffer);
  }

  /** Keeps it open until one more {@link release}. */
  hold(): void {
    this.#holders++;
  }

  /** Closes it with the last holder. Not to be called more often than it is held. */
  release(): void {
    if (--this.#holders > 0) return;
    const atOnce = this.#reopen !== undefined || (this.size <= CLOSED_SOON && !this.kept);
    if (!this.isLocal) closeBehindServer(this.#descriptor.release());
    else if (atOnce && isMainThread()) this.#descriptor.closeAtOnce();
    else this.#descriptor.close(); // the blocks of one that was removed are freed elsewhere
  }
}
