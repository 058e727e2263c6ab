/**
 * What the destination of a pipe hears, where no bytes come through Node's own `pipe`: 'pipe' at the start, and 'unpipe'
 * once, when somebody unpipes it or when it finishes, closes or fails, whichever comes first.
 */
import { errorMonitor } from 'node:events';
import type { Readable } from 'node:stream';

export class PipedDestination {
  readonly #source: Readable;
  readonly #destination: NodeJS.EventEmitter;
  readonly #onOver: () => void;
  #over = false;

  /** @param onOver the destination takes no more; called before 'unpipe'. */
  constructor(source: Readable, destination: NodeJS.WritableStream, onOver: () => void) {
    this.#source = source;
    this.#destination = destination;
    this.#onOver = onOver;
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
    this.#destination.off(errorMonitor, this.#listener).off('close', this.#listener).off('finish', this.#listener);
    return true;
  }

  readonly #listener = (): void => {
    this.#onOver();
    this.unpipe();
  };
}
