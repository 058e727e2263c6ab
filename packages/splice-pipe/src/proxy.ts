/**
 * Two connections joined in both directions.
 *
 *   connecting ──both connected──► open ──one direction ends──► half-closed ──the other ends──► closed (resolves)
 *       └──────────────────failure, time-out, abort──┴───────────────┴──► failed: both destroyed (rejects)
 *
 * While one side is connecting, Node reads the other into its own buffer, and so learns when that is gone. Then each
 * direction is Node's until it carries much, and the kernel's until it carries little: see proxy-direction.ts. A half-close
 * is forwarded when what came before it has been delivered, not before (kernel-rules: half-close).
 */
import type { Socket } from 'node:net';
import { libcStatus, TransferError, type TransferResult } from '@zerocopy/core-syscalls';
import {
  abortError,
  clearTimeout,
  closeByReset,
  closedEarly,
  failureOf,
  hasOnRead,
  invalidArgument,
  isSocket,
  isStandardOutput,
  readOptions,
  type Side,
  setTimeout,
  socketDescriptor,
  timeoutOf,
  transferError,
  validateChoice,
  validateFunction,
  validateSignal,
} from '@zerocopy/transfer';
import { type DescriptorFacts, type DescriptorKind, isNonblocking, kindOf } from './descriptor-kind.js';
import { refusalOfDestination } from './destination.js';
import { unavailable } from './endpoint.js';
import { StreamDestination, StreamSource } from './plain-streams.js';
import { type DirectionOwner, ProxyDirection } from './proxy-direction.js';
import { proxyHeader } from './proxy-protocol.js';
import { Relay, type RelayOptions, type RelayOutcome } from './relay.js';
import { refusalOfSource } from './source.js';

/** Of {@link proxy}: time-outs, what goes first, and who is told. */
export interface ProxyOptions {
  /** Milliseconds without a byte in either direction, after which both are destroyed. Default 0: no limit. */
  idleTimeout?: number;
  /** The same, while only one direction is open. Default 60,000; 0: no limit. */
  halfCloseTimeout?: number;
  /** Destroys both sockets and rejects with the code ABORT_ERR. */
  signal?: AbortSignal;
  /** Bytes of `a` that have been read from it already, and go to `b` first: of an 'upgrade' or 'connect' event. */
  head?: Buffer;
  /** Tells `b` who is connected to `a`, by a PROXY protocol header before anything else. It is not counted. */
  proxyProtocol?: 'v1' | 'v2';
  /** Bytes so far, from a to b and from b to a. After every pause of either direction. */
  onProgress?: (forward: number, backward: number) => void;
}

/** What has been moved, in each direction. */
export interface ProxyResult {
  /** From a to b. */
  readonly forward: TransferResult;
  /** From b to a. */
  readonly backward: TransferResult;
}

/** A proxied connection that did not end properly: the counts of both directions are exact. */
export class ProxyError extends TransferError implements ProxyResult {
  readonly forward: TransferResult;
  readonly backward: TransferResult;

  /** @param error of the direction that failed first: its message, code and cause are those of the whole. */
  constructor(error: TransferError, { forward, backward }: ProxyResult) {
    super(error.message, { code: error.code, bytes: forward.bytes + backward.bytes, cause: error.cause });
    this.forward = forward;
    this.backward = backward;
  }
}

const DEFAULT_HALF_CLOSE_TIMEOUT = 60_000;

const OPTIONS = ['idleTimeout', 'halfCloseTimeout', 'signal', 'head', 'proxyProtocol', 'onProgress'] as const;

function validateSocket(socket: unknown, name: string): void {
  if (!isSocket(socket)) throw invalidArgument(name, 'a net.Socket', socket);
  if (hasOnRead(socket)) {
    throw invalidArgument(name, "a socket without the option 'onread', whose callback gets its bytes", socket);
  }
}

/**
 * Joins two connected (or connecting) sockets until both directions have ended. Both are closed then, by Node, as
 * after `a.pipe(b).pipe(a)`; after a failure, an abort or a time-out both are destroyed, a TCP peer by a reset, so that
 * nobody takes for whole what was cut off.
 *
 * @returns the exact counts of both directions; rejects with a {@link ProxyError}, which has them too.
 */
export async function proxy(a: Socket, b: Socket, given: ProxyOptions = {}): Promise<ProxyResult> {
  const options = readOptions<ProxyOptions>(given, OPTIONS);
  validateSocket(a, 'a');
  validateSocket(b, 'b');
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  if (options.head !== undefined && !(options.head instanceof Uint8Array)) {
    throw invalidArgument('options.head', 'a Buffer', options.head);
  }
  if (options.proxyProtocol !== undefined) validateChoice(options.proxyProtocol, 'proxyProtocol', ['v1', 'v2']);
  return new ProxySession(a, b, options).run();
}

