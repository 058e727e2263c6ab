/**
 * The pipe of a socket, or of a child's pipe, of which nobody knows how much it brings. Node reads and writes it until much
 * comes; then the bytes go beneath, until little comes or none at all. An idle connection costs nothing.
 *
 *   observed ──4 full reads in a row──► taken ──little comes, silence, other code writes──► observed
 *      └────────── unpiped, ended, closed ─────────┴──────────────────────────────────────────► over
 */
import { AsyncResource } from 'node:async_hooks';
import type { WriteStream } from 'node:fs';
import type { Socket } from 'node:net';
import {
  isFileWriter,
  type RouteRefusal,
  refusalOfSource,
  refusalOfWriter,
  routeBeneath,
  type TakenRoute,
} from '@zerocopy/splice-pipe/route';
import { BulkGauge, isSocket, otherReader, pipesOf, replacedMethod, setImmediate } from '@zerocopy/transfer';
import { refusalOfWriterFs } from './node-files.js';
import { PairRecord } from './pair-record.js';
import type { PipeKind } from './pipe-kind.js';

const SOCKET_METHODS = ['_read', 'read', 'push'] as const;
/** Bytes: libuv reads up to 64 KiB at once. Half of it is much. */
const FULL_READ = 32 * 1024;
/** So many of them in a row are a transfer that is worth being taken. */
const HOT = 4;
/** After so many refusals the pair is left alone. */
const TRIES_MAX = 8;

type Push = (this: Observed, chunk: Buffer | null, encoding?: BufferEncoding) => boolean;

const kObserved: unique symbol = Symbol('observed');

type Observed = Socket & { [kObserved]?: ObservedSocket | undefined };

// One function for all sockets: a closure for each would be in the heap of each idle connection.
const push: Push = function push(chunk, encoding) {
  this[kObserved]?.seen(chunk);
  const own = Reflect.get(Object.getPrototypeOf(this) as object, 'push', this) as Push;
  return own.call(this, chunk, encoding);
};

/** Observes the pair. @returns why not. */
export function observeSocket(source: Socket, destination: Socket | WriteStream, kind: PipeKind): string | undefined {
  if (!isSocket(source)) return 'the source only looks like a socket';
  if (isFileWriter(destination)) {
    const refused = refusalOfWriter(destination as WriteStream) ?? refusalOfWriterFs(destination);
    if (refused !== undefined) return refused;
  } else if (!isSocket(destination)) return 'the destination only looks like a socket';
  const replaced = replacedMethod(source, SOCKET_METHODS);
  if (replaced !== undefined) return `${replaced}() of the source has been replaced`;
  if (source.readableEncoding !== null) return 'the source has an encoding';
  if (source.readableObjectMode) return 'the source is in object mode';
  new ObservedSocket(source, destination, kind).observe();
  return undefined;
}

class ObservedSocket {
  readonly #source: Socket;
  readonly #destination: Socket | WriteStream;
  readonly #kind: PipeKind;
  /** Of whoever has piped it: what it reads comes in the context of the socket. */
  readonly #context: AsyncResource = new AsyncResource('ZEROCOPY_OBSERVED');
  /** Made when the pair is taken for the first time, or left alone. */
  #record: PairRecord | undefined;
  #state: 'observed' | 'asked' | 'taken' | 'over' = 'observed';
  readonly #gauge: BulkGauge = new BulkGauge(FULL_READ, HOT);
  #tries = 0;
  #route: TakenRoute | undefined;

  constructor(source: Socket, destination: Socket | WriteStream, kind: PipeKind) {
    this.#source = source;
    this.#destination = destination;
    this.#kind = kind;
  }

  observe(): void {
    this.#gauge.observe();
    // It stays while the socket is taken: taken off and put on again, it would leave a dictionary of properties behind.
    if (!Object.hasOwn(this.#source, 'push')) {
      Object.defineProperty(this.#source, kObserved, { configurable: true, writable: true, value: this });
      Object.defineProperty(this.#source, 'push', { configurable: true, writable: true, value: push });
    }
    this.#destination.on('unpipe', this.#onUnpipe);
  }

  #end(): void {
    this.#state = 'over';
    this.#destination.off('unpipe', this.#onUnpipe);
    const source = this.#source as Observed;
    if (source[kObserved] !== this) return;
    source[kObserved] = undefined;
    if (source.push === (push as unknown)) Reflect.deleteProperty(source, 'push');
  }

  readonly #onUnpipe = (source: unknown): void => {
    if (source === this.#source) this.#end();
  };

  /** What Node has read is about to be pushed. */
  seen(chunk: Buffer | null): void {
    if (this.#state !== 'observed') return;
    if (chunk === null) return this.#end();
    if (!this.#gauge.read(chunk.length)) return;
    this.#state = 'asked';
    setImmediate(() => this.#context.runInAsyncScope(this.#take, this));
  }

  #take(): void {
    if (this.#state !== 'asked') return;
    const source = this.#source;
    if (source.destroyed || source.readableEnded) return this.#end();
    const refused = otherReader(source, this.#destination) ?? this.#lay();
    if (refused === undefined) return;
    this.#state = 'observed';
    this.#tries++;
    if (this.#tries < TRIES_MAX) return;
    this.#recorded().fallBack(refused);
    this.#end();
  }

  #recorded(): PairRecord {
    this.#record ??= new PairRecord(this.#source, this.#kind, 'splice');
    return this.#record;
  }

  #lay(): string | undefined {
    this.#destination.off('unpipe', this.#onUnpipe);
    const record = this.#recorded();
    const refused = refusalOfSource(this.#source, 1);
    const route: TakenRoute | RouteRefusal =
      refused !== undefined
        ? { refused }
        : routeBeneath(this.#source, this.#destination, {
            onMoved: (bytes) => {
              this.#gauge.moved(bytes);
              record.moved(bytes);
            },
            onDeclined: () => this.#onDeclined(),
          });
    if ('refused' in route) {
      this.observe();
      return route.refused;
    }
    this.#state = 'taken';
    this.#route = route;
    this.#gauge.watch((isLittle) => this.#look(isLittle));
    return undefined;
  }

  /** A tick later something speaks against it after all: it has been paused meanwhile, for instance. */
  #onDeclined(): void {
    this.#tries++;
    this.#observeAgain();
  }

  /** Whether it is still worth it; and whether the route is over, for whatever reason. */
  #look(isLittle: boolean): void {
    const route = this.#route as TakenRoute;
    if (!route.underWay) this.#observeAgain();
    else if (isLittle) route.leave();
  }

  #observeAgain(): void {
    this.#gauge.unwatch();
    this.#route = undefined;
    const source = this.#source;
    const isOver = source.destroyed || source.readableEnded || !pipesOf(source)?.includes(this.#destination);
    if (isOver || this.#tries >= TRIES_MAX) return this.#end();
    this.#state = 'observed';
    this.observe();
  }
}
