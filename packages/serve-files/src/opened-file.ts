/** A regular file that has been opened once, with its facts: headers, validators and body come from this one descriptor. */
import nodeFs from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { OwnedDescriptor } from '@zerocopy/core-syscalls';
import type { FileStatus } from './file-status.js';

/** Above this many bytes a file that has been removed meanwhile is not closed on this thread: its blocks are freed then. */
const SLOW_TO_FREE = 1024 * 1024;

/**
 * Where calls for a file may be made. `here`: on this thread, none of them waits for a server
 * (kernel-rules: open-may-wait); `memory`: nor for a disk, since there is none.
 */
export type Place = 'here' | 'memory' | 'off-thread';

/** Reference counted: closed with the last {@link release}. */
export class OpenedFile {
  /** Relative to the root, as it was asked for; without a leading slash. */
  readonly path: string;
  /** At the moment of opening. */
  readonly status: FileStatus;
  readonly #descriptor: OwnedDescriptor;
  readonly #place: Place;
  #holders = 1;
  /** Whether its size is made up, so that it has to be read to know it. */
  readonly unsized: boolean;

  /** Takes over `fd`. */
  constructor(fd: number, path: string, status: FileStatus, place: Place, unsized = false) {
    this.#descriptor = OwnedDescriptor.adopt(fd);
    this.path = path;
    this.status = status;
    this.#place = place;
    this.unsized = unsized;
  }

  /** The descriptor; -1 once it is closed. */
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

  /** Whether its bytes are in memory by nature, so that reading them never waits. */
  get livesInMemory(): boolean {
    return this.#place === 'memory';
  }

  /** Keeps it open until one more {@link release}. */
  hold(): void {
    this.#holders++;
  }

  /** Closes it with the last holder. Not to be called more often than it is held. */
  release(): void {
    if (--this.#holders > 0) return;
    if (this.isLocal && isMainThread && this.size <= SLOW_TO_FREE) this.#descriptor.close();
    else nodeFs.close(this.#descriptor.release(), () => {}); // it was read only: close(2) has nothing to say
  }
}
