/**
 * One direction whose source is a pipe itself: spliced directly, without a second pipe.
 *
 * EAGAIN may speak of either end here; how many bytes the pipe holds (FIONREAD) decides which (kernel-rules: pipe-slots).
 */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import {
  COPY_SIZE,
  describeRefusal,
  NOT_RESIDENT,
  OwnedDescriptor,
  type Resume,
  refusalOf,
  type Side,
  SOURCE_ENDED,
  WOULD_BLOCK,
} from '@zerocopy/transfer';
import type { KernelDestination } from './destination.js';
import { behind, NO_BYTES } from './head.js';
import { readAfterZero } from './read-watcher.js';
import type { RelayEngine, RelayEngineOptions } from './relay.js';
import type { KernelSource } from './source.js';
import { CARRY_SIZE, FILE_PIECE, SPLICE_FLAGS } from './splice-call.js';
import { SPLICE_REFUSALS } from './splice-refusals.js';

const { EAGAIN, EBADF, EINTR, FIONREAD } = constants;
const held = new Int32Array(1);

export class PipeEngine implements RelayEngine {
  readonly syscall = 'splice';
  reason: string | undefined;
  calls = 0;
  inStream = 0;
  failed: Side | undefined;
  readonly missing = 0;
  readonly #source: KernelSource;
  readonly #destination: KernelDestination;
  #head: Buffer;
  #ended: boolean;
  #blocked: 'head' | Side = 'source';
  #buffer: Buffer | undefined;

  constructor({ source, destination, head }: RelayEngineOptions) {
    this.#source = source;
    this.#destination = destination;
    this.#head = head === undefined ? source.takeHead() : Buffer.concat([head, source.takeHead()]);
    this.#ended = source.ended;
  }

  get method(): 'splice' | 'copy' {
    return this.reason === undefined ? 'splice' : 'copy';
  }

  get ended(): boolean {
    return this.#ended;
  }

