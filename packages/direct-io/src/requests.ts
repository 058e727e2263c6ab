/**
 * Reads and writes at a position, made on libuv's thread pool by node:fs: it keeps the memory alive for as long as the
 * kernel writes to it, and a worker thread that is terminated waits for them. All go through the bounded queue that this
 * project's calls share, so that a thread is always left to others (kernel-rules: koffi-cost).
 */
import { fdatasync, read, write } from 'node:fs';
import { SyscallError } from '@zerocopy/core-syscalls';
import { type OffThreadWait, runOffThread, setImmediate } from '@zerocopy/transfer';

/** How a request has ended: an error of node:fs, or bytes. */
export type Done = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/** Makes one request. */
type Request = (done: Done) => void;

/** Requests on files of one kind. */
export class ThreadRequests {
  readonly #wait: OffThreadWait;

  /** @param wait whether they wait for a disk of this machine, or perhaps for a server. */
  constructor(wait: OffThreadWait) {
    this.#wait = wait;
  }

  /** Reads up to `length` bytes into `memory`, from its byte `offset` on. */
  read(fd: number, memory: Buffer, offset: number, length: number, position: number, done: Done): void {
    this.#run((ended) => readUninterrupted(fd, memory, offset, length, position, ended), 'read', done);
  }

  /** Writes up to `length` bytes of `memory`, from its byte `offset` on. */
  write(fd: number, memory: Uint8Array, offset: number, length: number, position: number, done: Done): void {
    this.#run((ended) => write(fd, memory, offset, length, position, ended), 'write', done);
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
function readUninterrupted(...[fd, memory, offset, length, position, done]: Parameters<ThreadRequests['read']>): void {
  read(fd, memory, offset, length, position, (error, bytes) => {
    if (error?.code === 'EINTR') readUninterrupted(fd, memory, offset, length, position, done);
    else done(error, bytes);
  });
}
