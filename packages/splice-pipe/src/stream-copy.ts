/** Node's own way, for streams that the kernel cannot join: read and write, in the same loop as everything else. */
import type { Readable, Writable } from 'node:stream';
import { type Resume, SOURCE_ENDED, type TransferEngine, WOULD_BLOCK } from '@zerocopy/transfer';
import { StreamDestination, StreamSource } from './plain-streams.js';
import type { Side } from './splice-engine.js';

export class StreamCopyEngine implements TransferEngine {
  readonly method = 'copy';
  readonly syscall = 'write';
  readonly calls = 0;
  readonly reason: string;
  inStream = 0;
  failed: Side | undefined;
  ended = false;
  readonly #source: StreamSource;
  readonly #destination: StreamDestination;
  #head: Buffer;

  /** @param head goes first. */
  constructor(source: Readable, destination: Writable, reason: string, head: Buffer = Buffer.alloc(0)) {
    this.#source = new StreamSource(source);
    this.#destination = new StreamDestination(destination);
    this.reason = reason;
    this.#head = head;
  }

  attempt(): number {
    return WOULD_BLOCK;
  }

  wait(count: number, resume: Resume): void {
    if (this.#head.length > 0) {
      const part = this.#head.subarray(0, count);
      this.#head = this.#head.subarray(part.length);
      this.#write(part, resume);
      return;
    }
    this.#source.onReadable(count, (error, chunk) => {
      if (error !== null) {
        this.failed = 'source';
        resume(error, 0);
      } else if (chunk === null) {
        this.ended = true;
        resume(null, SOURCE_ENDED);
      } else this.#write(chunk, resume);
    });
  }

  /** Leaves the streams as they are. */
  close(): void {
    this.#source.giveBack(this.#head);
    this.#destination.release();
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
