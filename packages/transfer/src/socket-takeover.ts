/**
 * Taking a socket over to read it below Node, and giving it back.
 *
 *   Node reads ──take──► ours ──giveBack──► Node reads (and sees the end of the stream itself)
 */
import type { Socket } from 'node:net';
import { socketDescriptor } from '@zerocopy/core-syscalls/descriptors';
import {
  hasOnRead,
  hasSeenEnd,
  isConsumedByParser,
  isReading,
  isReferenced,
  isResuming,
  stopReading,
} from './socket-internals.js';

/** A socket that Node does not read while it is taken. */
export interface TakenSocket {
  /** What Node had already read and nobody had consumed: it comes before anything read from the descriptor. Empty the next time. */
  takeHead(): Buffer;
  /** Whether Node had already seen the end of the stream: there is nothing to read after the head. */
  readonly ended: boolean;
  /** The socket's descriptor now, or -1 once it is closed. Ask before every call. */
  descriptor(): number;
  /** Counts bytes read below Node: for `bytesRead`, and as a sign of life for the idle timer. */
  moved(bytes: number): void;
  /** From now on `watcher` keeps the event loop alive if the socket would have: it waits in its place. */
  follow(watcher: Socket): void;
  /**
   * Lets Node read again. `unread` goes first, if there is any. It flows, or does not, as it stands; or is resumed, if that
   * is asked for. Idempotent.
   */
  giveBack(options?: { readonly unread?: Buffer; readonly resume?: boolean }): void;
}

const kTaken: unique symbol = Symbol.for('zerocopy.taken.1');

interface ReadInternals {
  [kTaken]?: { moved: number };
}

// One getter for all sockets: one for each would give each socket a property dictionary, of 3 KiB, of its own.
const bytesRead: PropertyDescriptor = {
  configurable: true,
  enumerable: false,
  get(this: Socket & ReadInternals): number | undefined {
    const bytes = Reflect.get(Object.getPrototypeOf(this) as object, 'bytesRead', this) as number | undefined;
    return bytes === undefined ? undefined : bytes + (this[kTaken] as { moved: number }).moved;
  },
};

function countReads(socket: Socket & ReadInternals): { moved: number } {
  const present = socket[kTaken];
  if (present !== undefined) return present;
  const counter = { moved: 0 };
  socket[kTaken] = counter;
  Object.defineProperty(socket, 'bytesRead', bytesRead);
  return counter;
}

export interface TakeOptions {
  /**
   * Called once, in words how, when other code wants the socket's bytes, or none, or puts some in, while it is taken: it is
   * resumed, paused or read, something is unshifted, it gets an encoding, or a 'data' or 'readable' listener. Then it is to
   * be given back; it stays taken until it is, so that no byte can come out of its order.
   */
  readonly onTouched?: ((how: string) => void) | undefined;
}

/**
 * Stops Node reading `socket`, in one synchronous turn, so that no byte can arrive in between. Whether it flows or is
 * paused is not changed: so what other code does about that while it is taken has its ordinary effect once it is given
 * back.
 *
 * @returns the taken socket; or null where there is no plain descriptor (TLS, not connected, closed) or somebody else
 * has replaced `_read` or has the bytes called back (`onread`): then nothing has been changed.
 */
export function takeSocketForReading(socket: Socket, { onTouched }: TakeOptions = {}): TakenSocket | null {
  if (socketDescriptor(socket) < 0 || Object.hasOwn(socket, '_read') || hasOnRead(socket)) return null;
  return new Taken(socket, onTouched);
}

type Method = (...args: unknown[]) => unknown;

class Taken implements TakenSocket {
  readonly ended: boolean;
  #head: Buffer | undefined;
  readonly #socket: Socket;
  readonly #counter: { moved: number };
  readonly #onTouched: TakeOptions['onTouched'];
  /** The names of methods that are put in front of the socket's own. */
  #replaced: readonly string[] = [];
  /** Calls of unshift() meanwhile: what they bring comes behind what is given back. */
  #unshifted: unknown[][] | undefined;
  #touched = false;
  #given = false;
  /** resume() was called before it was taken: the event that is still to come is not by other code. */
  #resuming: boolean;

