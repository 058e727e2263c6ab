/**
 * Reads and writes at a position, made on libuv's thread pool by node:fs: it keeps the memory alive for as long as the
 * kernel writes to it, and a worker thread that is terminated waits for them. All go through the bounded queue that this
 * project's calls share, so that a thread is always left to others (kernel-rules: koffi-cost).
 */
import { fdatasync, read, readv, write, writev } from 'node:fs';
import { SyscallError } from '@zerocopy/core-syscalls';
import { type OffThreadWait, runOffThread, setImmediate } from '@zerocopy/transfer';

/** How a request has ended: an error of node:fs, or bytes. */
export type Done = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/** Makes one request. */
type Request = (done: Done) => void;

/** Memory that has been transferred has no bytes. */
export const detached = (): NodeJS.ErrnoException =>
  Object.assign(new Error('the memory of the data was detached before the request was made'), {
    code: 'ERR_INVALID_STATE',
  });

const lengthOf = (memory: readonly Uint8Array[]): number => memory.reduce((sum, { length }) => sum + length, 0);

/** Requests on files of one kind. */
export class ThreadRequests {
  readonly #wait: OffThreadWait;

  /** @param wait whether they wait for a disk of this machine, or perhaps for a server. */
  constructor(wait: OffThreadWait) {
    this.#wait = wait;
  }

  /** Reads up to `length` bytes, which is what all of the memory has, into one piece after the other. */
  read(fd: number, memory: readonly Buffer[], length: number, position: number, done: Done): void {
    const request: Request = (ended) => {
      if (lengthOf(memory) !== length) throw detached();
      readUninterrupted(fd, memory, position, ended);
    };
    this.#run(request, 'read', done);
  }

  /** Writes as many bytes as the memory has, at most, one piece after the other. */
  write(fd: number, memory: readonly Uint8Array[], position: number, done: Done): void {
    const length = lengthOf(memory);
    const [first] = memory;
    const request: Request = (ended) => {
      // What follows would be written in the place of what is gone.
      if (lengthOf(memory) !== length) throw detached();
      if (memory.length === 1 && first !== undefined) write(fd, first, 0, length, position, ended);
      else writev(fd, memory, position, ended);
    };
    this.#run(request, 'write', done);
  }

  /** fdatasync(2). */
  datasync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void {
    this.#run((ended) => fdatasync(fd, (error) => ended(error, 0)), 'fdatasync', done);
  }

  #run(request: Request, syscall: string, done: Done): void {
    let failure: NodeJS.ErrnoException | null = null;
    runOffThread(
      (settle) => {
        const ended: Done = (error, bytes) => {
          failure = error;
          settle(failure === null ? bytes : 0);
        };
        try {
          request(ended);
        } catch (error) {
          setImmediate(ended, error as NodeJS.ErrnoException, 0); // memory that has been detached meanwhile
        }
      },
      (bytes) => done(failure ?? (bytes < 0 ? new SyscallError(bytes, syscall) : null), Math.max(0, bytes)),
      this.#wait,
    );
  }
}

/** libuv repeats every call that a signal interrupts, except read and close (kernel-rules: eintr). */
function readUninterrupted(fd: number, memory: readonly Buffer[], position: number, done: Done): void {
  const ended = (error: NodeJS.ErrnoException | null, bytes: number): void => {
    if (error?.code === 'EINTR') readUninterrupted(fd, memory, position, done);
    else done(error, bytes);
  };
  const [only] = memory;
  if (memory.length === 1 && only !== undefined) read(fd, only, 0, only.length, position, ended);
  else readv(fd, memory, position, ended);
}