  attempt(count: number): number {
    if (this.#head.length > 0) return this.#block('head', this.#destination.mayBlock ? NOT_RESIDENT : WOULD_BLOCK);
    if (this.#ended) return 0;
    const from = this.#source.descriptor();
    const to = this.#destination.descriptor();
    if (from < 0 || to < 0) {
      this.failed = from < 0 ? 'source' : 'destination';
      return -EBADF;
    }
    if (this.reason !== undefined) return this.#block('source', WOULD_BLOCK);
    // Off this thread only when there is something: a file is never waited for, and the end comes by the watcher.
    if (this.#destination.mayBlock) return this.#heldIn(from) > 0 ? NOT_RESIDENT : this.#block('source', WOULD_BLOCK);
    this.calls++;
    const result = syscalls.splice(from, null, to, null, count, SPLICE_FLAGS);
    if (result > 0) {
      this.#destination.moved(result);
      this.#moved(result);
      return result;
    }
    if (result === 0) return this.#atZero(from, count);
    if (result === -EAGAIN) return this.#block(this.#heldIn(from) > 0 ? 'destination' : 'source', result);
    return this.#notSpliced(result);
  }

  /** splice(2) has answered 0: what a read brings, or its end, is believed (kernel-rules: urgent-mark). */
  #atZero(fd: number, count: number): number {
    this.calls++;
    const result = readAfterZero(fd, count);
    if (typeof result !== 'number') {
      this.#source.took(result.length);
      this.#head = Buffer.from(result);
      return this.#block('head', this.#destination.mayBlock ? NOT_RESIDENT : WOULD_BLOCK);
    }
    if (result === 0) this.#ended = true;
    else if (result === -EAGAIN) return this.#block('source', result);
    else this.failed = 'source';
    return result;
  }

  wait(count: number, resume: Resume): void {
    if (this.#blocked === 'head') this.#writeHead(count, resume);
    else if (this.#blocked === 'destination') this.#carry(Math.min(count, CARRY_SIZE), resume);
    else {
      // One byte is the wake-up; what comes with it is spliced.
      this.#source.onReadable(this.reason === undefined ? 1 : Math.min(count, COPY_SIZE), (error, chunk) => {
        if (error !== null) {
          this.failed = 'source';
          resume(error, 0);
        } else if (chunk === null) {
          this.#ended = true;
          resume(null, SOURCE_ENDED);
        } else {
          this.#source.took(chunk.length);
          this.#head = Buffer.from(chunk);
          resume(null, 0);
        }
      });
    }
  }

  offload(count: number, resume: Resume): void {
    if (this.#head.length > 0) {
      this.#writeHead(count, resume);
      return;
    }
    this.calls++;
    let own: OwnedDescriptor; // the stream may be closed, and its number used again, while the call runs (kernel-rules: fd-reuse)
    try {
      own = OwnedDescriptor.duplicate(this.#source.descriptor());
    } catch (error) {
      resume(error as Error, 0);
      return;
    }
    this.#destination.spliceOffThread?.(own.fd, Math.min(count, FILE_PIECE), (result) => {
      const end = result === 0 ? this.#atZero(own.fd, count) : 0;
      own.close();
      if (result > 0) {
        this.#destination.moved(result);
        this.#moved(result);
        resume(null, result);
      } else if (result === 0) {
        if (this.#ended) resume(null, SOURCE_ENDED);
        else if (this.failed === undefined) resume(null, 0);
        else resume(new SyscallError(end, 'read'), 0);
      } else {
        const answer = result === -EAGAIN ? result : this.#notSpliced(result);
        if (answer === -EAGAIN || answer === -EINTR || answer === WOULD_BLOCK) resume(null, 0);
        else resume(new SyscallError(answer, 'write'), 0);
      }
    });
  }

  /** @returns what had been read from the source and has not been delivered. */
  close(): Buffer {
    const head = this.#head;
    this.#head = NO_BYTES;
    return head;
  }

  #heldIn(fd: number): number {
    return syscalls.ioctl(fd, FIONREAD, held) < 0 ? 0 : (held[0] as number);
  }

  #block(on: 'head' | Side, answer: number): number {
    this.#blocked = on;
    return answer;
  }

  #moved(bytes: number): void {
    this.#source.took(bytes);
    this.#source.delivered(bytes);
  }

  #notSpliced(result: number): number {
    if (result === -EINTR) return result;
    const refusal = refusalOf(SPLICE_REFUSALS, result, this.#destination.descriptor());
    if (refusal !== undefined) {
      this.reason = describeRefusal('splice', refusal);
      return this.#block('source', WOULD_BLOCK);
    }
    this.failed = 'destination'; // a pipe does not fail under a read
    return result;
  }

  #scratch(): Buffer {
    this.#buffer ??= Buffer.allocUnsafeSlow(CARRY_SIZE);
    return this.#buffer;
  }

  #carry(size: number, resume: Resume): void {
    const buffer = this.#scratch();
    this.calls++;
    const read = syscalls.read(this.#source.descriptor(), buffer, size);
    if (read > 0) {
      this.#source.took(read);
      this.#write(buffer.subarray(0, read), resume);
    } else if (read === 0 || read === -EAGAIN || read === -EINTR)
      resume(null, 0); // somebody else reads it as well
    else {
      this.failed = 'source';
      resume(new SyscallError(read, 'read'), 0);
    }
  }

  #writeHead(count: number, resume: Resume): void {
    const part = this.#head.subarray(0, count);
    this.#head = behind(this.#head, part.length);
    this.#write(part, resume);
  }

  #write(chunk: Buffer, resume: Resume): void {
    this.inStream = chunk.length;
    this.calls++;
    this.#destination.write(chunk, (error, bytes) => {
      this.inStream = 0;
      if (error !== null) this.failed = 'destination';
      this.#source.delivered(bytes);
      resume(error, bytes);
    });
  }
}
