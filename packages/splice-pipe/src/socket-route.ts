/**
 * The route of a socket's bytes beneath a pipe into another socket: spliced, until the source ends or the pipe is not alone
 * any more (see PipeRoute of @zerocopy/transfer).
 */
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { failureOf, type MethodRecord, PipeRoute } from '@zerocopy/transfer';
import { refusalOfDestination } from './destination.js';
import { Relay, type RelayOutcome } from './relay.js';
import { KernelSocketSource, refusalOfSource } from './source.js';

/** What is particular to the one who lays the route. */
export interface SocketRouteOptions {
  /** What the stream that is piped reads from. */
  readonly socket: Socket;
  /** Where the way that the bytes take is noted. */
  readonly record: MethodRecord;
  /** Each time bytes have moved; must not throw. */
  readonly onMoved: (bytes: number) => void;
  /** After every pause, with the bytes that this route has moved so far. */
  readonly onProgress: (bytes: number) => void;
}

/** A route beneath a pipe into a socket, from a Readable over another: the kernel splices what the pipe would have read. */
export class SocketRoute extends PipeRoute<Readable> {
  readonly #target: Socket;
  readonly #options: SocketRouteOptions;
  #relay: Relay | undefined;

  /** To be made when `source` has been piped into `destination`, and before it has flowed. */
  constructor(source: Readable, destination: Socket, options: SocketRouteOptions) {
    super(source, destination, options.record);
    this.#target = destination;
    this.#options = options;
  }

  protected override begin(): string | undefined {
    const { socket, onMoved, onProgress } = this.#options;
    const refused = refusalOfPair(socket, this.#target);
    if (refused !== undefined) return refused;
    let seen = 0;
    const relay = new Relay({
      source: () => new KernelSocketSource(socket, { resume: () => false }),
      destination: this.#target,
      socket,
      eager: true,
      length: Number.POSITIVE_INFINITY,
      about: { source: 'socket', destination: 'socket' },
      onMoved,
      onProgress: (bytes) => {
        if (bytes > seen) onProgress(bytes);
        seen = bytes;
      },
      // It may be held for as long as the connection lasts: what others write must not wait for that.
      onCrowded: () => this.leave('other code uses the destination'),
      onEnd: (outcome) => this.#onEnd(relay, outcome),
    });
    this.#relay = relay;
    this.record.goes('splice');
    this.hold();
    relay.start();
    return undefined;
  }

  protected override stop(): void {
    this.#relay?.stop(null, this.record.fallbackReason ?? 'the pipe was left');
  }

  protected override cancel(): void {
    this.#relay?.stop(failureOf(this.source) ?? new Error('the stream was destroyed'));
  }

  #onEnd(relay: Relay, { error, result, failed, ended }: RelayOutcome): void {
    if (!this.left) this.record.goes(result.method, result.fallbackReason);
    relay.release();
    if (error === null && ended) {
      this.end();
      return;
    }
    if (failed === 'destination') {
      this.lose();
      return;
    }
    const { socket } = this.#options;
    // A socket that its owner has destroyed is, as in any pipeline, a premature close.
    const cause = error?.cause instanceof Error ? error.cause : (error ?? undefined);
    if (error !== null && !this.source.destroyed) {
      this.source.destroy(socket.destroyed ? (failureOf(socket) ?? undefined) : cause);
    }
    this.handBack();
  }
}

/** Why the kernel cannot splice from one to the other now, or undefined. */
export function refusalOfPair(source: Socket, destination: Socket): string | undefined {
  if (destination.writableCorked > 0) return 'the destination is corked'; // until its end, which comes after
  if (source.connecting || destination.connecting) return 'a socket is not connected yet';
  return refusalOfSource(source) ?? refusalOfDestination(destination);
}
