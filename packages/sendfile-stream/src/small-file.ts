/**
 * Small files: read from the page cache into a pooled buffer, to leave in one write with the headers.
 *
 * A sendfile of its own costs a system call more, and TCP_CORK two, to spare a copy that for so few bytes is cheaper
 * than they are. Where it crosses over is measured by `npm run bench -- --scenario small` (see the README).
 */
import type { OutgoingMessage } from 'node:http';
import { syscalls } from '@zerocopy/core-syscalls';
import { replacedMethod } from '@zerocopy/transfer';
import { canReadWarm, readWarm } from './warm-read.js';

/** Up to this many bytes, inclusive, a file is copied into the write of its headers. */
export const SMALL_FILE_SIZE: number = 64 * 1024;
/** Buffers kept for the next ones: 2 MiB. */
const POOL_MAX = 32;

const pool: syscalls.Iovec[] = [];

/** What is given the bytes of a message. */
const BODY_METHODS = ['write', 'end'] as const;

/** A range of a file that has been read whole. */
export class SmallRead {
  /** Bytes: as many as were asked for. */
  readonly length: number;
  readonly #memory: syscalls.Iovec;
  /** Other code has seen the bytes, and may keep them for as long as it likes. */
  #isSeen = false;

  /** @internal */
  constructor(memory: syscalls.Iovec, length: number) {
    this.length = length;
    this.#memory = memory;
  }

  /** The bytes, in memory that is used again, for `message`: other code may have put itself in front of its methods. */
  bytesFor(message: OutgoingMessage): Buffer {
    this.#isSeen ||= replacedMethod(message, BODY_METHODS) !== undefined;
    const memory = this.#memory.target as Buffer;
    return this.length === memory.length ? memory : memory.subarray(0, this.length);
  }

  /** To be called when the message does not read them any more. Not calling it only costs an allocation later. */
  recycle(): void {
    if (!this.#isSeen) recycle(this.#memory);
  }
}

function recycle(memory: syscalls.Iovec): void {
  if (memory.target.byteLength === SMALL_FILE_SIZE && pool.length < POOL_MAX) pool.push(memory);
}

/**
 * The whole of a range, if it is in memory; undefined if it is not, or not whole: nothing has been done then.
 * @param inMemory whether the file is known to live on a filesystem that is in memory, which refuses RWF_NOWAIT.
 */
export function readSmall(fd: number, position: number, length: number, inMemory = false): SmallRead | undefined {
  if (!canReadWarm()) return undefined;
  const memory =
    length > SMALL_FILE_SIZE
      ? syscalls.createIovec(Buffer.allocUnsafeSlow(length))
      : (pool.pop() ?? syscalls.createIovec(Buffer.allocUnsafeSlow(SMALL_FILE_SIZE)));
  if (readWarm(fd, memory, length, position, inMemory) === length) return new SmallRead(memory, length);
  recycle(memory);
  return undefined;
}
