/**
 * What the destination of a pipe hears, where no bytes come through Node's own `pipe`: 'pipe' at the start, its end after
 * that of the source, and 'unpipe' once: when somebody unpipes it, when it finishes, closes or fails, or, if it is not
 * ended, at the source's end.
 */
import { errorMonitor } from 'node:events';
import type { Readable } from 'node:stream';

export class PipedDestination {
  readonly #source: Readable;
  readonly #destination: NodeJS.EventEmitter;
  readonly #onOver: () => void;
  readonly #onSourceEnd: () => void;
  #over = false;

  /** @param ends whether the source's end is the destination's. @param onOver the destination takes no more; called before 'unpipe'. */
  constructor(source: Readable, destination: NodeJS.WritableStream, ends: boolean, onOver: () => void) {
    this.#source = source;
    this.#destination = destination;
    this.#onOver = onOver;
    this.#onSourceEnd = () => (ends ? destination.end() : this.unpipe());
    // Now: what pipeline does at the source's end comes after it.
    source.once('end', this.#onSourceEnd);
    // As pipe() does (lib/internal/streams/readable.js): 'unpipe' comes before other listeners hear of a failure, and
    // this is no listener that handles one.
    destination.prependListener(errorMonitor as unknown as 'error', this.#listener);
    destination.on('close', this.#listener);
    destination.on('finish', this.#listener);
    destination.emit('pipe', source);
  }

  unpipe(): void {
    if (this.#leave()) this.#destination.emit('unpipe', this.#source);
  }

  /** Node's own pipe takes over: without a word, the destination has heard of the pipe already. */
  handOver(pipe: () => void): void {
    this.#leave();
    const destination = this.#destination;
    const own = Object.getOwnPropertyDescriptor(destination, 'emit');
    const { emit } = destination;
    destination.emit = (event, ...details): boolean =>
      event === 'pipe' ? true : (Reflect.apply(emit, destination, [event, ...details]) as boolean);
    try {
      pipe();
    } finally {
      if (own === undefined) Reflect.deleteProperty(destination, 'emit');
      else Object.defineProperty(destination, 'emit', own);
    }
  }

  /** @returns false if it has been left before. */
  #leave(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#source.off('end', this.#onSourceEnd);
    this.#destination.off(errorMonitor, this.#listener).off('close', this.#listener).off('finish', this.#listener);
    return true;
  }

  readonly #listener = (): void => {
    this.#onOver();
    this.unpipe();
  };
}
