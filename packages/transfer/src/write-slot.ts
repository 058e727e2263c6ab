/**
 * A slot in a socket's write queue.
 *
 * sendfile and splice go around everything that Node and libuv have queued (kernel-rules: user-space-queues). So they
 * take their place in that queue: a zero-length Buffer, tagged, is written to the destination like any chunk. Through an
 * HTTP message's buffers and the socket's own it travels in order; when it reaches the socket's `_write`, all earlier
 * bytes are with the kernel, and all later ones wait until the slot's end. Cork, drain, pipelining, keep-alive, 'finish',
 * write errors and the callbacks of other writes stay Node's.
 *
 *   requested ──► (connecting ──►) held ──► over
 *       └────────────── dropped ────────────┘     (HEAD, 204, 304: HTTP drops the chunk and calls back)
 *       └──────────────  lost  ─────────────┘     (destination closed, with the slot requested or held)
 */
import type { OutgoingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { socketDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { replacedMethod } from './node-originals.js';
import { flushHead, isDrained } from './socket-internals.js';
import { addSharedListener, removeSharedListener } from './stream-listeners.js';
import { nextTick } from './timers.js';

type WriteCallback = (error?: Error | null) => void;

/** A slot that is held: the socket is its holder's, from here until {@link WriteSlot.end} or {@link WriteSlot.abandon}. */
export interface WriteSlot {
  /** The socket's descriptor now, or -1 once it is closed. Ask before every call: the number may be reused. */
  descriptor(): number;
  /** Writes through Node, within the slot; the callback is the wake-up for writability. One at a time. */
  write(chunk: Uint8Array, callback: WriteCallback): void;
  /** Counts bytes that went around Node: for `bytesWritten`, and as a sign of life for the idle timer. */
  moved(bytes: number): void;
  /**
   * Gives the slot up without ending it: nothing that waits behind it is ever written. For bytes that must not look
   * whole; the socket has to be destroyed by whoever calls this.
   */
  abandon(): void;
  /** Ends the slot: later writes go on. With an error, the socket fails as after a failed write of its own. */
  end(error?: Error | null): void;
}

/** What becomes of a requested slot. Each but `crowded` is called at most once. */
export interface SlotHandlers {
  /** All earlier bytes are with the kernel: it is ours. */
  begin(slot: WriteSlot): void;
  /** The destination sends no body; there was nothing to do. */
  dropped(): void;
  /** The destination closed, or failed, before the slot was over. */
  lost(error: Error | null): void;
  /**
   * Other code writes to the socket, ends or corks it, while the slot is requested or held: what it wants comes after the
   * slot. For a slot that may be held for as long as a connection lasts, so that its owner gives it up. Called often.
   */
  readonly crowded?: (() => void) | undefined;
}

/** A place in the queue, until the slot comes. */
export interface SlotRequest {
  /** Leaves the queue: no handler is called any more. A slot that is held must be ended instead. */
  cancel(): void;
}

// Registered, so that two copies of this package in one process know each other's slots and queues: what is kept under them
// must not change its shape without a new number.
const kSlot: unique symbol = Symbol.for('zerocopy.slot.1');
const kQueue: unique symbol = Symbol.for('zerocopy.writeQueue.2');

interface Token extends Uint8Array {
  [kSlot]?: Slot;
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
  /** What the socket had. */
  readonly _write: WritableInternals['_write'];
  readonly _writev: NonNullable<WritableInternals['_writev']> | undefined;
  /** What was put in front of it, by whichever copy of this module. */
  readonly frontWrite: WritableInternals['_write'];
  readonly frontWritev: NonNullable<WritableInternals['_writev']> | undefined;
  /** Turns requested or held. One 'close' listener serves them all, however many responses are pipelined. */
  readonly slots: Set<Slot>;
  /** Of `slots`, those whose owners want to know when other code uses the socket. */
  watchful: number;
}

interface InstrumentedSocket extends Socket {
  [kQueue]?: WriteQueue;
}

const tokenOf = (chunk: unknown): Token[typeof kSlot] => (chunk as Token | null)?.[kSlot];

const kOwn: unique symbol = Symbol.for('zerocopy.ownMethod.1');

/** What a chunk passes through from write() to libuv. */
const STREAM_METHODS = ['write', '_writeGeneric'] as const;
const WATCHED_METHODS = ['_writeGeneric'] as const;
const QUEUE_METHODS = ['write', '_write', '_writev', '_writeGeneric'] as const;
const KEPT_METHODS = ['_write', '_writev'] as const;

/** Whether this socket's queue is Node's own, or already ours: no other code would see, or miss, our bytes. */
export function hasPlainQueue(socket: Socket): boolean {
  const queue = (socket as InstrumentedSocket)[kQueue];
  if (queue === undefined) return replacedMethod(socket, QUEUE_METHODS) === undefined;
  const own = socket as unknown as WritableInternals;
  return (
    own._write === queue.frontWrite &&
    (own._writev ?? undefined) === queue.frontWritev &&
    // A watchful slot has put a method of its own in front of write().
    replacedMethod(socket, kOwn in socket.write ? WATCHED_METHODS : STREAM_METHODS) === undefined &&
    replacedMethod(queue, KEPT_METHODS) === undefined
  );
}

/** Whoever puts it on takes it off again, however the slot ends (kernel-rules: tcp-cork-left-on). */
function setCork(socket: Socket, queue: WriteQueue, on: boolean): void {
  if (queue.corked === on) return;
  const fd = socketDescriptor(socket);
  // Fails on a unix socket, which has no segments to fill; then it simply stays off.
  const done = fd >= 0 && syscalls.setsockopt(fd, constants.IPPROTO_TCP, constants.TCP_CORK, on ? 1 : 0) === 0;
  queue.corked = on && done;
}

// The functions that are put in front of a socket's own are the same for all sockets: closures for each would give
// each socket a hidden class, and a property dictionary of 2 KiB, of its own.

function writeInSlot(
  this: InstrumentedSocket,
  chunk: unknown,
  encoding: BufferEncoding,
  callback: WriteCallback,
): void {
  const queue = this[kQueue] as WriteQueue;
  const slot = tokenOf(chunk);
  if (slot === undefined) queue._write.call(this as unknown as WritableInternals, chunk, encoding, callback);
  else slot.begin(this, callback);
}

function writeManyInSlot(this: InstrumentedSocket, chunks: QueuedWrites, callback: WriteCallback): void {
  const queue = this[kQueue] as WriteQueue;
  const writev = queue._writev as NonNullable<WriteQueue['_writev']>;
  const token = chunks.findIndex(({ chunk }) => tokenOf(chunk) !== undefined);
  if (token < 0) {
    writev.call(this as unknown as WritableInternals, chunks, callback);
    return;
  }
  if (token > 0) setCork(this, queue, true);
  let next = 0;
  // Until _writev has returned, Writable drops whatever is written to the stream (clearBuffer empties its queue
  // afterwards, lib/internal/streams/writable.js): nobody's code may run before.
  let returned = false;
  const step: WriteCallback = (error) => {
    if (error) return callback(error);
    const first = chunks[next];
    if (first === undefined) return callback();
    const slot = tokenOf(first.chunk);
    if (slot !== undefined) {
      next++;
      if (returned) slot.begin(this, step);
      else nextTick(() => slot.begin(this, step));
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
}

const bytesWritten: PropertyDescriptor = {
  configurable: true,
  enumerable: false,
  get(this: InstrumentedSocket): number | undefined {
    const bytes = Reflect.get(Object.getPrototypeOf(this) as object, 'bytesWritten', this) as number | undefined;
    return bytes === undefined ? undefined : bytes + (this[kQueue] as WriteQueue).moved;
  },
};

/** The methods by which other code makes a slot crowded. They are put in front of the socket's own while one is watchful. */
const crowding = (['write', 'end', 'cork'] as const).map((name) => {
  const method = function (this: InstrumentedSocket, ...args: unknown[]): unknown {
    for (const slot of [...(this[kQueue] as WriteQueue).slots]) slot.onCrowded();
    const own = Reflect.get(Object.getPrototypeOf(this) as object, name, this) as (...all: unknown[]) => unknown;
    return Reflect.apply(own, this, args);
  };
  return [name, Object.assign(method, { [kOwn]: true })] as const;
});

/** In which they are taken off again: so the socket has its former hidden class again, and not a dictionary of properties. */
const crowdingBackwards = [...crowding].reverse();

/** Counts watchful slots, and sees to it that they are told. */
function watch(socket: InstrumentedSocket, queue: WriteQueue, change: 1 | -1): void {
  queue.watchful += change;
  const [on, off] = [change === 1 && queue.watchful === 1, change === -1 && queue.watchful === 0];
  for (const [name, method] of on ? crowding : crowdingBackwards) {
    if (on && !Object.hasOwn(socket, name)) {
      Object.defineProperty(socket, name, { configurable: true, writable: true, value: method });
    } else if (off && socket[name] === (method as unknown)) Reflect.deleteProperty(socket, name);
  }
}

function tellSlotsOfClose(this: InstrumentedSocket): void {
  for (const slot of [...(this[kQueue] as WriteQueue).slots]) slot.onClose();
}

/** Puts our own `_write` and `_writev` in front of the socket's, once, for the socket's life. */
function instrument(socket: InstrumentedSocket): WriteQueue {
  if (socket[kQueue] !== undefined) return socket[kQueue];
  const internals = socket as unknown as WritableInternals;
  const queue: WriteQueue = {
    moved: 0,
    corked: false,
    _write: internals._write,
    _writev: internals._writev ?? undefined,
    frontWrite: writeInSlot as WritableInternals['_write'],
    frontWritev: internals._writev ? (writeManyInSlot as NonNullable<WritableInternals['_writev']>) : undefined,
    watchful: 0,
    slots: new Set(),
  };
  socket[kQueue] = queue;
  socket.on('close', tellSlotsOfClose);
  internals._write = queue.frontWrite;
  if (queue.frontWritev !== undefined) internals._writev = queue.frontWritev;
  Object.defineProperty(socket, 'bytesWritten', bytesWritten);
  return queue;
}

/** What libuv says of a write under way when its socket is closed. */
function cancelled(): NodeJS.ErrnoException {
  return Object.assign(new Error('write ECANCELED'), { code: 'ECANCELED', syscall: 'write' });
}

class Slot implements UnqueuedSlot {
  readonly #destination: Writable | OutgoingMessage;
  readonly #socket: Socket;
  readonly #queue: WriteQueue;
  readonly #handlers: SlotHandlers;
  #state: 'requested' | 'held' | 'over' = 'requested';
  /** Of the write that the slot has taken the place of. */
  #done: WriteCallback | undefined;
  /** A write of the slot's own is under way. */
  #writing = false;
  #watching = false;
  #afterWrite: (() => void) | undefined;

  constructor(destination: Writable | OutgoingMessage, socket: Socket, handlers: SlotHandlers) {
    this.#destination = destination;
    this.#socket = socket;
    this.#queue = instrument(socket);
    this.#handlers = handlers;
  }

  request(): void {
    this.#queue.slots.add(this);
    if (this.#destination !== (this.#socket as unknown)) addSharedListener(this.#destination, 'close', this.onClose);
    const token: Token = Buffer.alloc(0);
    token[kSlot] = this;
    writeToken(this.#destination, token, (error) => {
      if (this.#state !== 'requested') return;
      this.#leave();
      if (error) this.#handlers.lost(this.#reason(error) ?? null);
      else this.#handlers.dropped();
    });
    // Not before: the token is no crowd.
    if (this.#handlers.crowded === undefined || (this.#state as string) === 'over') return;
    this.#watching = true;
    watch(this.#socket, this.#queue, 1);
  }

  get writing(): boolean {
    return this.#writing;
  }

  onCrowded(): void {
    if (this.#watching) this.#handlers.crowded?.();
  }

  cancel(): void {
    if (this.#state === 'requested') this.#leave();
  }

  /** The token has reached the socket. */
  begin(socket: Socket, done: WriteCallback): void {
    if (this.#state !== 'requested') {
      setCork(socket, this.#queue, false); // cancelled: what was to leave together with its bytes goes now
      return done();
    }
    this.#done = done;
    if (socket.connecting) socket.once('connect', this.#onConnect);
    else this.#onConnect();
  }

  descriptor(): number {
    return this.#socket.destroyed ? -1 : socketDescriptor(this.#socket);
  }

  write(chunk: Uint8Array, callback: WriteCallback): void {
    this.#writing = true;
    const socket = this.#socket as unknown as WritableInternals;
    this.#queue._write.call(socket, chunk, 'buffer' as BufferEncoding, (error) => {
      this.#writing = false;
      if (this.#afterWrite !== undefined) this.#afterWrite();
      // Node 20 calls back without an error what the closing of its socket has cancelled.
      else callback(this.#reason(error ?? (this.#socket.destroyed ? cancelled() : null)));
    });
  }

  moved(bytes: number): void {
    this.#queue.moved += bytes;
    // Held back any longer, large files would cost three times the CPU: the receiver gets bursts, not a stream.
    setCork(this.#socket, this.#queue, false);
    if (this.#socket.timeout) this.#socket.setTimeout(this.#socket.timeout);
  }

  abandon(): void {
    if (this.#state !== 'over') this.#leave();
  }

  end(error?: Error | null): void {
    if (this.#state === 'over') return;
    this.#leave();
    const finish = (): void => {
      setCork(this.#socket, this.#queue, false);
      this.#done?.(error);
    };
    if (this.#writing) this.#afterWrite = finish;
    else finish();
  }

  readonly onClose = (): void => {
    this.#leave();
    this.#handlers.lost(this.#socket.errored ?? null);
  };

  /** A write under way when its socket is closed is cancelled, and Node says so (since 22); why is the socket's to say. */
  #reason(error: Error | null | undefined): Error | null | undefined {
    const cancelled = (error as NodeJS.ErrnoException | null | undefined)?.code === 'ECANCELED';
    return cancelled ? (this.#socket.errored ?? error) : error;
  }

  readonly #onConnect = (): void => {
    if (this.#state !== 'requested') {
      setCork(this.#socket, this.#queue, false);
      this.#done?.(); // cancelled while it was connecting
      return;
    }
    this.#state = 'held';
    this.#handlers.begin(this);
  };

  #leave(): void {
    this.#state = 'over';
    if (this.#watching) {
      this.#watching = false;
      watch(this.#socket, this.#queue, -1);
    }
    removeSharedListener(this.#destination, 'close', this.onClose);
    this.#queue.slots.delete(this);
  }
}

/** A slot that has not been asked for yet. Until then its holder may use the descriptor, where the queue is empty. */
export interface UnqueuedSlot extends WriteSlot, SlotRequest {
  /** Takes a place in the queue. */
  request(): void;
}

/** A slot in `destination`'s queue, whose bytes go out on `socket` (the same object, or that of an HTTP message). */
export function createWriteSlot(
  destination: Writable | OutgoingMessage,
  socket: Socket,
  handlers: SlotHandlers,
): UnqueuedSlot {
  return new Slot(destination, socket, handlers);
}

/** {@link createWriteSlot}, and asks for it. */
export function requestWriteSlot(
  destination: Writable | OutgoingMessage,
  socket: Socket,
  handlers: SlotHandlers,
): SlotRequest {
  const slot = new Slot(destination, socket, handlers);
  slot.request();
  return slot;
}

/**
 * Whether all that has been written to `destination` is with the kernel, so that what is sent on the socket in this turn comes
 * right after it. The head of a message is written for that: foreign code, which may do anything.
 */
export function flushQueue(destination: Writable | OutgoingMessage, socket: Socket): boolean {
  if (!hasEmptyQueue(socket)) return false;
  if (destination === (socket as unknown)) return true;
  return flushHead(destination as OutgoingMessage, socket) && hasEmptyQueue(socket);
}

function hasEmptyQueue(socket: Socket): boolean {
  const slots = (socket as InstrumentedSocket)[kQueue]?.slots;
  return (slots === undefined || slots.size === 0) && isDrained(socket);
}

/** Whether the slot that is held waits for the kernel to take more: as much as if a write of Node's were waiting there. */
export function isSlotFull(socket: Socket): boolean {
  for (const slot of (socket as InstrumentedSocket)[kQueue]?.slots ?? []) if (slot.writing) return true;
  return false;
}

function writeToken(destination: Writable | OutgoingMessage, token: Token, callback: WriteCallback): void {
  // A corked HTTP message would put the token inside its next chunk (Node 26). A socket's cork only delays, and the token
  // may wait with the rest.
  const write = (): unknown => (destination as Writable).write(token, callback);
  if (destination instanceof Socket) write();
  else whileUncorked(destination, write);
}

/** Lets go what the stream holds back, then runs `use`, then corks it again as often as it was. */
export function whileUncorked(stream: Writable | OutgoingMessage, use: () => void): void {
  let corked = stream.writableCorked;
  for (let n = corked; n > 0; n--) stream.uncork();
  use();
  for (; corked > 0; corked--) stream.cork();
}
