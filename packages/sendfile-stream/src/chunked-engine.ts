/**
 * HTTP's chunked framing (RFC 9112, 7.1) around another engine: a line with the size, up to 1 MiB of the file, CRLF.
 *
 *   between ──wait: line + first bytes──► inside ──last byte──► between ──► …
 *
 * The line leaves in one write with the first bytes of its chunk. A chunk that has begun must be completed: until then
 * the transfer may fail, but not stop.
 */
import type { TransferMethod } from '@zerocopy/core-syscalls';
import { type Resume, type SlotEngine, type TransferEngine, WOULD_BLOCK } from '@zerocopy/transfer';

const CHUNK_SIZE = 1024 * 1024;
const CRLF = '\r\n';

/** An engine whose wait can put a prefix before the bytes that it carries. */
export interface CarryingEngine extends TransferEngine {
  wait(count: number, resume: Resume, prefix?: string): void;
}

export function withPrefix(prefix: string, bytes: Buffer): Buffer {
  return prefix === '' ? bytes : Buffer.concat([Buffer.from(prefix, 'latin1'), bytes]);
}

/** Where the framing stands; an engine hands it on to its successor. */
export class Chunks {
  /** Bytes of the file that have been moved, in all. */
  moved = 0;
  /** Where, counted like `moved`, the chunk under way ends. */
  end = 0;

  /** Opens the next chunk: what goes before its bytes. */
  open(size: number): string {
    const line = `${this.closing}${size.toString(16)}${CRLF}`;
    this.end = this.moved + size;
    return line;
  }

  /** What has to follow the last byte of the last chunk. */
  get closing(): string {
    return this.end > 0 ? CRLF : '';
  }
}

export class ChunkedEngine implements SlotEngine {
  readonly #inner: CarryingEngine;
  readonly #chunks: Chunks;

  constructor(inner: CarryingEngine, chunks: Chunks) {
    this.#inner = inner;
    this.#chunks = chunks;
  }

  get method(): TransferMethod {
    return this.#inner.method;
  }

  get syscall(): string {
    return this.#inner.syscall;
  }

  get reason(): string | undefined {
    return this.#inner.reason;
  }

  get boundary(): number {
    return this.#chunks.end;
  }

  get closing(): string {
    return this.#chunks.closing;
  }

  get inStream(): number {
    return this.#inner.inStream ?? 0;
  }

  attempt(count: number): number {
    const left = this.#left(count);
    if (left === 0) return WOULD_BLOCK; // the next chunk's line goes by the stream
    const result = this.#inner.attempt(left);
    if (result > 0) this.#chunks.moved += result;
    return result;
  }

  wait(count: number, resume: Resume): void {
    const prefix = this.#left(count) === 0 ? this.#chunks.open(Math.min(count, CHUNK_SIZE)) : '';
    this.#inner.wait(this.#left(count), this.#counted(resume), prefix);
  }

  offload(count: number, resume: Resume): void {
    this.#inner.offload?.(this.#left(count), this.#counted(resume));
  }

  leave(): void {
    this.#inner.leave?.();
  }

  successor(errno: number): TransferEngine | undefined {
    const next = this.#inner.successor?.(errno);
    return next === undefined ? undefined : new ChunkedEngine(next as CarryingEngine, this.#chunks);
  }

  /** Of `count` bytes, those that belong to the chunk under way. */
  #left(count: number): number {
    return Math.min(count, this.#chunks.end - this.#chunks.moved);
  }

  #counted(resume: Resume): Resume {
    return (error, bytes) => {
      if (bytes > 0) this.#chunks.moved += bytes;
      resume(error, bytes);
    };
  }
}
