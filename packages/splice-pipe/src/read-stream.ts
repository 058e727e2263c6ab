/**
 * A socket as a Readable that the kernel empties, where it is piped into a socket. Anywhere else it passes on what the
 * socket brings. Made for `pipeline`; the socket itself stays whole, and can be written to.
 *
 *   new ──piped──► splicing ──► 'end'
 *    │                └── a 'data' listener, a second pipe, pause(), unpipe(): ordinary, from the byte reached
 *    └──read────► ordinary ──► 'end'
 */
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { TransferMethod } from '@zerocopy/core-syscalls';
import { isSocket, PipedDestination } from '@zerocopy/transfer';
import { refusalOfDestination } from './destination.js';
import { unavailable } from './endpoint.js';
import { invalidArgument } from './options.js';
import { closed, Relay, type RelayOutcome } from './relay.js';
import { refusalOfSource, SocketSource } from './source.js';

interface PipeOptions {
  end?: boolean | undefined;
}

interface Route {
  readonly destination: Socket;
  readonly options: PipeOptions | undefined;
  readonly relay: Relay;
  piped?: PipedDestination;
}

export class SpliceReadStream extends Readable {
  readonly #socket: Socket;
  #route: Route | undefined;
  #method: TransferMethod | undefined;
  #fallbackReason: string | undefined;
  #bytesMoved = 0;
  #listening = false;
  #readHeldBack = false;
  #afterRelay: (() => void)[] = [];

