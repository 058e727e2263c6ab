/**
 * The engines that write into a file: sendfile(2), and the copying that takes over where it is refused. Always off this
 * thread, since writing to a file may wait for a disk.
 */
import { write } from 'node:fs';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import {
  COPY_SIZE,
  describeRefusal,
  NOT_RESIDENT,
  type Resume,
  readRetrying,
  refusalOf,
  type Side,
  type SlotEngine,
  SOURCE_ENDED,
  setTimeout,
  type TransferEngine,
  WOULD_BLOCK,
} from '@zerocopy/transfer';
import { sendfileOffThread } from './offload.js';
import { FILE_SENDFILE_REFUSALS } from './sendfile-refusals.js';

const PIECE = 1024 * 1024;
/** Milliseconds after which a descriptor that was full is written to again, where nothing tells when it drains. */
const FULL_DELAY = 5;
const { EINTR } = constants;

/** A descriptor that stays open for as long as a transfer writes to it. */
export interface OutFile {
  readonly fd: number;
}

/** A descriptor that is read, and kept open for each read: one that is not waited for any more still uses it. */
export interface InFile {
  readonly fd: number;
  hold(): void;
  release(): void;
}

/** sendfile(2) to a file, at the destination's own position. */
export class FileSendfileEngine implements SlotEngine {
  readonly method = 'sendfile';
  readonly syscall = 'sendfile';
  readonly #out: OutFile;
  readonly #file: InFile;
  #position: number;

  constructor(out: OutFile, file: InFile, position: number) {
    this.#out = out;
    this.#file = file;
    this.#position = position;
  }

  attempt(): number {
    return NOT_RESIDENT;
  }

  wait(count: number, resume: Resume): void {
    this.offload(count, resume);
  }

  offload(count: number, resume: Resume): void {
    const cell = syscalls.setOffset(syscalls.createOffsetCell(), this.#position);
    sendfileOffThread(
      () => this.#out.fd,
      this.#file.fd,
      cell,
      Math.min(count, PIECE),
      (result) => {
        if (result > 0) {
          this.#position += result;
          resume(null, result);
        } else if (result === 0) resume(null, SOURCE_ENDED);
        else if (result === -EINTR) resume(null, 0);
        else resume(new SyscallError(result, 'sendfile'), 0);
      },
    );
  }

  /** For instance after EINVAL: the destination is open for appending (kernel-rules: seekable-source). */
  successor(errno: number): TransferEngine | undefined {
    const refusal = refusalOf(FILE_SENDFILE_REFUSALS, errno, this.#out.fd, this.#file.fd);
    if (refusal === undefined) return undefined;
    return new FileCopyEngine(this.#out, this.#file, this.#position, describeRefusal('sendfile', refusal));
  }
}

/** Reads a piece, then writes it, on libuv's thread pool. */
export class FileCopyEngine implements SlotEngine {
  readonly method = 'copy';
  readonly syscall = 'write';
  readonly reason: string;
  failed: Side | undefined;
  readonly #out: OutFile;
  readonly #file: InFile;
  #position: number | null;
  #buffer: Buffer | undefined;
  /** Read, and not written yet. */
  #read: Buffer | undefined;
  #full = false;

  /** @param position of the first byte; null: the descriptor's own. */
  constructor(out: OutFile, file: InFile, position: number | null, reason: string) {
    this.#out = out;
    this.#file = file;
    this.#position = position;
    this.reason = reason;
  }

  attempt(): number {
    if (this.#full) return WOULD_BLOCK;
    // A file's read ends by itself; that of a FIFO may never, and must be left when the transfer is to end.
    return this.#read === undefined && this.#position === null ? WOULD_BLOCK : NOT_RESIDENT;
  }

  wait(count: number, resume: Resume): void {
    if (!this.#full) return this.offload(count, resume);
    setTimeout(() => {
      this.#full = false;
      resume(null, 0);
    }, FULL_DELAY);
  }

  offload(count: number, resume: Resume): void {
    if (this.#read !== undefined) this.#write(this.#read, 0, resume);
    else this.#fill(count, resume);
  }

  #fill(count: number, resume: Resume): void {
    this.#buffer ??= Buffer.allocUnsafeSlow(COPY_SIZE);
    const buffer = this.#buffer;
    this.#file.hold();
    readRetrying(this.#file.fd, buffer, Math.min(count, COPY_SIZE), this.#position, (error, bytes) => {
      this.#file.release();
      if (error) {
        this.failed = 'source';
        resume(error, 0);
      } else if (bytes === 0) resume(null, SOURCE_ENDED);
      else {
        this.#read = buffer.subarray(0, bytes);
        if (this.#position !== null) this.#position += bytes;
        resume(null, 0);
      }
    });
  }

  /** @param written how much of it has been written before: told together with the rest. */
  #write(chunk: Buffer, written: number, resume: Resume): void {
    write(this.#out.fd, chunk, 0, chunk.length, null, (error, bytes) => {
      if (error?.code === 'EAGAIN') {
        this.#full = true;
        resume(null, written);
      } else if (error) {
        this.failed = 'destination';
        resume(error, written);
      } else if (bytes < chunk.length) {
        this.#read = chunk.subarray(bytes);
        this.#write(this.#read, written + bytes, resume);
      } else {
        this.#read = undefined;
        resume(null, written + bytes);
      }
    });
  }
}