class ProxySession implements DirectionOwner {
  readonly onProgress: (() => void) | undefined;
  readonly #a: Socket;
  readonly #b: Socket;
  readonly #options: ProxyOptions;
  readonly #idleTimeout: number;
  readonly #halfCloseTimeout: number;
  readonly #results: [TransferResult | undefined, TransferResult | undefined] = [undefined, undefined];
  readonly #kinds: [DescriptorKind | undefined, DescriptorKind | undefined] = [undefined, undefined];
  #directions: readonly (ProxyDirection | Relay)[] = [];
  readonly #bytes: [number, number] = [0, 0];
  #timer: NodeJS.Timeout | undefined;
  #failure: TransferError | undefined;
  #failedSocket: Socket | undefined;
  #over = false;
  #resolve: (result: ProxyResult) => void = () => {};
  #reject: (error: ProxyError) => void = () => {};

  constructor(a: Socket, b: Socket, options: ProxyOptions) {
    this.#a = a;
    this.#b = b;
    this.#options = options;
    const { onProgress } = options;
    this.onProgress = onProgress && ((): void => onProgress(this.#bytes[0], this.#bytes[1]));
    this.#idleTimeout = timeoutOf(options.idleTimeout, 'idleTimeout', 0);
    const halfClosed = timeoutOf(options.halfCloseTimeout, 'halfCloseTimeout', DEFAULT_HALF_CLOSE_TIMEOUT);
    // The shorter of the two; 0 is none.
    this.#halfCloseTimeout = Math.min(halfClosed || Number.POSITIVE_INFINITY, this.#idleTimeout || halfClosed);
  }

  run(): Promise<ProxyResult> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#begin();
    });
  }

  #begin(): void {
    const { signal } = this.#options;
    for (const socket of [this.#a, this.#b]) {
      socket.on('error', ignore); // for as long as the two are ours, their errors are reported by the promise
      socket.allowHalfOpen = true; // where Node reads, it must not answer an end before the other direction's
    }
    if (signal?.aborted) return this.#fail(abortError(signal, 0));
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#setTimer(this.#idleTimeout, 'ERR_IDLE_TIMEOUT');
    if (this.#a.connecting || this.#b.connecting) this.#waitForConnections();
    else this.#join();
  }

  #waitForConnections(): void {
    for (const socket of [this.#a, this.#b]) {
      socket.on('close', this.#onClose);
      if (socket.connecting) socket.on('connect', this.#onConnect);
      else {
        socket.pause();
        socket.read(0);
      }
    }
    // One that is closed already has no event any more.
    for (const socket of [this.#a, this.#b]) if (socket.destroyed) this.#onClosed(socket);
  }

  readonly #onConnect = (): void => {
    if (this.#a.connecting || this.#b.connecting || this.#over) return;
    this.#leaveConnecting();
    this.#join();
  };

  #leaveConnecting(): void {
    for (const socket of [this.#a, this.#b]) socket.off('close', this.#onClose).off('connect', this.#onConnect);
  }

  #join(): void {
    const { proxyProtocol, head } = this.#options;
    const [a, b] = [this.#a, this.#b];
    const [ofA, ofB] = [assumedFacts(a), assumedFacts(b)];
    const refused =
      unavailable() ??
      refusalOfDestination(a, ofA) ??
      refusalOfDestination(b, ofB) ??
      refusalOfSource(a, 0, ofA) ??
      refusalOfSource(b, 0, ofB);
    if (proxyProtocol !== undefined) b.write(proxyHeader(proxyProtocol, a));
    if (refused === undefined) {
      for (const socket of [a, b]) socket.on('close', this.#onClose);
      this.#directions = [new ProxyDirection(0, a, b, this, head), new ProxyDirection(1, b, a, this, undefined)];
    } else this.#directions = [this.#copied(0, a, b, head, refused), this.#copied(1, b, a, undefined, refused)];
    for (const direction of this.#directions) {
      if (this.#failure === undefined) direction.start();
    }
    if (this.#failure !== undefined) this.#fail(this.#failure);
  }

  /** By the streams' own reading and writing: a proxy of sockets that the kernel cannot join. */
  #copied(index: 0 | 1, from: Socket, to: Socket, head: Buffer | undefined, reason: string): Relay {
    // Not spread from several objects: each would have a hidden class, and a table of its properties, of its own.
    return new Relay({
      source: () => new StreamSource(from),
      destination: new StreamDestination(to),
      written: to,
      copied: reason,
      head,
      eager: false,
      length: Number.POSITIVE_INFINITY,
      about: ABOUT,
      onMoved: (bytes) => this.onMoved(index, bytes),
      onProgress: this.onProgress,
      onEnd: (outcome) => this.onDirectionEnd(index, from, to, outcome),
    });
  }

  factsOf(socket: Socket): DescriptorFacts | undefined {
    const fd = descriptorNow(socket);
    if (fd < 0) return undefined;
    const index = socket === this.#a ? 0 : 1;
    const kind = this.#kinds[index] ?? kindOf(fd);
    this.#kinds[index] = kind;
    // What may change is asked at use: whether it is in blocking mode (kernel-rules: nonblock-both).
    return { kind, nonblocking: isNonblocking(fd), appending: false };
  }

  onMoved(index: 0 | 1, bytes: number): void {
    this.#bytes[index] += bytes;
    this.#timer?.refresh();
  }

  onDirectionEnd(index: 0 | 1, from: Socket, to: Socket, { error, result, failed }: RelayOutcome): void {
    this.#results[index] = result;
    if (error !== null) {
      // Of those that follow the first failure, it is not a socket of theirs that has failed.
      if (this.#failure === undefined) {
        this.#failedSocket = failed === 'source' ? from : failed === 'destination' ? to : undefined;
      }
      this.#fail(failed === undefined ? error : asReset(error));
      return;
    }
    if (this.#failure !== undefined) {
      this.#fail(this.#failure);
      return;
    }
    if (!to.writableEnded && !isStandardOutput(to)) to.end();
    if (this.#results[1 - index] === undefined) this.#setTimer(this.#halfCloseTimeout, 'ERR_HALF_CLOSE_TIMEOUT');
    else this.#finish();
  }

  /** Both directions have ended: Node sees the ends itself, and closes both sockets when all is out. */
  #finish(): void {
    this.#letGo();
    for (const direction of this.#directions) direction.release();
    this.#resolve(this.#counts());
  }

  #fail(error: TransferError): void {
    const first = this.#failure === undefined;
    this.#failure ??= error;
    if (first) for (const direction of this.#directions) direction.lost(error, 'source');
    const begun = this.#directions.length > 0;
    if (begun && this.#results.includes(undefined)) return; // the last direction to end calls again
    if (this.#over) return;
    this.#over = true;
    const failure = this.#failure;
    this.#letGo();
    const cause = failure.cause instanceof Error ? failure.cause : undefined;
    for (const socket of [this.#a, this.#b]) {
      if (socket.destroyed) continue;
      if (socket === this.#failedSocket) socket.destroy(cause);
      else if (begun) reset(socket);
      else socket.destroy();
    }
    for (const direction of this.#directions) direction.release();
    this.#reject(new ProxyError(failure, this.#counts()));
  }

  #counts(): ProxyResult {
    return { forward: this.#results[0] ?? nothing(), backward: this.#results[1] ?? nothing() };
  }

  #letGo(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#leaveConnecting();
  }

  #setTimer(milliseconds: number, code: string): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (milliseconds === 0) return;
    this.#timer = setTimeout(() => {
      const what = code === 'ERR_IDLE_TIMEOUT' ? 'in either direction' : 'in the direction that was still open';
      const message = `no byte has passed ${what} for ${milliseconds} ms`;
      this.#fail(new TransferError(message, { code, bytes: 0 }));
    }, milliseconds);
  }

  readonly #onAbort = (): void => {
    this.#fail(abortError(this.#options.signal as AbortSignal, 0));
  };

  readonly #onClose = (): void => {
    for (const socket of [this.#a, this.#b]) if (socket.destroyed) this.#onClosed(socket);
  };

  /** Whether all that was to go into it has gone, and all that it was to bring has come: the last of that is on its way. */
  #isDone(socket: Socket): boolean {
    const from = socket === this.#a ? 0 : 1;
    const direction = this.#directions[from];
    if (failureOf(socket) !== null || this.#results[1 - from] === undefined) return false;
    return direction instanceof ProxyDirection && direction.sourceEnded;
  }

  /** A socket is gone while the other was connecting, or before both directions have ended. */
  #onClosed(socket: Socket): void {
    if (this.#isDone(socket)) return;
    const isFirstOpen = this.#results[0] === undefined;
    const side: Side = (socket === this.#a) === isFirstOpen ? 'source' : 'destination';
    this.#failedSocket ??= socket;
    const failure = failureOf(socket);
    this.#fail(failure === null ? closedEarly(side, 0) : asReset(transferError(failure, 0)));
  }
}

/** A socket that its owner has destroyed with an error without a code is a reset all the same. */
function asReset(error: TransferError): TransferError {
  const { code, message, bytes, cause } = error;
  return code === 'ERR_TRANSFER_FAILED' ? new TransferError(message, { code: 'ECONNRESET', bytes, cause }) : error;
}

const ABOUT: RelayOptions['about'] = { source: 'socket', destination: 'socket' };

const ignore = (): void => {};

function descriptorNow(socket: Socket): number {
  return libcStatus().available ? socketDescriptor(socket) : -1;
}

/**
 * As long as nothing has been taken, a socket passes for a stream: what it is, is asked when there is much to be moved.
 * Undefined where it has no descriptor: then that is the reason, and nothing is asked.
 */
function assumedFacts(socket: Socket): DescriptorFacts | undefined {
  const fd = descriptorNow(socket);
  return fd < 0 ? undefined : { kind: 'stream', nonblocking: isNonblocking(fd), appending: false };
}

const nothing = (): TransferResult => ({ bytes: 0, method: 'splice', syscalls: 0, durationMs: 0 });

/** A unix socket has no reset, its peer sees an end. */
function reset(socket: Socket): void {
  closeByReset(socket);
  socket.destroy();
}
