/**
 * Waiting until a socket or pipe can be read, without a private event loop: a net.Socket on a duplicate of the
 * descriptor reads into a buffer of our choice (`onread`): one byte where the rest is to be spliced, many where the
 * traffic is so small that a pipe would cost more than the copy. It is never ended, only destroyed: end() would shut
 * down the connection that the original shares.
 *
 * Its end is looked at twice: libuv reports one when a read that comes up short and a hang-up arrive together, even if
 * the connection was reset, and even if there is more to read. So what follows is read by hand.
 */
import type { OnReadOpts, Socket, SocketConstructorOpts } from 'node:net';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { nextTick, OwnedDescriptor, setImmediate, socketOver } from '@zerocopy/transfer';

/** The most one wake-up brings, in bytes. */
export const WATCH_SIZE_MAX: number = 64 * 1024;

/** The bytes are valid during the call only. Null: the end of the stream. */
export type ReadableCallback = (error: Error | null, chunk: Uint8Array | null) => void;

/** Every watcher of this thread reads into it: what a callback leaves there, the next one overwrites. */
let shared: Uint8Array | undefined;

const { EAGAIN, EINTR } = constants;

/** read(2), again after EINTR: bytes read, 0 at the end, or a negative errno. */
export function readOn(fd: number, buffer: Uint8Array): number {
  let result: number;
  do result = syscalls.read(fd, buffer, buffer.length);
  while (result === -EINTR);
  return result;
}

/**
 * After splice(2) has answered 0: what a read brings, or its end, is believed.
 * @returns up to `size` bytes, valid until the next call; or 0 at the end, or a negative errno.
 */
export function readAfterZero(fd: number, size: number): Uint8Array | number {
  shared ??= new Uint8Array(WATCH_SIZE_MAX);
  const result = readOn(fd, shared.subarray(0, Math.min(size, WATCH_SIZE_MAX)));
  return result > 0 ? shared.subarray(0, result) : result;
}

export class ReadWatcher {
  readonly #descriptor: () => number;
  readonly #socket: Socket;
  #callback: ReadableCallback | undefined;
  #size = 1;
  #inCallback = false;
  /** Set when nothing more comes: by the end of the stream, or an error. */
  #over: { readonly error: Error | null } | undefined;

  /**
   * @param descriptor tells the original, or -1 once it is closed.
   * @throws {Error} if it cannot be duplicated (EMFILE), or libuv cannot watch its kind.
   */
  constructor(descriptor: () => number) {
    this.#descriptor = descriptor;
    const options: Omit<SocketConstructorOpts, 'fd'> & { onread: OnReadOpts } = {
      readable: true,
      writable: false,
      allowHalfOpen: true,
      onread: { buffer: () => this.#buffer(), callback: (bytes, buffer) => this.#onBytes(bytes, buffer) },
    };
    this.#socket = socketOver(OwnedDescriptor.duplicate(descriptor()), options);
    this.#socket.on('end', () => {
      this.#over ??= { error: null };
      this.#afterEnd();
    });
    this.#socket.on('error', (error) => {
      this.#over ??= { error };
      this.#afterEnd();
    });
  }

  /** Calls back once, with at most `size` bytes. */
  wait(size: number, callback: ReadableCallback): void {
    this.#size = Math.min(size, WATCH_SIZE_MAX);
    this.#callback = callback;
    if (this.#over !== undefined) nextTick(() => this.#afterEnd());
    else if (!this.#inCallback) this.#socket.resume();
  }

  /** What waits. */
  get socket(): Socket {
    return this.#socket;
  }

  destroy(): void {
    this.#callback = undefined;
    this.#socket.destroy();
  }

  #afterEnd(): void {
    if (this.#callback === undefined) return;
    const error = this.#over?.error ?? null;
    const fd = error === null ? this.#descriptor() : -1;
    if (fd < 0) return this.#settle(error, null);
    const buffer = this.#buffer();
    const result = readOn(fd, buffer);
    if (result > 0) this.#settle(null, buffer.subarray(0, result));
    else if (result === 0) this.#settle(null, null);
    else if (result === -EAGAIN)
      setImmediate(() => this.#afterEnd()); // then it is not at its end
    else this.#settle(new SyscallError(result, 'read'), null);
  }

  #buffer(): Uint8Array {
    shared ??= new Uint8Array(WATCH_SIZE_MAX);
    // Chosen when the last read is over, and used by the next: more than will then be asked for must not be read.
    return shared.subarray(0, this.#callback === undefined ? 1 : this.#size);
  }

  /** Returning false stops libuv's reading: no byte may arrive while nobody waits for it. */
  #onBytes(bytes: number, buffer: Uint8Array): boolean {
    this.#inCallback = true;
    this.#settle(null, bytes < buffer.length || bytes >= this.#size ? buffer.subarray(0, bytes) : this.#more(bytes));
    this.#inCallback = false;
    return this.#callback !== undefined;
  }

  /** The buffer was chosen when nobody had asked yet: what else there is, of what has been asked for, is read by hand. */
  #more(bytes: number): Uint8Array {
    const buffer = this.#buffer();
    const fd = this.#descriptor();
    const result = fd < 0 ? 0 : readOn(fd, buffer.subarray(bytes));
    if (result > 0) return buffer.subarray(0, bytes + result);
    // A socket tells its error once, and looks ended afterwards.
    if (result < 0 && result !== -EAGAIN) this.#over ??= { error: new SyscallError(result, 'read') };
    return buffer.subarray(0, bytes);
  }

  #settle(error: Error | null, chunk: Uint8Array | null): void {
    const callback = this.#callback;
    this.#callback = undefined;
    callback?.(error, chunk);
  }
}
