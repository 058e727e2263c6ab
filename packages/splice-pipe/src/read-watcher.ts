/**
 * Waiting until a socket or pipe can be read, without a private event loop: a net.Socket on a duplicate of the
 * descriptor reads into a buffer of our choice (`onread`): one byte where the rest is to be spliced, many where the
 * traffic is so small that a pipe would cost more than the copy. It is never ended, only destroyed: end() would shut
 * down the connection that the original shares.
 */
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { OwnedDescriptor } from '@zerocopy/core-syscalls/internals';

/** The most one wake-up brings, in bytes. */
export const WATCH_SIZE_MAX: number = 64 * 1024;

/** The bytes are valid during the call only. Null: the end of the stream. */
export type ReadableCallback = (error: Error | null, chunk: Uint8Array | null) => void;

/** Every watcher of this thread reads into it: what a callback leaves there, the next one overwrites. */
let shared: Uint8Array | undefined;

export class ReadWatcher {
  readonly #socket: Socket;
  #callback: ReadableCallback | undefined;
  #size = 1;
  #inCallback = false;
  /** Set when nothing more comes: by the end of the stream, or an error. */
  #over: { readonly error: Error | null } | undefined;

  /** @throws {Error} if the descriptor cannot be duplicated (EMFILE), or libuv cannot watch its kind. */
  constructor(fd: number) {
    const own = OwnedDescriptor.duplicate(fd);
    try {
      const options: SocketConstructorOpts & { onread: OnReadOpts } = {
        fd: own.fd,
        readable: true,
        writable: false,
        allowHalfOpen: true,
        onread: { buffer: () => this.#buffer(), callback: (bytes, buffer) => this.#onBytes(bytes, buffer) },
      };
      this.#socket = new Socket(options);
    } catch (error) {
      own.close();
      throw error;
    }
    own.release();
    const end = (error: Error | null): void => {
      this.#over ??= { error };
      this.#settle(this.#over.error, null);
    };
    this.#socket.on('end', () => end(null));
    this.#socket.on('error', end);
  }

  /** Calls back once, with at most `size` bytes; with one, if it is not called from within the callback. */
  wait(size: number, callback: ReadableCallback): void {
    this.#size = Math.min(size, WATCH_SIZE_MAX);
    this.#callback = callback;
    const over = this.#over;
    if (over !== undefined) process.nextTick(() => this.#settle(over.error, null));
    else if (!this.#inCallback) this.#socket.resume();
  }

  destroy(): void {
    this.#callback = undefined;
    this.#socket.destroy();
  }

  #buffer(): Uint8Array {
    shared ??= new Uint8Array(WATCH_SIZE_MAX);
    // Chosen when the last read is over, and used by the next: more than will then be asked for must not be read.
    return shared.subarray(0, this.#callback === undefined ? 1 : this.#size);
  }

  /** Returning false stops libuv's reading: no byte may arrive while nobody waits for it. */
  #onBytes(bytes: number, buffer: Uint8Array): boolean {
    this.#inCallback = true;
    this.#settle(null, buffer.subarray(0, bytes));
    this.#inCallback = false;
    return this.#callback !== undefined;
  }

  #settle(error: Error | null, chunk: Uint8Array | null): void {
    const callback = this.#callback;
    this.#callback = undefined;
    callback?.(error, chunk);
  }
}
