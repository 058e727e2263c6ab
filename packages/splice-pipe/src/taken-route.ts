/**
 * The route of what a socket, or the body of an HTTP message, brings to a pipe of Node's: beneath that pipe, spliced into
 * a file, a socket or an HTTP message. The streams may be anybody's.
 *
 *   preparing ──parsed, taken──► queued ──all earlier writes done──► moving ──► over
 *       └───────────────leave──────┴───────────────leave──────────────┴───────► over    the source is given back, and
 *                                                      Node's pipe goes on from the byte that has been reached;
 *                                                      where the destination has failed, it has left it first
 *
 * What holds the source is not its unanswered `_read`, as in PipeRoute, but that it has been taken: bytes come to a
 * socket whether it is asked for them or not. It is taken before the slot is asked for: what Node has read already goes
 * through its pipe, and has its place in the destination's queue before the slot.
 */
import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { SyscallError } from '@zerocopy/core-syscalls';
import {
  closedEarly,
  failureOf,
  isSocket,
  type MethodRecord,
  nextTick,
  otherReader,
  PipeWatch,
  pipesOf,
} from '@zerocopy/transfer';
import { Relay, type RelayOutcome } from './relay.js';
import { contentLength, HeldRequest } from './request-body.js';
import { type RouteDestination, type RouteSlot, type RouteTarget, targetOf } from './route-target.js';
import { KernelSocketSource, type KernelSource, refusalOfSource } from './source.js';

/** A source that is to be taken, and is Node's until then. */
interface Held {
  /** Calls back in a later turn, or tick: what is under way now comes first. */
  whenParsed(callback: () => void): void;
  refusal(): string | undefined;
  take(onTouched: (how: string) => void): KernelSource & { readonly remaining?: number };
  release(): void;
}

class HeldSocket implements Held {
  readonly #socket: Socket;
  readonly #destination: NodeJS.WritableStream;

  constructor(socket: Socket, destination: NodeJS.WritableStream) {
    this.#socket = socket;
    this.#destination = destination;
  }

  whenParsed(callback: () => void): void {
    nextTick(callback);
  }

