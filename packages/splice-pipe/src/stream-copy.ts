/** Node's own way, for streams that the kernel cannot join: read and write, in the same loop as everything else. */
import { NOT_RESIDENT, type Resume, type Side, SOURCE_ENDED, WOULD_BLOCK } from '@zerocopy/transfer';
import type { KernelDestination } from './destination.js';
import { behind, NO_BYTES } from './head.js';
import type { RelayEngine } from './relay.js';
import type { KernelSource } from './source.js';

export interface StreamCopyOptions {
  readonly source: KernelSource;
  readonly destination: KernelDestination;
  /** Bytes of the source's that somebody else has read from it already. */
  readonly head?: Buffer | undefined;
  /** Why the kernel does not move the bytes. */
  readonly reason: string;
}

export class RelayCopyEngine implements RelayEngine {
  readonly method = 'copy';
  readonly syscall = 'write';
  readonly calls = 0;
  readonly missing = 0;
  readonly reason: string;
  inStream = 0;
  failed: Side | undefined;
  ended = false;
  readonly #source: KernelSource;
  readonly #destination: KernelDestination;
  #head: Buffer;

  constructor({ source, destination, head, reason }: StreamCopyOptions) {
    this.#source = source;
    this.#destination = destination;
    this.reason = reason;
    this.#head = head ?? NO_BYTES;
  }

  /** A write to a file is a call on another thread: stopped, the transfer waits for it. */
  attempt(): number {
    return this.#head.length > 0 && this.#destination.mayBlock ? NOT_RESIDENT : WOULD_BLOCK;
  }

  offload(count: number, resume: Resume): void {
    const part = this.#head.subarray(0, count);
    this.#head = behind(this.#head, part.length);
    this.#write(part, resume);
  }

  wait(count: number, resume: Resume): void {
    if (this.#head.length > 0) return this.offload(count, resume);
    this.#source.onReadable(count, (error, chunk) => {
      if (error !== null) {
        this.failed = 'source';
        resume(error, 0);
      } else if (chunk === null) {
        this.ended = true;
        resume(null, SOURCE_ENDED);
      } else if (this.#destination.mayBlock) {
        this.#head = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
        resume(null, 0);
      } else this.#write(chunk, resume);
    });
  }

  close(): Buffer {
    const head = this.#head;
    this.#head = NO_BYTES;
    return head;
  }

  #write(chunk: Uint8Array, resume: Resume): void {
    this.inStream = chunk.length;
    this.#destination.write(chunk, (error, bytes) => {
      this.inStream = 0;
      if (error !== null) this.failed = 'destination';
      resume(error, bytes);
    });
  }
}
