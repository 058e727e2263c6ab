/**
 * Two connections joined in both directions.
 *
 *   open ──one direction ends──► half-closed ──the other ends──► closed (resolves)
 *     └──failure, time-out, abort──┴──► failed: both sockets destroyed (rejects)
 *
 * A half-close is forwarded when the direction's pipe has been drained, not before (rule 18). Both sockets stay taken
 * until both directions have ended, so that Node does not end one whose peer has only half-closed.
 */
import type { Socket } from 'node:net';
import { constants, libcStatus, syscalls, TransferError, type TransferResult } from '@zerocopy/core-syscalls';
import { abortError, isEncrypted, isSocket, readOptions, socketDescriptor, Transfer } from '@zerocopy/transfer';
import { refusalOfDestination } from './destination.js';
import { unavailable } from './endpoint.js';
import { invalidArgument, timeoutOf, validateChoice, validateFunction, validateSignal } from './options.js';
import { proxyHeader } from './proxy-protocol.js';
import { closed, Relay, type RelayOutcome } from './relay.js';
import { refusalOfSource, SocketSource } from './source.js';
import { connected } from './splice.js';
import type { Side } from './splice-engine.js';
import { StreamCopyEngine } from './stream-copy.js';

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

  constructor(error: TransferError, { forward, backward }: ProxyResult) {
    super(error.message, { code: error.code, bytes: forward.bytes + backward.bytes, cause: error.cause });
    this.forward = forward;
    this.backward = backward;
  }
}

const { SO_LINGER, SOL_SOCKET } = constants;
const DEFAULT_HALF_CLOSE_TIMEOUT = 60_000;

const OPTIONS = ['idleTimeout', 'halfCloseTimeout', 'signal', 'head', 'proxyProtocol', 'onProgress'] as const;

/** One direction, whichever way its bytes go. */
interface Direction {
  start(): void;
  stop(error: Error | null): void;
  lost(error: Error, side: Side): void;
  /** Lets later writes to the destination go on: it may be ended now. */
  endTurn(): void;
  release(): void;
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
  if (!isSocket(a)) throw invalidArgument('a', 'a net.Socket', a);
  if (!isSocket(b)) throw invalidArgument('b', 'a net.Socket', b);
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  if (options.head !== undefined && !(options.head instanceof Uint8Array)) {
    throw invalidArgument('options.head', 'a Buffer', options.head);
  }
  if (options.proxyProtocol !== undefined) validateChoice(options.proxyProtocol, 'proxyProtocol', ['v1', 'v2']);
  const session = new ProxySession(a, b, options);
  if (a.connecting || b.connecting) {
    try {
      await Promise.all([connected(a, options.signal), connected(b, options.signal)]);
    } catch (error) {
      throw session.failBeforeStart(error as TransferError);
    }
  }
  return session.run();
}

class ProxySession {
  readonly #a: Socket;
  readonly #b: Socket;
  readonly #options: ProxyOptions;
  readonly #idleTimeout: number;
  readonly #halfCloseTimeout: number;
  readonly #results: [TransferResult | undefined, TransferResult | undefined] = [undefined, undefined];
  #refused: string | undefined;
  #sources: readonly [SocketSource | undefined, SocketSource | undefined] = [undefined, undefined];
  #directions: Direction[] = [];
  #bytes: [number, number] = [0, 0];
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
    this.#idleTimeout = timeoutOf(options.idleTimeout, 'idleTimeout', 0);
    const halfClosed = timeoutOf(options.halfCloseTimeout, 'halfCloseTimeout', DEFAULT_HALF_CLOSE_TIMEOUT);
    // The shorter of the two; 0 is none.
    this.#halfCloseTimeout = Math.min(halfClosed || Number.POSITIVE_INFINITY, this.#idleTimeout || halfClosed);
    // For as long as the two are ours, their errors are reported by the promise.
    for (const socket of [a, b]) {
      socket.on('error', this.#onSocketError);
      socket.allowHalfOpen = true; // where Node reads, it must not answer an end before the other direction's
    }
    // Taken at once: if Node saw a client's early half-close while the upstream is still connecting, it would end it.
    this.#refused = unavailable() ?? refusalOfPair(a, b);
    if (this.#refused === undefined) {
      this.#sources = [this.#take(a), this.#take(b)];
    }
  }

  #take(socket: Socket): SocketSource | undefined {
    if (socket.connecting || this.#refused !== undefined) return undefined;
    this.#refused ??= refusalOfSource(socket);
    return this.#refused === undefined ? new SocketSource(socket, { resume: () => true }) : undefined;
  }

