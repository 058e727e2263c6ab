/**
 * One direction by splice(2): source → pipe → destination.
 *
 *   head ──► filling ◄──────────────► draining            (in user space: ──► copying)
 *              │ pipe empty, EAGAIN      │ EAGAIN
 *              ▼                         ▼
 *      waiting for the source    waiting for the destination
 *
 * Invariant: an attempt fills the pipe only when it is empty, or holds nothing but the byte that a wake-up brought.
 * So EAGAIN with an empty pipe speaks of the source, and with anything in the pipe that is drained first
 * (kernel-rules: pipe-slots).
 *
 * 0 from splice(2) is no end by itself: at the mark of urgent data it is the answer, though more follows
 * (kernel-rules: urgent-mark). A read decides, with an empty pipe.
 *
 * Whether it is spliced or copied is said in splice-choice.ts.
 */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import {
  COPY_SIZE,
  NOT_RESIDENT,
  type Resume,
  runOffThread,
  type Side,
  SOURCE_ENDED,
  WOULD_BLOCK,
} from '@zerocopy/transfer';
import type { KernelDestination } from './destination.js';
import { behind } from './head.js';
import { acquirePipe, FILL_MIN, type Pipe, releasePipe, takeAllFromPipe, takeFromPipe } from './pipe-pool.js';
import { readAfterZero, WATCH_SIZE_MAX } from './read-watcher.js';
import type { RelayEngine, RelayEngineOptions } from './relay.js';
import type { KernelSource } from './source.js';
import { CARRY_SIZE, FILE_PIECE, SPLICE_FLAGS } from './splice-call.js';
import { SpliceChoice } from './splice-choice.js';

/** Bytes that fit into any empty pipe, of one page, too. */
const PAGE = 4 * 1024;

const { EAGAIN, EBADF, EINTR, EIO, SPLICE_F_MORE } = constants;

export class SpliceEngine implements RelayEngine {
  readonly syscall = 'splice';
  readonly pieceMin: number = FILL_MIN;
  calls = 0;
  inStream = 0;
  /** Whose call failed, if one has. */
  failed: Side | undefined;
  /** Once closed: bytes that were read from the source, and neither delivered nor to be had again. */
  missing = 0;
  readonly #source: KernelSource;
  readonly #destination: KernelDestination;
  /** In user space, to be written next. */
  #head: Buffer;
  #ended: boolean;
  #sourceError = 0;
  #pipe: Pipe | undefined;
  #blocked: 'head' | Side = 'source';
  #offThread: 'fill' | 'drain' = 'drain';
  /** The pipe holds the byte of a wake-up, and the rest is to follow before it is drained. */
  #topUp = false;
  readonly #choice: SpliceChoice;
  #closed = false;
  #buffer: Buffer | undefined;

  constructor({ source, destination, head, eager }: RelayEngineOptions) {
    this.#source = source;
    this.#destination = destination;
    this.#head = head === undefined ? source.takeHead() : Buffer.concat([head, source.takeHead()]);
    this.#ended = source.ended;
    // A file is never written to in small pieces from here: it costs a thread-pool hop each, however they come.
    this.#choice = new SpliceChoice(eager || destination.mayBlock || source.mayBlock);
  }

  get method(): 'splice' | 'copy' {
    return this.reason === undefined ? 'splice' : 'copy';
  }

  get reason(): string | undefined {
    return this.#choice.reason;
  }

  /** Whether the source has been read to its end. */
  get ended(): boolean {
    return this.#ended;
  }

  get undelivered(): number {
    return this.#head.length + (this.#pipe?.held ?? 0) + this.inStream;
  }

