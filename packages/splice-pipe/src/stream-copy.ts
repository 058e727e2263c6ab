/** Node's own way, for streams that the kernel cannot join: read and write, in the same loop as everything else. */
import type { Readable, Writable } from 'node:stream';
import { FULL, type Resume, SOURCE_ENDED, type TransferEngine } from '@zerocopy/core-syscalls/internals';
import type { Side } from './splice-engine.js';

function closedEarly(): Error {
  return Object.assign(new Error('the stream was closed before its end'), { code: 'ERR_STREAM_PREMATURE_CLOSE' });
}

export class StreamCopyEngine implements TransferEngine {
  readonly method = 'copy';
  readonly syscall = 'write';
  readonly calls = 0;
  inStream = 0;
  failed: Side | undefined;
  readonly reason: string;
  readonly #source: Readable;
  readonly #destination: Writable;
  readonly #wasFlowing: boolean | null;
  #head: Buffer;
  #wakeUp: (() => void) | undefined;
  #ended = false;

  /** @param head goes first. */
  constructor(source: Readable, destination: Writable, reason: string, head: Buffer = Buffer.alloc(0)) {
    this.#source = source;
    this.#destination = destination;
    this.reason = reason;
    this.#head = head;
    this.#wasFlowing = source.readableFlowing;
    source.on('end', this.#onEnd);
    for (const event of ['readable', 'error', 'close']) source.on(event, this.#onEvent);
    destination.on('error', this.#onEvent);
    destination.on('close', this.#onEvent);
  }

  get ended(): boolean {
    return this.#ended || this.#source.readableEnded;
  }

  attempt(): number {
    return FULL;
  }

  wait(count: number, resume: Resume): void {
    if (this.#head.length > 0) {
      const part = this.#head.subarray(0, count);
      this.#head = this.#head.subarray(part.length);
      this.#write(part, resume);
      return;
    }
    if (this.#destination.destroyed) {
      this.failed = 'destination';
      resume(this.#destination.errored ?? closedEarly(), 0);
      return;
    }
    const chunk = this.#source.read() as Buffer | string | null;
    if (chunk !== null) {
      const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk, this.#source.readableEncoding ?? 'utf8');
      if (bytes.length > count) this.#source.unshift(bytes.subarray(count));
      this.#write(bytes.subarray(0, count), resume);
    } else if (this.ended) resume(null, SOURCE_ENDED);
    else if (this.#source.destroyed || this.#source.errored) {
      this.failed = 'source';
      resume(this.#source.errored ?? closedEarly(), 0);
    } else {
      this.#wakeUp = () => {
        this.#wakeUp = undefined;
        this.wait(count, resume);
      };
    }
  }

  /** Leaves the streams as they are. */
  close(): Buffer {
    this.#wakeUp = undefined;
    const source = this.#source;
    source.off('end', this.#onEnd);
    for (const event of ['readable', 'error', 'close']) source.off(event, this.#onEvent);
    this.#destination.off('error', this.#onEvent);
    this.#destination.off('close', this.#onEvent);
    if (this.#wasFlowing === true && !source.destroyed) source.resume();
    return Buffer.alloc(0);
  }

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wakeUp?.();
  };

  readonly #onEvent = (): void => {
    this.#wakeUp?.();
  };

  #write(chunk: Buffer, resume: Resume): void {
    this.inStream = chunk.length;
    this.#destination.write(chunk, (error) => {
      this.inStream = 0;
      if (error) this.failed = 'destination';
      resume(error ?? null, error ? 0 : chunk.length);
    });
  }
}
