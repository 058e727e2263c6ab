/** sendfile(2) and copying into a file: always off this thread, since writing to a file may wait for a disk. */
import { write } from 'node:fs';
import { constants, SyscallError, syscalls, type TransferMethod } from '@zerocopy/core-syscalls';
import {
  closeUnwaited,
  NOT_RESIDENT,
  type OwnedDescriptor,
  type Resume,
  readRetrying,
  SOURCE_ENDED,
  Transfer,
  type TransferEngine,
} from '@zerocopy/transfer';
import { endedEarly, type KernelSendOptions, type Send, type SendOutcome } from './kernel-send.js';
import { sendfileOffThread } from './offload.js';

const PIECE = 1024 * 1024;
const COPY_SIZE = 64 * 1024;
const { EAGAIN, EINTR, EINVAL, ENOSYS, EOPNOTSUPP, EOVERFLOW, EPERM } = constants;
/** EAGAIN: no file says that, and what else can be open here is Node's to write to. */
const REFUSALS: ReadonlySet<number> = new Set([-ENOSYS, -EINVAL, -EOPNOTSUPP, -EPERM, -EOVERFLOW, -EAGAIN]);

/** sendfile(2) to a file, at the destination's own position. */
export class FileSendfileEngine implements TransferEngine {
  method: 'sendfile' | 'copy' = 'sendfile';
  readonly syscall = 'sendfile';
  reason: string | undefined;
  readonly #out: OwnedDescriptor;
  readonly #fd: number;
  #position: number;
  #buffer: Buffer | undefined;

  constructor(out: OwnedDescriptor, fd: number, position: number) {
    this.#out = out;
    this.#fd = fd;
    this.#position = position;
  }

  attempt(): number {
    return NOT_RESIDENT;
  }

  wait(count: number, resume: Resume): void {
    this.offload(count, resume);
  }

  offload(count: number, resume: Resume): void {
    if (this.method === 'copy') {
      this.#copy(count, resume);
      return;
    }
    const cell = syscalls.setOffset(syscalls.createOffsetCell(), this.#position);
    sendfileOffThread(
      () => this.#out.fd,
      this.#fd,
      cell,
      Math.min(count, PIECE),
      (result) => {
        if (result > 0) {
          this.#position += result;
          resume(null, result);
        } else if (result === 0) resume(null, SOURCE_ENDED);
        else if (result === -EINTR) resume(null, 0);
        else if (REFUSALS.has(result)) {
          // For instance EINVAL: the destination is open for appending (rule 7).
          this.method = 'copy';
          this.reason = `sendfile was refused by the kernel (${new SyscallError(result, 'sendfile').code})`;
          resume(null, 0);
        } else resume(new SyscallError(result, 'sendfile'), 0);
      },
    );
  }

  #copy(count: number, resume: Resume): void {
    this.#buffer ??= Buffer.allocUnsafeSlow(COPY_SIZE);
    const buffer = this.#buffer;
    readRetrying(this.#fd, buffer, Math.min(count, COPY_SIZE), this.#position, (error, bytes) => {
      if (error) resume(error, 0);
      else if (bytes === 0) resume(null, SOURCE_ENDED);
      else this.#writeAll(buffer, 0, bytes, resume);
    });
  }

  #writeAll(buffer: Buffer, from: number, to: number, resume: Resume): void {
    write(this.#out.fd, buffer, from, to - from, null, (error, written) => {
      if (error) {
        this.#position += from;
        resume(error, from);
      } else if (from + written < to) this.#writeAll(buffer, from + written, to, resume);
      else {
        this.#position += to;
        resume(null, to);
      }
    });
  }
}

export type FileSendOptions = Omit<KernelSendOptions, 'destination'> & {
  /** Closed at the end. */
  readonly out: OwnedDescriptor;
};

/** One file range, sent by the kernel into another file. */
export class FileSend implements Send {
  readonly #transfer: Transfer;
  #stopped = false;

  constructor({ out, range, onEnd, ...rest }: FileSendOptions) {
    this.#transfer = new Transfer({
      ...rest,
      engine: new FileSendfileEngine(out, range.fd, range.position),
      length: range.length,
      onEnd: (error, result) => {
        closeUnwaited(out.release());
        const early = !this.#stopped && result.bytes < range.length ? endedEarly(result.bytes, range.length) : null;
        const failure = error ?? early;
        const outcome: SendOutcome =
          failure !== null
            ? { kind: 'failed', error: failure, result }
            : { kind: this.#stopped ? 'stopped' : 'completed', result };
        onEnd(outcome);
      },
    });
  }

  get method(): TransferMethod {
    return this.#transfer.method;
  }

  start(): void {
    this.#transfer.start();
  }

  stop(): void {
    this.#stopped = true;
    this.#transfer.stop(null);
  }

  fail(error: Error): void {
    this.#transfer.stop(error);
  }

  settle(): void {}
}
