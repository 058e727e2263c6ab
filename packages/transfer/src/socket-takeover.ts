/**
 * Taking a socket over to read it below Node, and giving it back.
 *
 *   Node reads ──take──► ours ──giveBack──► Node reads (and sees the end of the stream itself)
 */
import type { Socket } from 'node:net';
import { socketDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { hasOnRead, hasSeenEnd, isReading, isReferenced, stopReading } from './socket-internals.js';

/** A socket that Node does not read until it is given back. */
export interface TakenSocket {
  /**
   * What Node had already read and no consumer had taken. It comes before anything that is read from the descriptor.
   */
  readonly head: Buffer;
  /** Whether Node had already read the end of the stream: nothing follows `head`. */
  readonly ended: boolean;
  /** The socket's descriptor now, or -1 once it is closed. Ask before every call. */
  descriptor(): number;
  /** Counts bytes read below Node: for `bytesRead`, and as a sign of life for the idle timer. */
  moved(bytes: number): void;
  /**
   * From now on `watcher` waits in the socket's place: it keeps the event loop alive if the socket would, and follows
   * ref() and unref().
   */
  follow(watcher: Socket): void;
  /**
   * Lets Node read again. Idempotent.
   * @param options `unread`: bytes that Node's readers get first. `resume`: whether the socket flows; by default it
   * does unless it was paused.
   */
  giveBack(options?: { readonly unread?: Buffer; readonly resume?: boolean }): void;
}

const kTaken: unique symbol = Symbol.for('zerocopy.taken.1');

interface ReadInternals {
  _read(size: number): void;
  [kTaken]?: { moved: number };
}

function countReads(socket: Socket): { moved: number } {
  const internals = socket as unknown as ReadInternals;
  const present = internals[kTaken];
  if (present !== undefined) return present;
  const counter = { moved: 0 };
  internals[kTaken] = counter;
  const prototype = Object.getPrototypeOf(socket) as object;
  Object.defineProperty(socket, 'bytesRead', {
    configurable: true,
    enumerable: false,
    get(this: Socket): number | undefined {
      const bytes = Reflect.get(prototype, 'bytesRead', this) as number | undefined;
      return bytes === undefined ? undefined : bytes + counter.moved;
    },
  });
  return counter;
}

export interface TakeOptions {
  /**
   * Called once, in words how, when other code wants the socket's bytes, or none, while it is taken: it is read, resumed or
   * paused, or gets a 'data' or 'readable' listener. Then it is to be given back.
   */
  readonly onTouched?: ((how: string) => void) | undefined;
}

/**
 * Stops Node reading `socket`, in one synchronous turn, so that no byte can arrive in between.
 *
 * @returns the taken socket; or null where there is no plain descriptor (TLS, not connected, closed) or somebody else
 * has replaced `_read` or has the bytes called back (`onread`): then nothing has been changed.
 */
export function takeSocketForReading(socket: Socket, { onTouched }: TakeOptions = {}): TakenSocket | null {
  if (socketDescriptor(socket) < 0 || Object.hasOwn(socket, '_read') || hasOnRead(socket)) return null;
  const wasFlowing = socket.readableFlowing;
  const internals = socket as unknown as ReadInternals;
  internals._read = () => {}; // read() below must not start libuv's loop again
  socket.pause();
  stopReading(socket);

  // read() also emits 'data': where there is a listener it has received these bytes, and we must not move them again.
  const observed = socket.listenerCount('data') > 0;
  const chunks: Buffer[] = [];
  for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
    if (!observed) chunks.push(chunk);
  }
  const counter = countReads(socket);
  const replaced = ['_read'];
  let given = false;
  let pausedMeanwhile = false;
  let touched = false;
  const touch = (how: string): void => {
    if (touched || given) return;
    touched = true;
    onTouched?.(how);
  };
  const onNewListener = (event: string | symbol): void => {
    if (event === 'data' || event === 'readable') touch(`a '${event}' listener was added to it`);
  };
  const onResume = (): void => {
    stopReading(socket); // node:http's own listener has just begun to read
    pausedMeanwhile = false;
    touch('it was resumed');
  };
  if (onTouched !== undefined) {
    internals._read = () => touch('it was read');
    socket.on('newListener', onNewListener).on('resume', onResume);
    if (!Object.hasOwn(socket, 'pause')) {
      replaced.push('pause');
      // It is paused already, so that no event would tell.
      socket.pause = function (this: Socket) {
        const result = Reflect.apply(Reflect.get(Object.getPrototypeOf(this), 'pause') as () => Socket, this, []);
        pausedMeanwhile = true;
        touch('it was paused');
        return result;
      };
    }
  }
  return {
    head: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks),
    ended: hasSeenEnd(socket),
    descriptor: () => (socket.destroyed ? -1 : socketDescriptor(socket)),
    moved(bytes) {
      counter.moved += bytes;
      if (socket.timeout) socket.setTimeout(socket.timeout);
    },
    follow(watcher) {
      if (!isReferenced(socket)) watcher.unref();
      for (const method of ['ref', 'unref'] as const) {
        if (Object.hasOwn(socket, method)) continue; // replaced by other code, which would be lost with ours
        replaced.push(method);
        socket[method] = function (this: Socket) {
          if (!watcher.destroyed) watcher[method]();
          return Reflect.apply(Reflect.get(Object.getPrototypeOf(this), method) as () => Socket, this, []);
        };
      }
    },
    giveBack({ unread, resume = wasFlowing !== false } = {}) {
      if (given) return;
      given = true;
      socket.off('newListener', onNewListener).off('resume', onResume);
      for (const own of replaced) Reflect.deleteProperty(socket, own);
      if (socket.destroyed) return;
      if (unread !== undefined && unread.length > 0) socket.unshift(unread);
      if (resume && !pausedMeanwhile) socket.resume();
      // Nobody had decided yet whether it flows; pause() has, and a 'data' listener would wait for ever.
      else if (wasFlowing === null) (socket as { readableFlowing: boolean | null }).readableFlowing = null;
      if (pausedMeanwhile) {
        // Resumed, the stream may believe that a read is under way, and not ask.
        socket.once('resume', () => {
          if (!isReading(socket) && !socket.destroyed && !socket.readableEnded) internals._read(0);
        });
        return;
      }
      // resume() and read(0) do nothing if the stream believes a read is under way; start libuv's loop then.
      if (!isReading(socket) && !socket.readableEnded) socket.read(0);
      if (!isReading(socket) && !socket.destroyed && !socket.readableEnded) internals._read(0);
    },
  };
}