  constructor(socket: Socket, onTouched: TakeOptions['onTouched']) {
    this.#socket = socket;
    this.#onTouched = onTouched;
    this.#counter = countReads(socket); // stays: before what is taken off again
    this.#put('_read', () => {}); // read() below must not start libuv's loop again
    stopReading(socket);
    // read() also emits 'data': a listener that is there receives these bytes by itself, and they are not ours to move.
    const observed = socket.listenerCount('data') > 0;
    const chunks: Buffer[] = [];
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
      if (!observed) chunks.push(chunk);
    }
    this.#head = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    this.ended = hasSeenEnd(socket);
    this.#resuming = isResuming(socket);
    // Behind the listener of Node's HTTP server, which reads at this event whatever the stream says.
    socket.on('resume', this.#onResume);
    if (onTouched === undefined) return;
    socket.on('pause', this.#onPause).on('newListener', this.#onNewListener);
    this.#put('_read', () => this.#touch('it was read'));
    this.#put('unshift', (...args) => {
      this.#unshifted = [...(this.#unshifted ?? []), args];
      this.#touch('bytes were unshifted');
    });
    this.#put('setEncoding', (...args) => {
      this.#touch('it got an encoding');
      return this.#call('setEncoding', args);
    });
  }

  takeHead(): Buffer {
    const head = this.#head;
    this.#head = undefined;
    return head ?? Buffer.alloc(0);
  }

  descriptor(): number {
    return this.#socket.destroyed ? -1 : socketDescriptor(this.#socket);
  }

  moved(bytes: number): void {
    this.#counter.moved += bytes;
    if (this.#socket.timeout) this.#socket.setTimeout(this.#socket.timeout);
  }

  follow(watcher: Socket): void {
    if (!isReferenced(this.#socket)) watcher.unref();
    for (const method of ['ref', 'unref'] as const) {
      this.#put(method, (...args) => {
        if (!watcher.destroyed) watcher[method]();
        return this.#call(method, args);
      });
    }
  }

  giveBack({ unread, resume = false }: { readonly unread?: Buffer; readonly resume?: boolean } = {}): void {
    if (this.#given) return;
    this.#given = true;
    const socket = this.#socket;
    socket.off('resume', this.#onResume).off('pause', this.#onPause).off('newListener', this.#onNewListener);
    // The last that was put there first: the socket has its former hidden class again, and not a dictionary of properties.
    for (const name of [...this.#replaced].reverse()) Reflect.deleteProperty(socket, name);
    if (unread !== undefined && unread.length > 0 && !socket.destroyed) {
      // An encoding that was set meanwhile is for these bytes, too: unshift() would not decode them.
      if (socket.readableEncoding !== null && socket.readableLength === 0) socket.push(unread);
      else socket.unshift(unread);
    }
    for (const args of this.#unshifted ?? []) if (!socket.destroyed) this.#call('unshift', args);
    if (socket.destroyed) return; // by a listener that has just got something, too
    if (resume) socket.resume();
    // Node's HTTP server reads again by itself when it is resumed, and nothing before.
    if (socket.readableFlowing === false && isConsumedByParser(socket)) return;
    // resume() and read(0) do nothing if the stream believes a read is under way; start libuv's loop then.
    if (!isReading(socket) && !socket.readableEnded) socket.read(0);
    if (!isReading(socket) && !socket.destroyed && !socket.readableEnded) this.#call('_read', [0]);
  }

  readonly #onResume = (): void => {
    stopReading(this.#socket);
    if (this.#resuming) this.#resuming = false;
    else this.#touch('it was resumed');
  };

  readonly #onPause = (): void => this.#touch('it was paused');

  readonly #onNewListener = (event: string | symbol): void => {
    if (event === 'data' || event === 'readable') this.#touch(`a '${event}' listener was added to it`);
  };

  #touch(how: string): void {
    if (this.#touched || this.#given) return;
    this.#touched = true;
    this.#onTouched?.(how);
  }

  /** Puts `method` in front of the socket's own; not where other code has done so: that one is called by it, or knows better. */
  #put(name: string, method: Method): void {
    const isOurs = this.#replaced.includes(name);
    if (!isOurs && Object.hasOwn(this.#socket, name)) return;
    if (!isOurs) this.#replaced = [...this.#replaced, name]; // no longer than it is: many are held for long
    (this.#socket as unknown as Record<string, Method>)[name] = method;
  }

  #call(name: string, args: unknown[]): unknown {
    const method = Reflect.get(Object.getPrototypeOf(this.#socket) as object, name) as Method;
    return Reflect.apply(method, this.#socket, args);
  }
}
