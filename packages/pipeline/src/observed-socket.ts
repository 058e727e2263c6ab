/**
 * The pipe of a socket, or of a child's pipe, of which nobody knows how much it brings. Node reads and writes it until much
 * comes; then the bytes go beneath, until little comes or none at all. An idle connection costs nothing.
 *
 *   observed ──4 full reads in a row──► taken ──little comes, silence, other code writes──► observed
 *      └────────── unpiped, ended, closed ─────────┴──────────────────────────────────────────► over
 */
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
import { BulkGauge, isSocket, otherReader, pipesOf, replacedMethod } from '@zerocopy/transfer';
import { refusalOfWriterFs } from './node-files.js';
import type { PairRecord } from './pair-record.js';

const SOCKET_METHODS = ['_read', 'read', 'push'] as const;
/** Bytes: libuv reads up to 64 KiB at once. Half of it is much. */
const FULL_READ = 32 * 1024;
/** So many of them in a row are a transfer that is worth being taken. */
const HOT = 4;
/** After so many refusals the pair is left alone. */
const TRIES_MAX = 8;

type Push = (this: Socket, chunk: Buffer | null, encoding?: BufferEncoding) => boolean;

/** Observes the pair. @returns why not. */
export function observeSocket(
  source: Socket,
  destination: Socket | WriteStream,
  record: PairRecord,
): string | undefined {
  if (!isSocket(source)) return 'the source only looks like a socket';
  if (isFileWriter(destination)) {
    const refused = refusalOfWriter(destination as WriteStream) ?? refusalOfWriterFs(destination);
    if (refused !== undefined) return refused;
  } else if (!isSocket(destination)) return 'the destination only looks like a socket';
  const replaced = replacedMethod(source, SOCKET_METHODS);
  if (replaced !== undefined) return `${replaced}() of the source has been replaced`;
  if (source.readableEncoding !== null) return 'the source has an encoding';
  if (source.readableObjectMode) return 'the source is in object mode';
  new ObservedSocket(source, destination, record).observe();
  return undefined;
}

class ObservedSocket {
  readonly #source: Socket;
  readonly #destination: Socket | WriteStream;
  readonly #record: PairRecord;
  readonly #push: Push;
  #state: 'observed' | 'asked' | 'taken' | 'over' = 'observed';
  readonly #gauge: BulkGauge = new BulkGauge(FULL_READ, HOT);
  #tries = 0;
  #route: TakenRoute | undefined;

  constructor(source: Socket, destination: Socket | WriteStream, record: PairRecord) {
    this.#source = source;
    this.#destination = destination;
    this.#record = record;
    const { push } = source;
    const observed = this;
    this.#push = function (chunk, encoding) {
      observed.#seen(chunk);
      return push.call(this, chunk, encoding);
    };
  }

  observe(): void {
    this.#gauge.observe();
    Object.defineProperty(this.#source, 'push', { configurable: true, writable: true, value: this.#push });
    this.#destination.on('unpipe', this.#onUnpipe);
  }

  #unobserve(): void {
    if (this.#source.push === (this.#push as unknown)) Reflect.deleteProperty(this.#source, 'push');
    this.#destination.off('unpipe', this.#onUnpipe);
  }

  readonly #onUnpipe = (source: unknown): void => {
    if (source === this.#source) this.#end();
  };

  #end(): void {
    this.#state = 'over';
    this.#unobserve();
  }

  #seen(chunk: Buffer | null): void {
    if (this.#state !== 'observed') return;
    if (chunk === null) return this.#end();
    if (!this.#gauge.read(chunk.length)) return;
    this.#state = 'asked';
    setImmediate(this.#take);
  }

  readonly #take = (): void => {
    if (this.#state !== 'asked') return;
    const source = this.#source;
    if (source.destroyed || source.readableEnded) return this.#end();
    const refused = otherReader(source, this.#destination) ?? this.#lay();
    if (refused === undefined) return;
    this.#state = 'observed';
    this.#tries++;
    if (this.#tries < TRIES_MAX) return;
    this.#record.fallBack(refused);
    this.#end();
  };

  #lay(): string | undefined {
    this.#unobserve();
    const refused = refusalOfSource(this.#source, 1);
    const route: TakenRoute | RouteRefusal =
      refused !== undefined
        ? { refused }
        : routeBeneath(this.#source, this.#destination, {
            onMoved: (bytes) => {
              this.#gauge.moved(bytes);
              this.#record.moved(bytes);
            },
            onDeclined: () => this.#onDeclined(),
          });
    if ('refused' in route) {
      this.observe();
      return route.refused;
    }
    this.#state = 'taken';
    this.#route = route;
    this.#gauge.watch(this.#look);
    return undefined;
  }

  /** A tick later something speaks against it after all: it has been paused meanwhile, for instance. */
  #onDeclined(): void {
    this.#tries++;
    this.#observeAgain();
  }

  /** Whether it is still worth it; and whether the route is over, for whatever reason. */
  readonly #look = (isLittle: boolean): void => {
    const route = this.#route as TakenRoute;
    if (!route.underWay) this.#observeAgain();
    else if (isLittle) route.leave();
  };

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
