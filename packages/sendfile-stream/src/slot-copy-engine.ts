/**
 * Copying within a slot of the socket's write queue, in the order in which the kernel would have sent: where the connection is
 * encrypted, or sendfile(2) has been refused. A warm piece is read on this thread (preadv2 with RWF_NOWAIT), a cold one on the
 * thread pool; it is written by the socket's own write, and the next one is read when the callback of that has come.
 */
import { NOT_RESIDENT, type Resume, readRetrying, SOURCE_ENDED, WOULD_BLOCK, type WriteSlot } from '@zerocopy/transfer';
import type { CarryingEngine } from './chunked-engine.js';
import { type CopyBuffer, CopyBuffers } from './copy-buffers.js';
import { readWarm } from './warm-read.js';

/** A piece that is warm only in part is written if that is so many bytes; else it is waited for. */
const SHORT_MIN = 64 * 1024;

export class SlotCopyEngine implements CarryingEngine {
  readonly method = 'copy';
  readonly syscall = 'read';
  readonly reason: string;
  readonly #slot: WriteSlot;
  readonly #fd: number;
  #position: number;
  readonly #buffers = new CopyBuffers();
  /** Bytes that have been read, and not written yet. */
  #read = 0;
  /** What goes before them. */
  #prefix = '';
  inStream = 0;

  /** @param position of the first byte. @param reason why it is copied. */
  constructor(slot: WriteSlot, fd: number, position: number, reason: string) {
    this.#slot = slot;
    this.#fd = fd;
    this.#position = position;
    this.reason = reason;
  }

  attempt(count: number): number {
    if (this.#read > 0) return WOULD_BLOCK;
    const { iovec, size } = this.#buffers.take();
    const wanted = Math.min(count, size);
    const result = readWarm(this.#fd, iovec, wanted, this.#position);
    if (result === 0) return 0;
    if (result !== wanted && result < SHORT_MIN) return NOT_RESIDENT;
    this.#read = result;
    return WOULD_BLOCK;
  }

  /** A read is waited for, whatever happens; a write, which may take as long as the receiver likes, can be left. */
  offload(count: number, resume: Resume): void {
    const { iovec, size } = this.#buffers.take();
    readRetrying(this.#fd, iovec.target, Math.min(count, size), this.#position, (error, bytes) => {
      if (error) return resume(error, 0);
      if (bytes === 0) return resume(null, SOURCE_ENDED);
      this.#read = bytes;
      resume(null, 0);
    });
  }

  wait(count: number, resume: Resume, prefix = ''): void {
    const before = this.#prefix + prefix;
    if (this.#read === 0) {
      // A chunk is to be opened, and nothing to put into it has been read yet.
      this.#prefix = before;
      resume(null, 0);
      return;
    }
    this.#prefix = '';
    this.#write(this.#buffers.take(), before, Math.min(this.#read, count), resume);
  }

  #write(buffer: CopyBuffer, prefix: string, bytes: number, resume: Resume): void {
    this.#read = 0;
    this.#position += bytes;
    this.inStream = bytes;
    this.#slot.write(buffer.chunk(prefix, bytes), (error) => {
      this.inStream = 0;
      this.#buffers.giveBack();
      if (error) resume(error, 0);
      else resume(null, bytes);
    });
  }

  leave(): void {
    if (this.inStream > 0) this.#buffers.forget();
    else this.#buffers.giveBack();
  }
}
