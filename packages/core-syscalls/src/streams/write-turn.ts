/**
 * A turn in a socket's write queue.
 *
 * sendfile and splice go around everything that Node and libuv have queued. So they take their place in that queue:
 * a zero-length Buffer, tagged, is written to the destination like any chunk. Through an HTTP message's buffers and
 * the socket's own it travels in order; when it reaches the socket's `_write`, all earlier bytes are with the kernel,
 * and all later ones wait until the turn's end. Cork, drain, pipelining, keep-alive, 'finish', write errors and the
 * callbacks of other writes stay Node's.
 *
 *   requested ──► (connecting ──►) held ──► over
 *       └────────────── dropped ────────────┘     (HEAD, 204, 304: HTTP drops the chunk and calls back)
 *       └──────────────  lost  ─────────────┘     (destination closed, with the turn requested or held)
 */
import type { OutgoingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { constants } from '../constants.js';
import { setsockopt } from '../syscalls/socket.js';
import { socketDescriptor } from './socket-internals.js';

type WriteCallback = (error?: Error | null) => void;

export interface WriteTurn {
  /** The socket's descriptor now, or -1 once it is closed. Ask before every call: the number may be reused. */
  descriptor(): number;
  /** Writes through Node, within the turn; the callback is the wake-up for writability. One at a time. */
  write(chunk: Uint8Array, callback: WriteCallback): void;
  /** Counts bytes that went around Node: for `bytesWritten`, and as a sign of life for the idle timer. */
  moved(bytes: number): void;
  /**
   * Gives the turn up without ending it: nothing that waits behind it is ever written. For bytes that must not look
   * whole; the socket has to be destroyed by whoever calls this.
   */
  abandon(): void;
  /** Ends the turn: later writes go on. With an error, the socket fails as after a failed write of its own. */
  end(error?: Error | null): void;
}

export interface TurnHandlers {
  /** All earlier bytes are with the kernel: it is ours. */
  begin(turn: WriteTurn): void;
  /** The destination sends no body; there was nothing to do. */
  dropped(): void;
  /** The destination closed, or failed, before the turn was over. */
  lost(error: Error | null): void;
}

export interface TurnRequest {
  /** Leaves the queue: no handler is called any more. A turn that is held must be ended instead. */
  cancel(): void;
}

const kTurn = Symbol('zerocopy.turn');
const kQueue = Symbol('zerocopy.writeQueue');

interface Token extends Uint8Array {
  [kTurn]?: (socket: Socket, done: WriteCallback) => void;
}

interface QueuedWrite {
  readonly chunk: unknown;
  readonly encoding: BufferEncoding;
}

type QueuedWrites = QueuedWrite[] & { allBuffers?: boolean };

interface WritableInternals {
  _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void;
  _writev?: ((chunks: QueuedWrites, callback: WriteCallback) => void) | null;
}

/** What this module keeps for each socket it has put itself in front of. */
interface WriteQueue {
  /** Bytes that went around Node, over the socket's life. */
  moved: number;
  /** TCP_CORK is on: bytes before a token are held back to leave in common segments with what the token sends. */
  corked: boolean;
  /** Node's own. */
  readonly write: WritableInternals['_write'];
  /** Turns requested or held. One 'close' listener serves them all, however many responses are pipelined. */
  readonly turns: Set<() => void>;
}

interface InstrumentedSocket extends Socket {
  [kQueue]?: WriteQueue;
}

const tokenOf = (chunk: unknown): Token[typeof kTurn] => (chunk as Token | null)?.[kTurn];

/** Whether this socket's queue is Node's own, or already ours: nobody else's code would see, or miss, our bytes. */
export function hasPlainQueue(socket: Socket): boolean {
  if (Object.hasOwn(socket, 'write')) return false;
  if ((socket as InstrumentedSocket)[kQueue] !== undefined) return true;
  const own = socket as unknown as WritableInternals;
  const plain = Socket.prototype as unknown as WritableInternals;
  return own._write === plain._write && own._writev === plain._writev;
}

function setCork(socket: Socket, queue: WriteQueue, on: boolean): void {
  if (queue.corked === on) return;
  const fd = socketDescriptor(socket);
  // Fails on a unix socket, which has no segments to fill; then it simply stays off.
  const done = fd >= 0 && setsockopt(fd, constants.IPPROTO_TCP, constants.TCP_CORK, on ? 1 : 0) === 0;
  queue.corked = on && done;
}

/** Puts our own `_write` and `_writev` in front of the socket's, once, for the socket's life. */
function instrument(socket: InstrumentedSocket): WriteQueue {
  if (socket[kQueue] !== undefined) return socket[kQueue];
  const internals = socket as unknown as WritableInternals;
  const write = internals._write;
  const writev = internals._writev;
  const queue: WriteQueue = { moved: 0, corked: false, write, turns: new Set() };
  socket[kQueue] = queue;
  socket.on('close', () => {
    for (const onClose of [...queue.turns]) onClose();
  });

  internals._write = function (this: Socket, chunk, encoding, callback) {
    const turn = tokenOf(chunk);
    if (turn === undefined) write.call(this as unknown as WritableInternals, chunk, encoding, callback);
    else turn(this, callback);
  };

  if (writev) {
    internals._writev = function (this: Socket, chunks, callback) {
      const token = chunks.findIndex(({ chunk }) => tokenOf(chunk) !== undefined);
      if (token < 0) {
        writev.call(this as unknown as WritableInternals, chunks, callback);
        return;
      }
      if (token > 0) setCork(socket, queue, true);
      let next = 0;
      // Until _writev has returned, Writable drops whatever is written to the stream (clearBuffer empties its queue
      // afterwards, lib/internal/streams/writable.js): nobody's code may run before.
      let returned = false;
      const step: WriteCallback = (error) => {
        if (error) return callback(error);
        const first = chunks[next];
        if (first === undefined) return callback();
        const turn = tokenOf(first.chunk);
        if (turn !== undefined) {
          next++;
          if (returned) turn(this, step);
          else process.nextTick(turn, this, step);
          return;
        }
        const from = next;
        while (next < chunks.length && tokenOf(chunks[next]?.chunk) === undefined) next++;
        const part: QueuedWrites = chunks.slice(from, next);
        part.allBuffers = chunks.allBuffers === true;
        writev.call(this as unknown as WritableInternals, part, step);
      };
      step();
      returned = true;
    };
  }

  const prototype = Object.getPrototypeOf(socket) as object;
  Object.defineProperty(socket, 'bytesWritten', {
    configurable: true,
    enumerable: false,
    get(this: InstrumentedSocket): number | undefined {
      const bytes = Reflect.get(prototype, 'bytesWritten', this) as number | undefined;
      return bytes === undefined ? undefined : bytes + queue.moved;
    },
  });
  return queue;
}

/**
 * Asks for a turn in `destination`'s queue, whose bytes go out on `socket`
 * (the same object, or the socket of an HTTP message).
 */
export function requestWriteTurn(
  destination: Writable | OutgoingMessage,
  socket: Socket,
  handlers: TurnHandlers,
): TurnRequest {
  const queue = instrument(socket);
  let state: 'requested' | 'held' | 'over' = 'requested';
  let writing = false;
  let afterWrite: (() => void) | undefined;

  const leave = (): void => {
    state = 'over';
    destination.off('close', onClose);
    queue.turns.delete(onClose);
    if (onConnect !== undefined) socket.off('connect', onConnect);
  };
  const onClose = (): void => {
    leave();
    handlers.lost(socket.errored ?? null);
  };
  let onConnect: (() => void) | undefined;

  const token: Token = Buffer.alloc(0);
  token[kTurn] = (_, done) => {
    if (state !== 'requested') return done(); // cancelled
    const turn: WriteTurn = {
      descriptor: () => (socket.destroyed ? -1 : socketDescriptor(socket)),
      write(chunk, callback) {
        writing = true;
        queue.write.call(socket as unknown as WritableInternals, chunk, 'buffer' as BufferEncoding, (error) => {
          writing = false;
          const ending = afterWrite;
          if (ending !== undefined) ending();
          else callback(error);
        });
      },
      moved(bytes) {
        queue.moved += bytes;
        // Held back any longer, large files would cost three times the CPU: the receiver gets bursts, not a stream.
        setCork(socket, queue, false);
        if (socket.timeout) socket.setTimeout(socket.timeout);
      },
      abandon() {
        if (state !== 'over') leave();
      },
      end(error) {
        if (state === 'over') return;
        leave();
        const finish = (): void => {
          setCork(socket, queue, false);
          done(error);
        };
        if (writing) afterWrite = finish;
        else finish();
      },
    };
    const begin = (): void => {
      state = 'held';
      handlers.begin(turn);
    };
    if (socket.connecting) {
      onConnect = begin;
      socket.once('connect', onConnect);
    } else begin();
  };

  queue.turns.add(onClose);
  if (destination !== (socket as unknown)) destination.on('close', onClose);
  writeToken(destination, token, (error) => {
    if (state !== 'requested') return;
    leave();
    if (error) handlers.lost(error);
    else handlers.dropped();
  });
  return {
    cancel() {
      if (state === 'requested') leave();
    },
  };
}

function writeToken(destination: Writable | OutgoingMessage, token: Token, callback: WriteCallback): void {
  // A corked HTTP message would put the token inside its next chunk (Node 26): let what it holds go first, then the
  // token, then cork again. A socket's cork only delays, and the token may wait with the rest.
  let corked = destination instanceof Socket ? 0 : destination.writableCorked;
  for (let n = corked; n > 0; n--) destination.uncork();
  (destination as Writable).write(token, callback);
  for (; corked > 0; corked--) destination.cork();
}