  constructor(socket: Socket) {
    super();
    if (!isSocket(socket)) throw invalidArgument('socket', 'a net.Socket', socket);
    this.#socket = socket;
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => {
      if (!this.#socket.readableEnded && this.#route === undefined && !this.readableEnded) {
        this.destroy(socket.errored ?? undefined);
      }
    });
  }

  /** How the bytes go: 'splice', or 'copy' for Node's own reading; undefined while that is not decided. */
  get method(): TransferMethod | undefined {
    return this.#method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#fallbackReason;
  }

  /** Bytes handed on, by the kernel or through user space. */
  get bytesMoved(): number {
    return this.#bytesMoved;
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: PipeOptions): T {
    if (this.#route !== undefined) this.#leave('it is piped to more than one destination');
    const refused = this.#refusal(destination);
    if (refused !== undefined) {
      this.#fallBack(refused);
      this.#whenOrdinary(() => super.pipe(destination, options));
      return destination;
    }
    this.#begin(destination as unknown as Socket, options);
    return destination;
  }

  override unpipe(destination?: NodeJS.WritableStream): this {
    const route = this.#route;
    if (route === undefined || (destination !== undefined && destination !== (route.destination as unknown))) {
      return super.unpipe(destination);
    }
    this.#route = undefined;
    route.relay.stop(null);
    route.piped?.unpipe();
    return this;
  }

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    if (#route in this && (event === 'data' || event === 'readable')) this.#leave(`a '${event}' listener was added`);
    return super.on(event as string, listener as (...args: unknown[]) => void);
  }

  override addListener(event: string | symbol, listener: (...args: never[]) => void): this {
    return this.on(event, listener);
  }

  override pause(): this {
    this.#leave('the stream was paused');
    return super.pause();
  }

  override _read(): void {
    if (this.#route !== undefined) {
      this.#readHeldBack = true;
      return;
    }
    this.#fallBack('the stream is read in user space');
    const socket = this.#socket;
    if (!this.#listening) {
      this.#listening = true;
      socket.on('data', (chunk: Buffer) => {
        this.#bytesMoved += chunk.length;
        if (!this.push(chunk)) socket.pause();
      });
      socket.on('end', () => this.push(null));
      if (socket.readableEnded) this.push(null);
    }
    socket.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const route = this.#route;
    this.#route = undefined;
    // Not after a proper end: the other half of the connection may be in use.
    if (error !== null || !(this.readableEnded || this.#socket.readableEnded)) this.#socket.destroy(error ?? undefined);
    route?.relay.stop(error);
    callback(error);
  }

  #refusal(destination: unknown): string | undefined {
    const reason = unavailable();
    if (reason !== undefined) return reason;
    if (this.#listening || this.readableFlowing !== null || this.readableLength > 0 || this.destroyed) {
      return 'the stream is being read already';
    }
    if (this.listenerCount('data') > 0 || this.listenerCount('readable') > 0) return "the stream has a 'data' listener";
    if (this.readableEncoding !== null) return 'the stream has an encoding';
    if (!isSocket(destination)) return 'the destination is not a socket';
    if (destination.writableCorked > 0) return 'the destination is corked'; // until its end, which comes after
    if (this.#socket.connecting || destination.connecting) return 'a socket is not connected yet';
    return refusalOfSource(this.#socket) ?? refusalOfDestination(destination);
  }

  #fallBack(reason: string): void {
    this.#method ??= 'copy';
    this.#fallbackReason ??= reason;
  }

  #begin(destination: Socket, options: PipeOptions | undefined): void {
    const socket = this.#socket;
    let seen = 0;
    const relay = new Relay({
      source: () => new SocketSource(socket, { resume: () => false }),
      destination,
      eager: true,
      length: Number.POSITIVE_INFINITY,
      onMoved: (bytes) => {
        this.#bytesMoved += bytes;
      },
      onProgress: (bytes) => {
        if (bytes > seen && this.listenerCount('progress') > 0) this.emit('progress', bytes);
        seen = bytes;
      },
      onEnd: (outcome) => {
        socket.off('close', onClose);
        this.#onRelayEnd(route, outcome);
      },
    });
    const route: Route = { destination, options, relay };
    const onClose = (): void => relay.lost(socket.errored ?? closed('source'), 'source');
    socket.on('close', onClose);
    this.#route = route;
    route.piped = new PipedDestination(this, destination, options?.end !== false, () => {}); // the relay finds out itself
    // As data does with Node's pipe, the bytes begin to flow in a later tick.
    process.nextTick(() => {
      if (this.#route === route) relay.start();
    });
  }

  #onRelayEnd(route: Route, { error, result, failed, ended }: RelayOutcome): void {
    const current = this.#route === route;
    this.#route = undefined;
    this.#method = result.method;
    if (result.fallbackReason !== undefined) this.#fallbackReason ??= result.fallbackReason;
    const cause = error?.cause instanceof Error ? error.cause : (error ?? undefined);
    route.relay.release(failed === 'destination' ? cause : undefined);
    // A socket that its owner has destroyed is, as in any pipeline, a premature close.
    if (error !== null && failed !== 'destination')
      this.destroy(this.#socket.destroyed ? (this.#socket.errored ?? undefined) : cause);
    else if (error === null && current && ended && !this.destroyed) this.#finish();
    for (const then of this.#afterRelay.splice(0)) then();
  }

  /** Ends as an ordinary Readable whose last chunk has been consumed. */
  #finish(): void {
    this.push(null);
    this.resume();
  }

  #leave(reason: string): void {
    const route = this.#route;
    if (route === undefined) return;
    this.#fallBack(reason);
    this.#afterRelay.push(() => {
      if (this.destroyed) return;
      route.piped?.handOver(() => super.pipe(route.destination, route.options));
      if (this.#readHeldBack) this.push(''); // ends the read that was held back
      this.#readHeldBack = false;
    });
    this.#route = undefined;
    route.relay.stop(null);
  }

  #whenOrdinary(then: () => void): void {
    if (this.#afterRelay.length === 0) then();
    else this.#afterRelay.push(then);
  }
}

/**
 * A Readable over `socket` that the kernel empties where it is piped into a plain socket; `method` and
 * `fallbackReason` tell. It ends when the peer has half-closed, and leaves the socket's other direction alone; when it
 * is destroyed before, so is the socket.
 */
export function createSpliceReadStream(socket: Socket): SpliceReadStream {
  return new SpliceReadStream(socket);
}