  refusal(): string | undefined {
    // Also while Node's pipe has paused it, until the destination has drained: the slot comes after that.
    return refusalOfSource(this.#socket, 1) ?? otherReader(this.#socket, this.#destination);
  }

  /** Who touches it is seen by the watch on its pipe. What Node had read already reaches the pipe's listener in here. */
  take(): KernelSource {
    return new KernelSocketSource(this.#socket);
  }

  release(): void {}
}

/** What a {@link TakenRoute} tells its owner. */
export interface TakenRouteOptions {
  /** How the bytes go, and why not by the kernel. */
  readonly record: MethodRecord;
  /** Each time bytes have moved beneath the pipe; must not throw. */
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** After every pause: bytes that the destination has got in all, and will get, if that is known. */
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
  /** It has been left before anything moved: all goes through Node's pipe. */
  readonly onDeclined?: (() => void) | undefined;
}

const EMPTY = Buffer.alloc(0);

/** A pipe from a socket or an HTTP body whose bytes go beneath it; see the head of this file. */
export class TakenRoute {
  /** What is piped. */
  readonly source: Readable;
  readonly #destination: NodeJS.WritableStream;
  readonly #target: RouteTarget;
  readonly #options: TakenRouteOptions;
  readonly #held: Held;
  readonly #watch: PipeWatch;
  readonly #context = new AsyncResource('ZEROCOPY_ROUTE');
  #state: 'preparing' | 'taking' | 'queued' | 'moving' | 'over' = 'preparing';
  #taken: ReturnType<Held['take']> | undefined;
  #slot: RouteSlot | undefined;
  #relay: Relay | undefined;
  #leaving = false;
  #unwatchEncoding: (() => void) | undefined;
  /** What the destination had got before it was piped into, in bytes. */
  readonly #written: number;

  /**
   * To be made when `source` has been piped into `destination`, before it has flowed, and if nothing speaks against it:
   * {@link refusalOfSource} or `refusalOfRequest`, with one 'data' listener, that of the pipe.
   */
  constructor(source: Socket | IncomingMessage, destination: RouteDestination, options: TakenRouteOptions) {
    this.source = source;
    this.#options = options;
    this.#target = targetOf(destination, isSocket(source) ? undefined : contentLength(source));
    this.#written = this.#target.written;
    const writable = destination as NodeJS.WritableStream;
    this.#destination = writable;
    this.#held = isSocket(source) ? new HeldSocket(source, writable) : new HeldRequest(source);
    this.#watch = new PipeWatch(source, writable, (reason) => this.leave(reason));
    this.#watchEncoding();
    this.#held.whenParsed(() => this.#prepare());
    if (!isSocket(source)) this.#watch.begin();
  }

  /** Not over: what Node's pipe brings is not all there is. */
  get underWay(): boolean {
    return this.#state !== 'over';
  }

  /** Node's own pipe goes on, or is about to. */
  get left(): boolean {
    return this.#leaving;
  }

  /** Goes on as an ordinary pipe, from the byte that has been reached. Idempotent. */
  leave(reason?: string): void {
    if (this.#state === 'over' || this.#leaving) return;
    this.#leaving = true;
    if (reason !== undefined && !this.#target.ended) this.#options.record.fallBack(reason);
    if (this.#state !== 'moving') return this.#giveUp();
    const { source } = this;
    // Unpiped because one of the two is gone: nobody moves the rest.
    if (source.destroyed) this.#relay?.lost(failureOf(source), 'source');
    else if (this.#target.destroyed) this.#relay?.lost(failureOf(this.#destination as Writable), 'destination');
    else this.#relay?.stop(null, reason ?? 'the pipe was left');
  }

  #prepare(): void {
    if (this.#state !== 'preparing') return;
    if (this.#target.ended) return this.leave();
    const refused = this.#target.refusal() ?? this.#held.refusal();
    if (refused !== undefined) return this.leave(refused);
    if (this.#target.whenConnected(() => this.#prepare())) return;
    this.#state = 'taking'; // listeners get what Node has read already: foreign code
    this.#taken = this.#held.take((how) => this.leave(`the connection was given back: ${how}`));
    this.#watch.begin();
    this.#state = 'queued';
    if (this.#leaving || this.#target.ended || this.#taken.remaining === 0) return this.#giveUp();
    this.#slot = this.#target.ask({
      begin: (destination) => this.#context.runInAsyncScope(this.#begin, this, destination),
      refused: (reason) => this.leave(reason),
      lost: (error) => this.#onDestinationDestroyed(error),
      crowded: (reason) => this.leave(reason),
    });
    this.#slot.request();
  }

  /** @returns why not, after all. */
  #begin(destination: ConstructorParameters<typeof Relay>[0]['destination']): void {
    const slot = this.#slot as RouteSlot;
    if (this.#state !== 'queued' || this.#leaving) return slot.end();
    const taken = this.#taken as ReturnType<Held['take']>;
    const before = slot.written;
    const { onProgress, onMoved } = this.#options;
    let seen = 0;
    let begun = false;
    const relay = new Relay({
      source: () => {
        begun = true;
        return taken;
      },
      destination,
      socket: isSocket(this.source) ? this.source : (this.source as IncomingMessage).socket,
      eager: true,
      length: taken.remaining ?? Number.POSITIVE_INFINITY,
      promised: taken.remaining,
      endedEarly: (bytes) => closedEarly('source', bytes),
      about: { source: isSocket(this.source) ? 'socket' : 'http', before: this.#before, ...this.#target.about },
      onCrowded: () => this.leave('other code uses the destination'),
      onMoved: (bytes) => {
        slot.moved(bytes);
        onMoved?.(bytes);
      },
      onProgress: (bytes, total) => {
        if (bytes > seen) onProgress?.(before + bytes, total && before + total);
        seen = bytes;
      },
      onEnd: (outcome) => {
        this.#onEnd(relay, outcome);
        // A subscriber of its start has ended it: the relay has never had the source.
        if (!begun) taken.giveBack(taken.takeHead(), taken.ended);
      },
    });
    this.#state = 'moving';
    this.#relay = relay;
    relay.start();
  }

  /** Bytes that Node had read when the source was taken: they have gone through its pipe. */
  get #before(): number {
    const { remaining } = this.#taken as ReturnType<Held['take']>;
    if (remaining !== undefined) return contentLength(this.source as IncomingMessage) - remaining;
    return (this.#slot?.written ?? 0) - this.#written;
  }

  /** What is encoded is not what the client has sent: it can come through Node's pipe only. */
  #watchEncoding(): void {
    const { source } = this;
    if (Object.hasOwn(source, 'setEncoding')) return; // node:http refuses it on its connections
    const { setEncoding } = source;
    const watching = (encoding: BufferEncoding): Readable => {
      this.leave('an encoding was set');
      return setEncoding.call(source, encoding);
    };
    Object.defineProperty(source, 'setEncoding', { configurable: true, writable: true, value: watching });
    this.#unwatchEncoding = () => {
      if (source.setEncoding === watching) Reflect.deleteProperty(source, 'setEncoding');
    };
  }

  /** Before anything moves: the source is Node's again. */
  #giveUp(): void {
    if (this.#state === 'over') return;
    this.#leaving = true;
    if (this.#state === 'taking') return; // given back as soon as it is there
    this.#over();
    this.#slot?.cancel();
    if (this.#taken === undefined) this.#held.release();
    else this.#taken.giveBack(EMPTY, this.#taken.ended);
    this.#options.onDeclined?.();
  }

  #onDestinationDestroyed(error: Error | null): void {
    if (this.#state !== 'moving') return this.#giveUp();
    this.#leaving = true;
    this.#relay?.lost(error, 'destination');
  }

  #onEnd(relay: Relay, { error, result, failed, ended }: RelayOutcome): void {
    const { record } = this.#options;
    const { source } = this;
    this.#over();
    if (record.method === undefined || (result.bytes > 0 && !this.#leaving)) {
      record.goes(result.method, result.fallbackReason);
    }
    const cause = error === null ? null : asWriteError(error.cause instanceof Error ? error.cause : error);
    // One that has only ended too early is given back: its parser sees that itself, and says so in its own words.
    if (failed === 'source' && !ended && !source.destroyed && !this.#target.destroyed) {
      source.destroy(cause ?? undefined);
    }
    // Before the source: what that is given back would flow into the file, behind the failure and uncounted.
    this.#slot?.end(failed === 'source' || this.#target.destroyed ? null : cause);
    if (failed === 'destination' || this.#target.destroyed) this.#whenUnpiped(() => relay.release());
    else relay.release();
    if (failed === undefined) this.#watch.drained();
  }

  /**
   * Node's pipe leaves a destination that has failed when it hears of it, which is a tick or more later. What is given back
   * before would still flow there, and be lost to code that pipes the source elsewhere.
   */
  #whenUnpiped(then: () => void): void {
    const { source } = this;
    const destination = this.#destination;
    if (source.destroyed || !pipesOf(source)?.includes(destination)) return then();
    const end = (): void => {
      destination.off('unpipe', onUnpipe);
      source.off('close', end);
      then();
    };
    const onUnpipe = (unpiped: unknown): void => {
      if (unpiped === source) end();
    };
    destination.on('unpipe', onUnpipe);
    source.on('close', end);
  }

  #over(): void {
    this.#state = 'over';
    this.#watch.end();
    this.#unwatchEncoding?.();
  }
}

/** A splice that failed at the file is to its user a write that failed. */
function asWriteError(error: Error): Error {
  return error instanceof SyscallError ? new SyscallError(error.errno, 'write') : error;
}
