/**
 * A socket as a Readable that the kernel empties, where it is piped into a socket. Anywhere else it passes on what the
 * socket brings. Made for `pipeline`; the socket itself stays whole, and can be written to.
 *
 * Its pipes are Node's; beneath one into a socket lies a route (socket-route.ts), which answers `_read` by splicing.
 */
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { TransferMethod } from '@zerocopy/core-syscalls';
import {
  endKindOf,
  failureOf,
  invalidArgument,
  isSocket,
  isToldByDestination,
  MethodRecord,
  pipesOf,
} from '@zerocopy/transfer';
import { unavailable } from './endpoint.js';
import { publishReading } from './published-copy.js';
import { refusalOfPair, SocketRoute } from './socket-route.js';
import type { SpliceStreamEvents } from './stream-events.js';

interface PipeOptions {
  end?: boolean | undefined;
}

/** What {@link createSpliceReadStream} makes: a Readable that says how its bytes go. */
export class SpliceReadStream extends Readable {
  readonly #socket: Socket;
  readonly #record = new MethodRecord(this);
  #route: SocketRoute | undefined;
  #bytesMoved = 0;
  #listening = false;

  /** @throws {TypeError} ERR_INVALID_ARG_TYPE unless `socket` is a net.Socket. */
  constructor(socket: Socket) {
    super();
    if (!isSocket(socket)) throw invalidArgument('socket', 'a net.Socket', socket);
    this.#socket = socket;
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => {
      if (!this.#socket.readableEnded && !this.#route?.moving && !this.readableEnded) {
        this.destroy(failureOf(socket) ?? undefined);
      }
    });
  }

  /** How the bytes go: 'splice', or 'copy' for Node's own reading; undefined while that is not decided. */
  get method(): TransferMethod | undefined {
    return this.#record.method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#record.fallbackReason;
  }

  /** Bytes handed on, by the kernel or through user space. */
  get bytesMoved(): number {
    return this.#bytesMoved;
  }

  /** As of any Readable; a pipe into a plain socket goes by the kernel. */
  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: PipeOptions): T {
    const refused = this.#refusal(destination);
    if (refused !== undefined) this.#route?.leave(refused);
    super.pipe(destination, options);
    if (refused === undefined) this.#route = this.#routeTo(destination as unknown as Socket);
    else this.#record.fallBack(refused);
    return destination;
  }

  override setEncoding(encoding: BufferEncoding): this {
    this.#route?.leave('an encoding was set');
    return super.setEncoding(encoding);
  }

  override _read(): void {
    if (this.#route?.read()) return;
    if (this.method === undefined) this.#record.fallBack('the stream is read in user space');
    const socket = this.#socket;
    if (!this.#listening) {
      this.#listening = true;
      if (this.#bytesMoved === 0) this.#publish();
      socket.on('data', (chunk: Buffer) => {
        this.#bytesMoved += chunk.length;
        if (!this.push(chunk)) socket.pause();
      });
      socket.on('end', () => this.#end());
      if (socket.readableEnded) this.#end();
    }
    socket.resume();
  }

  /** As net.Socket at its end: with nothing left to read it ends at once, even while a pipe waits for its destination. */
  #end(): void {
    if (this.destroyed) return; // an end that nobody hears of would pass for one that somebody has heard of
    this.push(null);
    this.read(0);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Not after a proper end: the other half of the connection may be in use.
    if (error !== null || !(this.readableEnded || this.#socket.readableEnded)) this.#socket.destroy(error ?? undefined);
    if (this.#route === undefined) callback(error);
    else this.#route.close(() => callback(error));
  }

  #refusal(destination: unknown): string | undefined {
    const reason = unavailable();
    if (reason !== undefined) return reason;
    if (pipesOf(this)?.length !== 0) return 'it is piped to more than one destination';
    if (this.#route?.moving) return 'it was piped again before the kernel path had been left';
    if (this.listenerCount('data') > 0 || this.listenerCount('readable') > 0) return "the stream has a 'data' listener";
    if (this.readableEncoding !== null) return 'the stream has an encoding';
    if (this.#listening || this.readableLength > 0 || this.destroyed) return 'the stream is being read already';
    return isSocket(destination) ? refusalOfPair(this.#socket, destination) : 'the destination is not a socket';
  }

  /** What is read in user space from now on. */
  #publish(): void {
    if (isToldByDestination(this)) return;
    publishReading(this, {
      about: { source: 'socket', destination: endKindOf(pipesOf(this)?.[0]) },
      bytes: () => this.#bytesMoved,
      reason: () => this.fallbackReason,
    });
  }

  #routeTo(destination: Socket): SocketRoute {
    return new SocketRoute(this, destination, {
      socket: this.#socket,
      record: this.#record,
      onMoved: (bytes) => {
        this.#bytesMoved += bytes;
      },
      onProgress: (bytes) => this.emit('progress', bytes),
    });
  }
}

/**
 * A Readable over `socket` that the kernel empties where it is piped into a plain socket; `method` and
 * `fallbackReason` tell. It ends when the peer has half-closed, and leaves the socket's other direction alone; when it
 * is destroyed before, so is the socket.
 */
export function createSpliceReadStream(socket: Socket): SpliceReadStream & SpliceStreamEvents {
  return new SpliceReadStream(socket) as SpliceReadStream & SpliceStreamEvents;
}