  attempt(count: number): number {
    // A write to a file is a call on another thread: stopped, the transfer waits for it.
    if (this.#head.length > 0) return this.#block('head', this.#destination.mayBlock ? NOT_RESIDENT : WOULD_BLOCK);
    const pipe = this.#pipe;
    if (pipe === undefined || pipe.held === 0 || this.#topUp) {
      const filled = this.#fill(count);
      if (filled <= 0 && (this.#pipe === undefined || this.#pipe.held === 0)) return filled;
    }
    return this.#drain(this.#pipe as Pipe);
  }

  wait(count: number, resume: Resume): void {
    switch (this.#blocked) {
      case 'head':
        this.#writeHead(count, resume);
        break;
      case 'destination':
        this.#carry(this.#pipe as Pipe, this.#choice.destinationRefuses ? COPY_SIZE : CARRY_SIZE, resume);
        break;
      case 'source':
        this.#waitForSource(count, resume);
        break;
    }
  }

  offload(count: number, resume: Resume): void {
    if (this.#head.length > 0) {
      this.#writeHead(count, resume);
      return;
    }
    const pipe = this.#pipe as Pipe;
    if (this.#offThread === 'fill') this.#fillOffThread(pipe, count, resume);
    else if (this.#choice.destinationRefuses) this.#carry(pipe, COPY_SIZE, resume);
    else this.#drainOffThread(pipe, resume);
  }

  /**
   * Lets go of the pipe, once the transfer has ended.
   * @returns what had been read from the source and has not been delivered.
   */
  close(): Buffer {
    if (this.#closed) return Buffer.alloc(0);
    this.#closed = true;
    const pipe = this.#pipe;
    this.#pipe = undefined;
    if (pipe === undefined) return this.#head;
    const taken = takeAllFromPipe(pipe);
    this.missing = pipe.held;
    releasePipe(pipe);
    if (this.missing === 0) return Buffer.concat([taken, this.#head]);
    this.missing += this.#head.length; // what follows a gap is of no use
    return taken;
  }

  #block(on: 'head' | Side, answer: number): number {
    this.#blocked = on;
    return answer;
  }

  /** Returns what an attempt does; with bytes in the pipe, that does not matter. */
  #fill(count: number): number {
    const topUp = this.#topUp;
    this.#topUp = false;
    if (this.#sourceError !== 0) {
      this.failed = 'source';
      return this.#sourceError;
    }
    if (this.#ended) return 0;
    if (!this.#choice.fillsPipe) return this.#block('source', WOULD_BLOCK);
    const pipe = this.#acquire();
    this.#choice.withoutPipe = pipe === null;
    if (pipe === null) return this.#block('source', WOULD_BLOCK);
    if (this.#source.mayBlock) {
      this.#offThread = 'fill';
      return NOT_RESIDENT;
    }
    const fd = this.#source.descriptor();
    if (fd < 0) {
      this.failed = 'source';
      return -EBADF;
    }
    const size = count - pipe.held;
    if (size <= 0) return 0;
    this.calls++;
    const result = syscalls.splice(fd, null, pipe.writeFd, null, size, SPLICE_FLAGS);
    if (result > 0) {
      pipe.held += result;
      this.#source.took(result);
      if (topUp) this.#wokeUpFor(pipe.held);
      return result;
    }
    if (topUp && result === -EAGAIN) this.#wokeUpFor(pipe.held);
    if (result === 0) return pipe.held > 0 ? 0 : this.#atZero(fd, size);
    return this.#notFilled(result, pipe);
  }

  /** splice(2) has answered 0: what a read brings, or its end, is believed. */
  #atZero(fd: number, size: number): number {
    this.calls++;
    const result = readAfterZero(fd, size);
    this.#releaseEmpty();
    if (typeof result !== 'number') {
      this.#source.took(result.length);
      this.#head = Buffer.from(result);
      return this.#block('head', this.#destination.mayBlock ? NOT_RESIDENT : WOULD_BLOCK);
    }
    if (result === 0) this.#ended = true;
    else if (result === -EAGAIN) this.#blocked = 'source';
    else this.failed = 'source';
    return result;
  }

  #notFilled(result: number, pipe: Pipe): number {
    if (result === -EAGAIN) {
      if (pipe.held === 0) this.#releaseEmpty();
      return this.#block('source', result);
    }
    if (result === -EINTR) return result;
    if (this.#choice.isRefused('source', result, pipe.writeFd)) {
      if (pipe.held === 0) this.#releaseEmpty();
      return this.#block('source', WOULD_BLOCK);
    }
    // A socket tells its error once, and looks ended afterwards: keep it until the pipe has been drained.
    this.#sourceError = result;
    if (pipe.held === 0) this.failed = 'source';
    return result;
  }

  #drain(pipe: Pipe): number {
    if (this.#destination.mayBlock) {
      this.#offThread = 'drain';
      return NOT_RESIDENT;
    }
    if (this.#choice.destinationRefuses) return this.#block('destination', WOULD_BLOCK);
    const fd = this.#destination.descriptor();
    if (fd < 0) {
      this.failed = 'destination';
      return -EBADF;
    }
    this.calls++;
    // MORE on a last piece would hold it back for 200 ms (kernel-rules: splice-more): only where the next bytes are
    // certain.
    const flags = this.#source.certain > 0 ? SPLICE_FLAGS | SPLICE_F_MORE : SPLICE_FLAGS;
    const result = syscalls.splice(pipe.readFd, null, fd, null, pipe.held, flags);
    if (result > 0) {
      this.#destination.moved(result);
      this.#drained(pipe, result);
      return result;
    }
    return this.#notDrained(result);
  }

  #notDrained(result: number): number {
    if (result === -EAGAIN) return this.#block('destination', result);
    if (result === -EINTR) return result;
    if (this.#choice.isRefused('destination', result, this.#destination.descriptor())) {
      return this.#block('destination', WOULD_BLOCK);
    }
    this.failed = 'destination';
    return result === 0 ? -EIO : result; // 0 out of a pipe that holds data (kernel-rules: zero-is-end)
  }

  #drained(pipe: Pipe, bytes: number): void {
    this.#choice.spliced();
    pipe.held -= bytes;
    this.#source.delivered(bytes);
  }

  #fillOffThread(pipe: Pipe, count: number, resume: Resume): void {
    this.calls++;
    const fill = (done: (result: number) => void): void =>
      syscalls.spliceAsync(
        this.#source.descriptor(),
        null,
        pipe.writeFd,
        null,
        Math.min(count, FILE_PIECE),
        SPLICE_FLAGS,
        done,
      );
    runOffThread(fill, (result) => {
      if (result > 0) {
        pipe.held += result;
        this.#source.took(result);
        resume(null, 0);
        return;
      }
      // No file waits, and an end is one if a read says so, too: this piece is copied.
      const answer = result === 0 ? -EAGAIN : this.#notFilled(result, pipe);
      if (answer === -EAGAIN) this.#waitForSource(count, resume, false);
      else if (answer === WOULD_BLOCK || answer === -EINTR) resume(null, 0);
      else resume(new SyscallError(answer, 'splice'), 0);
    });
  }

  #drainOffThread(pipe: Pipe, resume: Resume): void {
    this.calls++;
    this.#destination.spliceOffThread?.(pipe.readFd, pipe.held, (result) => {
      if (result > 0) {
        this.#destination.moved(result);
        this.#drained(pipe, result);
        resume(null, result);
        return;
      }
      const answer = this.#notDrained(result);
      if (answer === -EAGAIN)
        this.#carry(pipe, COPY_SIZE, resume); // no file waits: this piece is copied
      else if (answer === WOULD_BLOCK || answer === -EINTR) resume(null, 0);
      else resume(new SyscallError(answer, 'write'), 0);
    });
  }

