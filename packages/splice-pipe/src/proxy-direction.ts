/**
 * One direction of a proxied pair. Node reads and writes until much comes, so that a connection that never carries much
 * costs what a pipe of Node's costs: two listeners. Then the source is taken, and the kernel splices, until little comes.
 *
 *   observed ──two full reads in a row──► taken ──little comes, and nothing is on its way──► observed
 *      └──────────── source ended, an end failed, lost ─────┴───────────────────────────────► ended
 *
 * While it is observed, one write is under way at most: where the destination does not take all of it at once, the source
 * is paused until it has. So the count is exact, and what is in user space is bounded.
 */
import type { Socket } from 'node:net';
import { constants, SyscallError, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import {
  BulkGauge,
  closedEarly,
  failureOf,
  type Side,
  socketDescriptor,
  type TransferAbout,
  TransferScope,
  transferError,
  unsentBytes,
} from '@zerocopy/transfer';
import type { DescriptorFacts } from './descriptor-kind.js';
import { refusalOfDestination } from './destination.js';
import { WATCH_SIZE_MAX } from './read-watcher.js';
import { Relay, type RelayOutcome } from './relay.js';
import { KernelSocketSource, refusalOfSource } from './source.js';

const { ECONNRESET, MSG_DONTWAIT, MSG_PEEK } = constants;

/** Full reads in a row after which the source is taken. */
const FULL_READS = 2;

const TOO_LITTLE = 'what came was too little for splice to be worth while, or in user space already';

const ABOUT: TransferAbout = { source: 'socket', destination: 'socket' };
const PART: TransferAbout = { isPart: true };

const always = (): boolean => true;

const peeked = Buffer.allocUnsafe(1);

/**
 * Of a reset that comes together with data libuv tells the data, and then an end: it does not read again, and the reset is
 * still to be had from the socket (kernel-rules: reset-as-end).
 */
function resetAtEnd(socket: Socket): Error | undefined {
  const fd = socketDescriptor(socket);
  if (fd === undefined) return undefined;
  const result = uninterrupted(() => syscalls.recv(fd, peeked, 1, MSG_PEEK | MSG_DONTWAIT));
  return result === -ECONNRESET ? new SyscallError(result, 'recv') : undefined;
}

/** The one that joins two directions. */
export interface DirectionOwner {
  /** What a socket of the pair is. */
  factsOf(socket: Socket): DescriptorFacts | undefined;
  /** Bytes have reached the destination. */
  onMoved(index: 0 | 1, bytes: number): void;
  /** After every pause, in the caller's async context; undefined: not asked for. What it throws ends the direction. */
  readonly onProgress: (() => void) | undefined;
  /** Called exactly once, in the caller's async context. */
  onDirectionEnd(index: 0 | 1, from: Socket, to: Socket, outcome: RelayOutcome): void;
}

/** One direction that the kernel may move. To be made in the async context of the caller. */
export class ProxyDirection {
  readonly #index: 0 | 1;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #owner: DirectionOwner;
  readonly #scope: TransferScope = new TransferScope(ABOUT);
  readonly #gauge: BulkGauge = new BulkGauge(WATCH_SIZE_MAX, FULL_READS);
  readonly #startedAt: number = performance.now();
  #state: 'new' | 'observed' | 'taken' | 'ended' = 'new';
  /** Goes first. */
  #head: Buffer | undefined;
  #bytes = 0;
  #syscalls = 0;
  /** Bytes that have been written to the destination's stream and not been acknowledged. */
  #writing = 0;
  /** Bytes of the write that {@link #onWritten} is called back for. */
  #first = 0;
  /** The source has been paused here. */
  #paused = false;
  #sourceEnded = false;
  /** Much has come: the source is taken when what has been written is acknowledged, and so counted. */
  #isBulk = false;
  #spliced = false;
  /** Why the kernel does not move the bytes. */
  #refusal: string | undefined;
  #relay: Relay | undefined;
  /** Taken for `#relay`. */
  #source: KernelSocketSource | undefined;
  /** Whether `#source` has become the relay's. */
  #isOpened = false;

  /** @param head bytes of the source that have been read from it already. */
  constructor(index: 0 | 1, from: Socket, to: Socket, owner: DirectionOwner, head: Buffer | undefined) {
    this.#index = index;
    this.#from = from;
    this.#to = to;
    this.#owner = owner;
    this.#head = head;
  }

  /** May be over before it returns. */
  start(): void {
    this.#scope.start(); // foreign code: it may have ended this, or destroyed one of the ends
    if (this.#state !== 'new') return;
    this.#state = 'observed';
    const [from, to, head] = [this.#from, this.#to, this.#head];
    if (to.destroyed) return this.lost(failureOf(to), 'destination');
    if (from.destroyed) return this.lost(failureOf(from), 'source');
    this.#head = undefined;
    if (head !== undefined && head.length > 0) this.#write(head);
    this.#observe();
    if (from.readableEnded) this.#onEnd();
    else if (!this.#paused) from.resume();
  }

  /** Whether all that the source brings has been read. It may be closed then, and the last of it still be written. */
  get sourceEnded(): boolean {
    return this.#sourceEnded;
  }

  /** Ends it as failed. @param error null: the stream of that side has closed without one. */
  lost(error: Error | null, side: Side): void {
    if (this.#state === 'ended') return;
    if (this.#relay !== undefined) this.#relay.lost(error, side);
    else this.#end(error ?? closedEarly(side, this.#bytes), side);
  }

  /** Once both directions have ended: lets go of both sockets. */
  release(): void {
    this.#unobserve();
    this.#leaveRelay();
  }

  #observe(): void {
    this.#from.on('data', this.#onData);
    this.#from.on('end', this.#onEnd);
  }

  #unobserve(): void {
    this.#from.off('data', this.#onData);
    this.#from.off('end', this.#onEnd);
  }

  readonly #onData = (chunk: Buffer | string): void => {
    if (this.#state !== 'observed') return;
    // A string: other code has given the source an encoding meanwhile.
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, this.#from.readableEncoding ?? 'utf8') : chunk;
    this.#syscalls++;
    this.#write(bytes);
    if (!this.#gauge.read(bytes.length) || this.#refusal !== undefined || !this.#isObserved()) return;
    if (this.#writing === 0) this.#take();
    else this.#isBulk = true;
  };

  #write(bytes: Buffer): void {
    const size = bytes.length;
    this.#syscalls++;
    this.#writing += size;
    if (this.#writing === size) {
      this.#first = size;
      this.#to.write(bytes, this.#onWritten);
    } else this.#to.write(bytes, (error) => this.#written(error, size));
    if (this.#to.writableLength === 0 || !this.#isObserved()) return;
    this.#paused = true;
    this.#from.pause();
  }

  readonly #onWritten = (error?: Error | null): void => this.#written(error, this.#first);

  #written(error: Error | null | undefined, size: number): void {
    this.#writing -= size;
    if (this.#state === 'ended') return;
    // Node 20 calls back without an error what the closing of its socket has cancelled.
    if (error || this.#to.destroyed) {
      return this.lost(failureOf(this.#to) ?? failureOf({ errored: error }), 'destination');
    }
    this.#moved(size);
    this.#report();
    if (this.#writing > 0) return;
    if (this.#sourceEnded) this.#onSourceEnd();
    else if (this.#isObserved() && this.#isBulk) this.#take();
    else if (this.#isObserved()) this.#goOn();
  }

  #goOn(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#from.resume();
  }

  #moved(bytes: number): void {
    this.#bytes += bytes;
    this.#owner.onMoved(this.#index, bytes);
  }

  #report(): void {
    const { onProgress } = this.#owner;
    if (onProgress === undefined) return;
    try {
      this.#scope.run(onProgress);
    } catch (error) {
      if (this.#relay !== undefined) this.#relay.stop(error as Error);
      else this.#end(error, undefined);
    }
  }

  /** Node has told the end of what it reads. */
  readonly #onEnd = (): void => {
    const reset = resetAtEnd(this.#from);
    if (reset === undefined) this.#onSourceEnd();
    else this.lost(reset, 'source');
  };

  readonly #onSourceEnd = (): void => {
    this.#sourceEnded = true;
    if (this.#writing === 0) this.#end(null, undefined); // else when all of it has been delivered
  };

  #take(): void {
    this.#isBulk = false;
    const [from, to] = [this.#from, this.#to];
    this.#unobserve();
    this.#refusal =
      refusalOfSource(from, 0, this.#owner.factsOf(from)) ?? refusalOfDestination(to, this.#owner.factsOf(to));
    if (this.#refusal !== undefined) {
      this.#observe();
      if (this.#writing === 0) this.#goOn();
      return;
    }
    this.#state = 'taken';
    this.#paused = false;
    this.#isOpened = false;
    const source = new KernelSocketSource(from, { resume: always, facts: this.#owner.factsOf(from) });
    this.#source = source;
    const relay = this.#scope.run(
      () =>
        new Relay({
          source: () => {
            this.#isOpened = true;
            return source;
          },
          destination: to,
          socket: from,
          eager: true,
          length: Number.POSITIVE_INFINITY,
          about: PART,
          onMoved: (bytes) => {
            this.#gauge.moved(bytes);
            this.#moved(bytes);
          },
          onProgress: this.#owner.onProgress,
          onEnd: (outcome) => this.#onRelayEnd(outcome),
        }),
    );
    this.#relay = relay;
    this.#gauge.watch(this.#onLook);
    relay.start();
  }

  /** What waits for its destination is not little, and would have to wait in user space. */
  readonly #onLook = (isLittle: boolean): void => {
    if (isLittle && this.#relay?.waitsForDestination === false) this.#relay.stop(null, 'little came');
  };

  #onRelayEnd({ error, result, failed, ended }: RelayOutcome): void {
    this.#gauge.unwatch();
    this.#syscalls += result.syscalls;
    if (result.method === 'splice' && result.bytes > 0) this.#spliced = true;
    this.#refusal ??= result.bytes > 0 && result.fallbackReason !== TOO_LITTLE ? result.fallbackReason : undefined;
    if (error !== null) return this.#end(error, failed);
    if (ended) return this.#onSourceEnd(); // Node calls back a write a tick after the relay's slot has come
    this.#state = 'observed';
    this.#observe(); // before the source is given back, with what had come of it
    this.#leaveRelay();
  }

  #leaveRelay(): void {
    const [relay, source] = [this.#relay, this.#source];
    this.#relay = undefined;
    this.#source = undefined;
    relay?.release();
    if (!this.#isOpened) source?.giveBack(source.takeHead(), source.ended);
  }

  #end(error: unknown, failed: Side | undefined): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#gauge.unwatch();
    this.#unobserve();
    // Node calls back a tick after the kernel has taken all of a write.
    this.#bytes += Math.max(0, this.#writing - unsentBytes(this.#to));
    const isSpliced = this.#spliced || this.#bytes === 0;
    const result: TransferResult = {
      bytes: this.#bytes,
      method: isSpliced ? 'splice' : 'copy',
      syscalls: this.#syscalls,
      durationMs: performance.now() - this.#startedAt,
    };
    if (!isSpliced) result.fallbackReason = this.#refusal ?? TOO_LITTLE;
    const failure = error === null ? null : transferError(error, this.#bytes);
    const outcome: RelayOutcome = { error: failure, result, failed, ended: error === null };
    if (failure === null) this.#scope.succeed(result);
    else this.#scope.fail(failure, result);
    this.#scope.run(() => this.#owner.onDirectionEnd(this.#index, this.#from, this.#to, outcome));
  }

  #isObserved(): boolean {
    return this.#state === 'observed';
  }
}
