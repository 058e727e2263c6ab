/**
 * A copy from or to a FIFO. libuv waits for the other end, so that it can be aborted at any time; the bytes go through
 * memory. A FIFO that is copied ends when its last writer has closed it.
 */
import { read, write } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from '@zerocopy/core-syscalls';
import { type Resume, SOURCE_ENDED, type TransferEngine } from '@zerocopy/transfer';
import type { End } from './ends.js';

const CHUNK = 64 * 1024;

type Chunk = (error: Error | null, bytes: Buffer | null) => void;

/** How one of the ends is read or written, and closed. */
interface Side {
  /** Idempotent; waits for what is under way. */
  close(): Promise<void>;
}

class FifoSource implements Side {
  readonly #socket: Socket;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('error', () => {}); // read() below has a listener of its own while it waits
  }

  read(callback: Chunk): void {
    const bytes = this.#socket.read() as Buffer | null;
    if (bytes !== null) return callback(null, bytes);
    if (this.#socket.readableEnded || this.#socket.destroyed) return callback(this.#socket.errored, null);
    const settle = (error?: Error): void => {
      for (const [event, listener] of listeners) this.#socket.off(event, listener);
      if (error !== undefined) callback(error, null);
      else this.read(callback);
    };
    const listeners = [
      ['readable', () => settle()],
      ['end', () => settle()],
      ['close', () => settle()],
      ['error', (error: Error) => settle(error)],
    ] as const;
    for (const [event, listener] of listeners) this.#socket.on(event, listener);
  }

  async close(): Promise<void> {
    this.#socket.destroy();
  }
}

class FifoDestination implements Side {
  readonly #socket: Socket;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: false, writable: true });
    this.#socket.on('error', () => {}); // the write under way is told
  }

  write(bytes: Buffer, callback: (error: Error | null) => void): void {
    this.#socket.write(bytes, (error) => callback(error ?? null));
  }

  async close(): Promise<void> {
    this.#socket.destroy();
  }
}

/** A regular file or a device: read and written in order, on the thread pool. */
class PlainSide implements Side {
  readonly #fd: number;
  /** Null for a device, which may have no positions. */
  #position: number | null;
  #underWay: Promise<void> = Promise.resolve();

  constructor({ fd, kind }: End) {
    this.#fd = fd;
    this.#position = kind === 'file' ? 0 : null;
  }

  read(callback: Chunk): void {
    const buffer = Buffer.allocUnsafeSlow(CHUNK);
    this.#call((done) =>
      read(this.#fd, buffer, 0, CHUNK, this.#position, (error, bytes) => {
        done();
        this.#advance(bytes);
        callback(error, error === null && bytes > 0 ? buffer.subarray(0, bytes) : null);
      }),
    );
  }

  write(bytes: Buffer, callback: (error: Error | null) => void): void {
    this.#call((done) =>
      write(this.#fd, bytes, 0, bytes.length, this.#position, (error, written) => {
        done();
        this.#advance(written);
        if (error !== null || written === bytes.length) callback(error);
        else this.write(bytes.subarray(written), callback);
      }),
    );
  }

  #advance(bytes: number | undefined): void {
    if (this.#position !== null) this.#position += bytes ?? 0;
  }

  #call(start: (done: () => void) => void): void {
    this.#underWay = new Promise((resolve) => start(resolve));
  }

  /** The descriptor stays its opener's. */
  close(): Promise<void> {
    return this.#underWay;
  }
}

/** See above. It waits for ever for an end that never comes, unless it is stopped. */
export class PipeCopy implements TransferEngine {
  readonly method = 'copy';
  readonly syscall = 'copyfile';
  readonly reason: string;
  readonly #source: FifoSource | PlainSide;
  readonly #destination: FifoDestination | PlainSide;
  readonly #finish: () => Promise<void>;
  #closed = false;

  /** Takes over the descriptors of FIFOs. @param finish before the copy counts as done. */
  constructor(source: End, destination: End, finish: () => Promise<void>) {
    this.reason = source.kind === 'fifo' ? 'the source is a FIFO' : 'the destination is a FIFO';
    this.#source = source.kind === 'fifo' ? new FifoSource(source.fd) : new PlainSide(source);
    this.#destination = destination.kind === 'fifo' ? new FifoDestination(destination.fd) : new PlainSide(destination);
    this.#finish = finish;
  }

  /** Everything is done while it waits, which can be ended at any time. */
  attempt(): number {
    return -constants.EAGAIN;
  }

  wait(_count: number, resume: Resume): void {
    this.#source.read((error, bytes) => {
      if (this.#closed) return;
      if (error !== null) resume(error, 0);
      else if (bytes === null)
        this.#finish().then(
          () => resume(null, SOURCE_ENDED),
          (failed: Error) => resume(failed, 0),
        );
      else {
        this.#destination.write(bytes, (failed) => {
          if (!this.#closed) resume(failed, failed === null ? bytes.length : 0);
        });
      }
    });
  }

  /** When nothing is under way any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#source.close(), this.#destination.close()]);
  }
}
