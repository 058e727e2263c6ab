/** Where spliced bytes go: a socket or pipe, in its slot of Node's write queue, or a file. */
import { write } from 'node:fs';
import type { Socket } from 'node:net';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { hasPlainQueue, isEncrypted, runOffThread, socketDescriptor, type WriteSlot } from '@zerocopy/transfer';
import { type DescriptorFacts, factsOf } from './descriptor-kind.js';

const { SPLICE_F_MOVE, SPLICE_F_NONBLOCK } = constants;

/** With the bytes that went, also when it failed. */
export type WrittenCallback = (error: Error | null, bytes: number) => void;

export interface KernelDestination {
  /** Writing may wait for a disk: not on this thread. */
  readonly mayBlock: boolean;
  /** The descriptor now, or -1 once it is closed. */
  descriptor(): number;
  /** splice(2) from a pipe, on another thread; where `mayBlock`. */
  spliceOffThread?(pipe: number, size: number, callback: (result: number) => void): void;
  /** Writes all of `chunk`, which stays untouched until the callback. */
  write(chunk: Uint8Array, callback: WrittenCallback): void;
  /** The same for a chunk that is valid during this call only. */
  send(chunk: Uint8Array, callback: WrittenCallback): void;
  /** Counts bytes that splice(2) has put there. */
  moved(bytes: number): void;
  /** Takes no further notice of the stream behind it, where there is one. */
  release?(): void;
}

/**
 * Why `socket` cannot be spliced to, or undefined. A socket that is still connecting is looked at again later.
 * @param facts of its descriptor, where they have been asked for already.
 */
export function refusalOfDestination(socket: Socket, facts?: DescriptorFacts): string | undefined {
  if (isEncrypted(socket)) return 'the destination is encrypted (TLS)';
  if (socket.destroyed || socket.writableEnded) return 'the destination has ended';
  if (!hasPlainQueue(socket)) return "the destination's write methods have been replaced";
  const fd = socketDescriptor(socket);
  if (fd < 0) return 'the destination has no descriptor';
  const { kind, nonblocking } = facts ?? factsOf(fd);
  if (typeof kind === 'object') return kind.refused;
  if (!nonblocking) return 'the destination is in blocking mode';
  return undefined;
}

export class KernelSocketDestination implements KernelDestination {
  readonly mayBlock = false;
  readonly #slot: WriteSlot;

  constructor(slot: WriteSlot) {
    this.#slot = slot;
  }

  descriptor(): number {
    return this.#slot.descriptor();
  }

  write(chunk: Uint8Array, callback: WrittenCallback): void {
    this.#slot.write(chunk, (error) => callback(error ?? null, error ? 0 : chunk.length));
  }

  /** By the kernel as far as it takes it at once; only the rest is copied and left to Node. */
  send(chunk: Uint8Array, callback: WrittenCallback): void {
    const fd = this.#slot.descriptor();
    const sent = fd < 0 ? 0 : Math.max(0, syscalls.write(fd, chunk, chunk.length)); // Node's own write tells the error
    if (sent > 0) this.#slot.moved(sent);
    if (sent === chunk.length) callback(null, sent);
    else this.write(Buffer.from(chunk.subarray(sent)), (error, bytes) => callback(error, sent + bytes));
  }

  moved(bytes: number): void {
    this.#slot.moved(bytes);
  }
}

export class KernelFileDestination implements KernelDestination {
  readonly mayBlock = true;
  readonly #fd: number;
  /** Bytes from the file's start; undefined: at the descriptor's own position, which moves. */
  #position: number | undefined;

  /** @param fd stays open until nothing is under way; not closed here. */
  constructor(fd: number, position: number | undefined) {
    this.#fd = fd;
    this.#position = position;
  }

  descriptor(): number {
    return this.#fd;
  }

  spliceOffThread(pipe: number, size: number, callback: (result: number) => void): void {
    const position = this.#position;
    const cell = position === undefined ? null : syscalls.setOffset(syscalls.createOffsetCell(), position);
    runOffThread(
      (done) => syscalls.spliceAsync(pipe, null, this.#fd, cell, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK, done),
      callback,
    );
  }

  write(chunk: Uint8Array, callback: WrittenCallback): void {
    this.#writeFrom(chunk, 0, callback);
  }

  send(chunk: Uint8Array, callback: WrittenCallback): void {
    this.write(Buffer.from(chunk), callback);
  }

  moved(bytes: number): void {
    if (this.#position !== undefined) this.#position += bytes;
  }

  #writeFrom(chunk: Uint8Array, from: number, callback: WrittenCallback): void {
    write(this.#fd, chunk, from, chunk.length - from, this.#position ?? null, (error, written) => {
      if (error) return callback(error, from);
      if (written === 0) return callback(new SyscallError(constants.EIO, 'write'), from);
      this.moved(written);
      if (from + written === chunk.length) callback(null, chunk.length);
      else this.#writeFrom(chunk, from + written, callback);
    });
  }
}