  run(): Promise<ProxyResult> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#start();
    });
  }

  failBeforeStart(error: TransferError): ProxyError {
    this.#a.destroy();
    this.#b.destroy();
    return new ProxyError(error, { forward: nothing(), backward: nothing() });
  }

  #start(): void {
    const { signal, proxyProtocol, head } = this.#options;
    if (signal?.aborted) {
      this.#results[0] = this.#results[1] = nothing();
      this.#fail(abortError(signal, 0));
      return;
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#a.on('close', this.#onAClose);
    this.#b.on('close', this.#onBClose);
    if (proxyProtocol !== undefined) this.#b.write(proxyHeader(proxyProtocol, this.#a));
    this.#refused ??= refusalOfDestination(this.#a) ?? refusalOfDestination(this.#b);
    const forward = this.#sources[0] ?? this.#take(this.#a);
    const backward = this.#sources[1] ?? this.#take(this.#b);
    if (this.#refused !== undefined)
      for (const source of [forward, backward]) source?.giveBack(source.head, source.ended);
    this.#directions = [
      this.#direction(0, this.#a, this.#b, head, forward),
      this.#direction(1, this.#b, this.#a, undefined, backward),
    ];
    this.#setTimer(this.#idleTimeout, 'ERR_IDLE_TIMEOUT');
    for (const direction of this.#directions) {
      if (this.#failure === undefined) direction.start();
    }
    if (this.#failure !== undefined) this.#fail(this.#failure);
  }

  #direction(
    index: 0 | 1,
    from: Socket,
    to: Socket,
    head: Buffer | undefined,
    source: SocketSource | undefined,
  ): Direction {
    const { onProgress } = this.#options;
    const options = {
      length: Number.POSITIVE_INFINITY,
      onMoved: (bytes: number): void => {
        this.#bytes[index] += bytes;
        this.#timer?.refresh();
      },
      onProgress: onProgress === undefined ? undefined : (): void => onProgress(this.#bytes[0], this.#bytes[1]),
      onEnd: (outcome: RelayOutcome): void => this.#onDirectionEnd(index, from, to, outcome),
    };
    if (source === undefined || this.#refused !== undefined) {
      return copyDirection(from, to, this.#refused ?? 'the socket could not be taken over', head, options);
    }
    return new Relay({
      source: () => source,
      destination: to,
      head,
      eager: false,
      ...options,
    });
  }

  #onDirectionEnd(index: 0 | 1, from: Socket, to: Socket, { error, result, failed }: RelayOutcome): void {
    this.#results[index] = result;
    if (error !== null) {
      // Of those that follow the first failure, it is not a socket of theirs that has failed.
      if (this.#failure === undefined) {
        this.#failedSocket = failed === 'source' ? from : failed === 'destination' ? to : undefined;
      }
      this.#fail(error);
      return;
    }
    if (this.#failure !== undefined) {
      this.#fail(this.#failure);
      return;
    }
    this.#directions[index]?.endTurn();
    if (!to.writableEnded) to.end();
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
    const [forward, backward] = this.#results;
    if (forward === undefined || backward === undefined) return; // the last direction to end calls again
    if (this.#over) return;
    this.#over = true;
    const failure = this.#failure;
    this.#letGo();
    const cause = failure.cause instanceof Error ? failure.cause : undefined;
    for (const socket of [this.#a, this.#b]) {
      if (socket.destroyed) continue;
      if (socket === this.#failedSocket) socket.destroy(cause);
      else reset(socket);
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
    this.#a.off('close', this.#onAClose);
    this.#b.off('close', this.#onBClose);
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

  readonly #onSocketError = (): void => {};

  readonly #onAbort = (): void => {
    this.#fail(abortError(this.#options.signal as AbortSignal, 0));
  };

  readonly #onAClose = (): void => this.#onClose(this.#a);
  readonly #onBClose = (): void => this.#onClose(this.#b);

  /** A socket has been destroyed, by its owner or its own failure. */
  #onClose(socket: Socket): void {
    this.#failedSocket ??= socket;
    const error = closed(socket === this.#a ? 'source' : 'destination');
    const { errored } = socket;
    if (!errored) return this.#fail(error);
    const code = (errored as NodeJS.ErrnoException).code ?? error.code;
    this.#fail(new TransferError(errored.message, { code, bytes: 0, cause: errored }));
  }
}

/** What can be said of two sockets even while they are connecting. */
function refusalOfPair(a: Socket, b: Socket): string | undefined {
  for (const socket of [a, b]) {
    const refused = socket.connecting && !isEncrypted(socket) ? undefined : refusalOfDestination(socket);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

const nothing = (): TransferResult => ({ bytes: 0, method: 'splice', syscalls: 0, durationMs: 0 });

/** struct linger: on, for 0 seconds. */
const LINGER = Buffer.from(new Int32Array([1, 0]).buffer);

/**
 * Not by resetAndDestroy(): while a shutdown is under way libuv refuses that, and Node then leaks the handle.
 * A unix socket has no reset, its peer sees an end.
 */
function reset(socket: Socket): void {
  const fd = socketDescriptor(socket);
  if (fd >= 0 && libcStatus().available) syscalls.setsockoptBytes(fd, SOL_SOCKET, SO_LINGER, LINGER);
  socket.destroy();
}

interface CopyOptions {
  readonly length: number;
  readonly onMoved: (bytes: number) => void;
  readonly onProgress: (() => void) | undefined;
  readonly onEnd: (outcome: RelayOutcome) => void;
}

/** By Node's streams, where one of the two is no plain socket. */
function copyDirection(
  from: Socket,
  to: Socket,
  refused: string,
  head: Buffer | undefined,
  { onEnd, ...options }: CopyOptions,
): Direction {
  const engine = new StreamCopyEngine(from, to, refused, head);
  const transfer = new Transfer({
    ...options,
    engine,
    onEnd(error, result) {
      engine.close();
      onEnd({ error, result, failed: engine.failed, ended: engine.ended });
    },
  });
  return {
    start: () => transfer.start(),
    stop: (error) => transfer.stop(error),
    lost: (error) => transfer.lost(error),
    endTurn: () => {},
    release: () => {},
  };
}
