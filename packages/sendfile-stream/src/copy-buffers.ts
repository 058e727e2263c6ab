/**
 * The memory through which files are copied into a connection. A buffer is lent for one write, until the callback of that write
 * has come: then nobody reads it any more, and it serves the next one, of whichever transfer. All transfers of a thread share one
 * budget. Receivers that stall keep what they have been lent; while all of it is lent, a transfer gets by with a small buffer
 * of its own.
 */
import { syscalls } from '@zerocopy/core-syscalls';

const KiB = 1024;
/** Bytes of a buffer that is lent. Measured over TLS: 128 and 512 KiB cost more. */
const LENT_SIZE = 256 * KiB;
/** Lent at most, together: 16 MiB. */
export const LENT_MAX: number = 64;
/** Kept while nobody wants them: 2 MiB. */
const KEPT_MAX = 8;
/** Bytes of a transfer's own buffer. */
const OWN_SIZE = 64 * KiB;
/** Bytes in front of the content: for the line that opens an HTTP chunk. */
const PREFIX_ROOM = 32;

let lent = 0;

/** How many buffers are lent now. */
export const lentBuffers = (): number => lent;

const kept: CopyBuffer[] = [];

/** A piece of memory, and room for a few bytes that are to leave before its content. */
export class CopyBuffer {
  /** For preadv2, which fills the content. */
  readonly iovec: syscalls.Iovec;
  readonly #memory: Buffer;

  constructor(size: number) {
    this.#memory = Buffer.allocUnsafeSlow(PREFIX_ROOM + size);
    this.iovec = syscalls.createIovec(this.#memory.subarray(PREFIX_ROOM));
  }

  /** Bytes of content that it has room for. */
  get size(): number {
    return this.#memory.length - PREFIX_ROOM;
  }

  /**
   * What is to be written: `prefix`, and the first `bytes` of the content.
   * @param prefix in latin1, of up to 32 characters.
   */
  chunk(prefix: string, bytes: number): Buffer {
    const start = PREFIX_ROOM - prefix.length;
    if (prefix !== '') this.#memory.write(prefix, start, 'latin1');
    return this.#memory.subarray(start, PREFIX_ROOM + bytes);
  }
}

/** The buffers of one transfer, of which it uses one at a time. */
export class CopyBuffers {
  #lent: CopyBuffer | undefined;
  #own: CopyBuffer | undefined;

  /** The one that has been taken, or one that is lent now, or the transfer's own. */
  take(): CopyBuffer {
    this.#lent ??= borrow();
    if (this.#lent !== undefined) return this.#lent;
    this.#own ??= new CopyBuffer(OWN_SIZE);
    return this.#own;
  }

  /** Nobody reads what is in it any more. Idempotent. */
  giveBack(): void {
    const buffer = this.#lent;
    if (buffer === undefined) return;
    this.#lent = undefined;
    lent--;
    if (kept.length < KEPT_MAX) kept.push(buffer);
  }

  /** Of one that may still be read: it is nobody's from now on, and collected when that is over. Idempotent. */
  forget(): void {
    this.#own = undefined;
    if (this.#lent === undefined) return;
    this.#lent = undefined;
    lent--;
  }
}

function borrow(): CopyBuffer | undefined {
  if (lent >= LENT_MAX) return undefined;
  lent++;
  return kept.pop() ?? new CopyBuffer(LENT_SIZE);
}
