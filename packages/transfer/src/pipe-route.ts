/**
 * A route beneath a pipe that Node has made: the kernel moves the bytes, and all that belongs to the pipe stays Node's: its
 * listeners, 'pipe' and 'unpipe', the destination's end, what happens after an error.
 *
 * A Readable asks for bytes by `_read`, and does not ask again until it has been answered by `push`. That one question
 * is what a route holds while the kernel moves the bytes: none comes through the pipe then, and none has to be stopped.
 *
 *   waiting ──_read──► moving ──► over      at the end, push(null): the source ends as any Readable
 *      │                 │  └─► lost ─► over   the destination has failed: held until Node's pipe has left it
 *      └─────────────────┴─leave─► over      push(''): Node asks again if it still flows, and reads from the byte reached
 *
 * `begin` runs foreign code (diagnostics subscribers), which may leave or close the route, or destroy the source: whoever
 * implements it looks at `moving` again before anything is used that such code may have closed.
 */
import { AsyncResource } from 'node:async_hooks';
import type { Readable } from 'node:stream';
import { hasChunkInHand } from './flowing-pipe.js';
import type { MethodRecord } from './method-record.js';
import { otherReader, PipeWatch } from './pipe-watch.js';
import { pipesOf } from './socket-internals.js';

type Read = (this: Readable, size: number) => void;
type Destroy = (this: Readable, error: Error | null, callback: (error?: Error | null) => void) => void;

/** What is put in front of a stream that is not one of ours, under these names. */
interface Attached {
  readonly _read: Read;
  readonly _destroy: Destroy;
}

/** The machine of a route: the states above. A subclass moves the bytes, and says so by the protected methods. */
export abstract class PipeRoute<Source extends Readable = Readable> {
  /** What is piped. */
  protected readonly source: Source;
  /** What it is piped into. */
  protected readonly destination: NodeJS.WritableStream;
  /** Where the way that the bytes take is noted. */
  protected readonly record: MethodRecord;
  /** The context of the caller of `pipe`, in which Node's reading would go on: calls of the kernel end in any. */
  readonly #resource = new AsyncResource('ZEROCOPY_PIPE');
  #state: 'waiting' | 'moving' | 'lost' | 'over' = 'waiting';
  #leaving = false;
  /** `begin` is under way. */
  #asking = false;
  /** Handed back meanwhile. */
  #declined = false;
  #watch: PipeWatch | undefined;
  #afterwards: (() => void) | undefined;
  /** What was put in front of the source's own methods, where it is not one of our streams. */
  #attached: Attached | undefined;

  /** To be made when `source` has been piped into `destination`, and before it has flowed. */
  constructor(source: Source, destination: NodeJS.WritableStream, record: MethodRecord) {
    this.source = source;
    this.destination = destination;
    this.record = record;
  }

  /** Answers the read, or calls {@link hold} and answers later. @returns why it can do neither: nothing has happened then. */
  protected abstract begin(): string | undefined;

  /** Ends what {@link begin} has begun, at the byte it has reached: {@link handBack} is called then. */
  protected abstract stop(): void;

  /** Ends what {@link begin} has begun because the source is being destroyed: {@link handBack} is called then. */
  protected cancel(): void {
    this.stop();
  }

  /** The bytes go below the pipe now. */
  get moving(): boolean {
    return this.#state === 'moving';
  }

  /** Node's own reading has taken over for good, or is about to. */
  get left(): boolean {
    return this.#leaving || this.#state === 'over';
  }

  /**
   * Puts the route in front of the `_read` of a stream that is not one of ours, and in front of its `_destroy`: an
   * fs.ReadStream, a socket, an HTTP body. They are taken away again when the route is over. The stream is destroyed without
   * waiting for what the route has under way, which has to have a descriptor of its own.
   */
  attach(): void {
    const { _read: read, _destroy: destroy } = this.source;
    const route = this;
    this.#attached = {
      _read(size) {
        if (!route.read()) read.call(this, size);
      },
      _destroy(error, callback) {
        route.close(() => {});
        destroy.call(this, error, callback);
      },
    };
    for (const [name, value] of Object.entries(this.#attached)) {
      Object.defineProperty(this.source, name, { configurable: true, writable: true, value });
    }
  }