  /** Takes bytes out of the pipe and sends them by the destination's stream, whose callback is the wake-up. */
  #carry(pipe: Pipe, size: number, resume: Resume): void {
    const buffer = this.#scratch(size);
    const read = takeFromPipe(pipe, buffer, size);
    this.calls++;
    if (read <= 0) {
      this.failed = 'destination';
      resume(new SyscallError(read === 0 ? EIO : read, 'read'), 0);
      return;
    }
    this.#write(buffer.subarray(0, read), resume);
  }

  #scratch(size: number): Buffer {
    if (this.#buffer === undefined || this.#buffer.length < size) this.#buffer = Buffer.allocUnsafeSlow(size);
    return this.#buffer;
  }

  #writeHead(count: number, resume: Resume): void {
    const part = this.#head.subarray(0, count);
    this.#head = behind(this.#head, part.length);
    this.#write(part, resume);
  }

  #write(chunk: Buffer, resume: Resume): void {
    this.inStream = chunk.length;
    this.calls++;
    this.#destination.write(chunk, (error, bytes) => this.#written(error, bytes, resume));
  }

  #written(error: Error | null, bytes: number, resume: Resume): void {
    this.inStream = 0;
    this.#choice.copied(bytes);
    if (error !== null) this.failed = 'destination';
    this.#source.delivered(bytes);
    resume(error, bytes);
  }

  #waitForSource(
    count: number,
    resume: Resume,
    oneByte: boolean = this.#choice.fillsPipe && !this.#choice.withoutPipe,
  ): void {
    this.#source.onReadable(oneByte ? 1 : Math.min(count, WATCH_SIZE_MAX), (error, chunk) => {
      if (error !== null) {
        this.failed = 'source';
        resume(error, 0);
      } else if (chunk === null) {
        this.#ended = true;
        resume(null, SOURCE_ENDED);
      } else this.#received(chunk, count, oneByte, resume);
    });
  }

  #received(chunk: Uint8Array, count: number, oneByte: boolean, resume: Resume): void {
    this.#source.took(chunk.length);
    this.calls++;
    if (oneByte && chunk.length <= Math.min(count, PAGE)) {
      const pipe = this.#acquire();
      if (pipe !== null && syscalls.write(pipe.writeFd, chunk, chunk.length) === chunk.length) {
        this.calls++;
        pipe.held += chunk.length;
        this.#topUp = true;
        resume(null, 0);
        return;
      }
    }
    if (this.#destination.mayBlock) {
      this.#head = Buffer.from(chunk);
      resume(null, 0);
      return;
    }
    const part = chunk.subarray(0, count);
    if (part.length < chunk.length) this.#head = Buffer.from(chunk.subarray(count)); // more than asked for: given back
    this.#choice.read(chunk.length);
    this.inStream = part.length;
    this.calls++;
    this.#destination.send(part, (error, bytes) => this.#written(error, bytes, resume));
  }

  #wokeUpFor(bytes: number): void {
    if (!this.#destination.mayBlock) this.#choice.wokeUpFor(bytes);
  }

  #acquire(): Pipe | null {
    this.#pipe ??= acquirePipe() ?? undefined;
    return this.#pipe ?? null;
  }

  #releaseEmpty(): void {
    const pipe = this.#pipe;
    this.#pipe = undefined;
    if (pipe !== undefined) releasePipe(pipe);
  }
}
