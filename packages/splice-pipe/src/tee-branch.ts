/**
 * One destination of a tee: what it has still to get of the piece under way is in a pipe of its own, or, where everything
 * is copied, in the chunk that is being written to it.
 */
import { constants, SyscallError, syscalls, type TransferError } from '@zerocopy/core-syscalls';
import { COPY_SIZE, closedEarly, describeRefusal, refusalOf } from '@zerocopy/transfer';
import type { KernelDestination } from './destination.js';
import { type Pipe, releasePipe, takeFromPipe } from './pipe-pool.js';
import { CARRY_SIZE, SPLICE_FLAGS } from './splice-call.js';
import { SPLICE_REFUSALS } from './splice-refusals.js';

const { EAGAIN, EINTR, EIO } = constants;

export class TeeBranch {
  bytes = 0;
  /** Why it was dropped. */
  error: TransferError | undefined;
  /** Why what is in its pipe is copied to it, once the kernel has refused to splice it. */
  refusal: string | undefined;
  pipe: Pipe | undefined;
  readonly #destination: KernelDestination;
  readonly #onDrop: ((error: TransferError) => void) | undefined;
  #carry: Buffer | undefined;
  /** Bytes that the stream behind it has accepted, and not acknowledged. */
  #inStream = 0;
  /** A call on another thread uses the pipe and the file. */
  #busy = false;
  #stopped = false;
  #closed = false;
  #whenIdle: (() => void) | undefined;

  /** @param onDrop what becomes of the stream behind it when it is dropped. */
  constructor(destination: KernelDestination, onDrop?: (error: TransferError) => void) {
    this.#destination = destination;
    this.#onDrop = onDrop;
  }

  /** It gets nothing more. Idempotent. */
  drop(error: TransferError): void {
    if (this.error !== undefined) return;
    this.error = error;
    this.release();
    this.#onDrop?.(error);
  }

  /** The transfer has ended: no further notice is taken of the stream behind it, and what that has accepted will arrive. */
  close(): void {
    if (this.error === undefined) this.bytes += this.#inStream;
    this.#closed = true;
    this.#destination.release?.();
  }

  /** Delivers what is in the pipe; calls back once, when it is empty or the destination has failed. */
  drain(done: (error: Error | null) => void): void {
    const pipe = this.pipe as Pipe;
    while (pipe.held > 0) {
      if (this.refusal !== undefined) return this.#carryOn(pipe, COPY_SIZE, done);
      if (this.#destination.mayBlock) return this.#drainOffThread(pipe, done);
      const fd = this.#destination.descriptor();
      if (fd < 0) return done(closedEarly('destination', this.bytes));
      const result = syscalls.splice(pipe.readFd, null, fd, null, pipe.held, SPLICE_FLAGS);
      if (result > 0) {
        this.#destination.moved(result);
        this.#drained(pipe, result);
      } else if (result === -EAGAIN) return this.#carryOn(pipe, CARRY_SIZE, done);
      else if (result !== -EINTR && !this.#refused(result))
        return done(new SyscallError(result === 0 ? EIO : result, 'splice'));
    }
    done(null);
  }

  write(chunk: Buffer, done: (error: Error | null) => void): void {
    this.#busy = this.#destination.mayBlock;
    if (!this.#busy) this.#inStream = chunk.length;
    this.#destination.write(chunk, (error, bytes) => {
      if (this.#busy || !this.#closed) this.bytes += bytes;
      this.#inStream = 0;
      this.#busy = false;
      this.#whenIdle?.();
      done(error);
    });
  }

  /** Resolves when no call on another thread is under way, and none follows. */
  idle(): Promise<void> {
    this.#stopped = true;
    return new Promise((resolve) => {
      if (this.#busy) this.#whenIdle = resolve;
      else resolve();
    });
  }

  /** Lets go of the pipe; one that still holds bytes is closed (kernel-rules: dirty-pipe). */
  release(): void {
    if (this.#busy) return; // comes again by way of idle()
    if (this.pipe !== undefined) releasePipe(this.pipe);
    this.pipe = undefined;
  }

  #drained(pipe: Pipe, bytes: number): void {
    pipe.held -= bytes;
    this.bytes += bytes;
  }

  #drainOffThread(pipe: Pipe, done: (error: Error | null) => void): void {
    this.#busy = true;
    this.#destination.spliceOffThread?.(pipe.readFd, pipe.held, (result) => {
      this.#busy = false;
      if (result > 0) {
        this.#destination.moved(result);
        this.#drained(pipe, result);
      }
      this.#whenIdle?.();
      if (this.#stopped || this.error !== undefined) return done(null); // nobody waits for the rest
      if (result === -EAGAIN) return this.#carryOn(pipe, COPY_SIZE, done); // no file waits: this piece is copied
      if (result <= 0 && result !== -EINTR && !this.#refused(result)) {
        return done(new SyscallError(result === 0 ? EIO : result, 'write'));
      }
      this.drain(done);
    });
  }

  /** Whether `result` says that it is not to be spliced to: then the rest is copied. */
  #refused(result: number): boolean {
    const refusal = refusalOf(SPLICE_REFUSALS, result, this.#destination.descriptor());
    if (refusal !== undefined) this.refusal = describeRefusal('splice to a destination', refusal);
    return refusal !== undefined;
  }

  #carryOn(pipe: Pipe, size: number, done: (error: Error | null) => void): void {
    if (this.#carry === undefined || this.#carry.length < size) this.#carry = Buffer.allocUnsafeSlow(size);
    const read = takeFromPipe(pipe, this.#carry, size);
    if (read <= 0) return done(new SyscallError(read === 0 ? EIO : read, 'read'));
    this.write(this.#carry.subarray(0, read), (error) => {
      if (error !== null) done(error);
      else if (this.#stopped || this.pipe === undefined)
        done(null); // nobody waits for the rest
      else this.drain(done);
    });
  }
}