  /** What the source's `_read` asks first. @returns false if Node is to read. */
  read(): boolean {
    if (this.#state !== 'waiting') return this.#state !== 'over'; // only by hand: Node does not ask twice
    // What Node has read comes first; then the route is asked again.
    if (this.source.readableLength > 0 || hasChunkInHand(this.source)) return false;
    let refused = this.#ask();
    // Done with, and to be asked again, before it has returned: once more here, and not a read of Node's, which takes a buffer
    // and a hop of the thread pool to find the end. Once only: a file that grows all the time would hold up the event loop.
    if (refused === undefined && this.#declined && this.#state === 'waiting' && !this.source.destroyed) {
      this.#declined = false;
      refused = this.#ask();
    }
    if (refused !== undefined) this.leave(refused);
    if (this.source.destroyed) return true;
    // Handed back while it was being asked: Node reads in the same `_read`. An empty push would be no answer there, since a
    // Readable that fills its buffer stops asking when a read has brought nothing.
    return refused === undefined && !this.#declined;
  }

  /** @returns why Node is to read. */
  #ask(): string | undefined {
    this.#asking = true;
    const refused = otherReader(this.source, this.destination) ?? this.#resource.runInAsyncScope(this.begin, this);
    this.#asking = false;
    return refused;
  }

  /** Goes back to Node's reading for good, for `reason`, if it is one to be told. Idempotent. */
  leave(reason?: string): void {
    if (this.left) return;
    this.#leaving = true;
    if (reason !== undefined) this.record.fallBack(reason);
    if (this.#state === 'moving') this.stop();
    else if (this.#state === 'lost') this.handBack();
    else this.#over();
  }

  /** Ends it, and runs `then` once nothing of it is under way: the source is being destroyed. */
  close(then: () => void): void {
    if (this.#state !== 'moving') {
      this.#over();
      then();
      return;
    }
    this.#afterwards = then;
    if (this.#leaving) return;
    this.#leaving = true;
    this.cancel();
  }

  /** The read that {@link begin} was called for is answered later. */
  protected hold(): void {
    this.#state = 'moving';
    this.#watch ??= new PipeWatch(
      this.source,
      this.destination,
      (reason) => this.leave(reason),
      () => {
        if (this.#state === 'lost') this.handBack();
      },
    );
    this.#watch.begin();
  }

  /** What has been waited for is there: {@link begin} is called once more, if the stream still flows. */
  protected askAgain(): void {
    this.#answer('waiting', '');
  }

  /** The destination has failed, and says so itself: nothing more is read for it. */
  protected lose(): void {
    if (this.#state !== 'moving') return;
    if (!this.#leaving && pipesOf(this.source)?.includes(this.destination)) this.#state = 'lost';
    else this.handBack();
  }

  /** Node reads on. */
  protected handBack(): void {
    this.#answer('over', '');
  }

  /** All bytes are out. */
  protected end(): void {
    this.#answer('over', null);
  }

  #answer(state: 'waiting' | 'over', chunk: '' | null): void {
    if (this.#state === 'over') return;
    if (state === 'over') this.#over();
    else {
      this.#watch?.end();
      this.#state = state;
    }
    const then = this.#afterwards;
    this.#afterwards = undefined;
    this.#resource.runInAsyncScope(() => {
      if (this.#asking && chunk === '') this.#declined = true;
      else if (!this.source.destroyed) {
        this.source.push(chunk);
        if (chunk === '') this.#watch?.drained();
      }
      then?.();
    });
  }

  #over(): void {
    this.#state = 'over';
    this.#watch?.end();
    // The last that was put there first: so the stream has its former hidden class again, and not a dictionary of properties,
    // by which everything that Node does with it would be slower.
    for (const [name, value] of Object.entries(this.#attached ?? {}).reverse()) {
      if (this.source[name as keyof Attached] === value) Reflect.deleteProperty(this.source, name);
    }
    this.#attached = undefined;
  }
}
