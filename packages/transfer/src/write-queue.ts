/**
 * The write queue of a socket, in which slots have their places (write-slot.ts): what is put in front of the socket's own
 * `_write` and `_writev`, and sees the tokens of slots among the chunks.
 */
import type { OutgoingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { socketDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { replacedMethod } from './node-originals.js';
import { flushHead, isDrained } from './socket-internals.js';
import { nextTick } from './timers.js';

export type WriteCallback = (error?: Error | null) => void;

/** What the queue needs to know of a slot. */
export interface QueuedSlot {
  /** A write of the slot's own is under way. */
  readonly writing: boolean;
  /** The token has reached the socket. */
  begin(socket: Socket, done: WriteCallback): void;
  /** Other code writes to the socket, ends or corks it. */
  onCrowded(): void;
  /** The socket has closed. */
  onClose(): void;
}

// Registered, so that two copies of this package in one process know each other's slots and queues: what is kept under them
// must not change its shape without a new number.
const kSlot: unique symbol = Symbol.for('zerocopy.slot.1');
const kQueue: unique symbol = Symbol.for('zerocopy.writeQueue.2');

interface Token extends Uint8Array {
  [kSlot]?: QueuedSlot;
}

interface QueuedWrite {
  readonly chunk: unknown;
  readonly encoding: BufferEncoding;
}

type QueuedWrites = QueuedWrite[] & { allBuffers?: boolean };

export interface WritableInternals {
  _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void;
  _writev?: ((chunks: QueuedWrites, callback: WriteCallback) => void) | null;
}

/** What this module keeps for each socket it has put itself in front of. */
export interface WriteQueue {
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
  /** Slots requested or held. One 'close' listener serves them all, however many responses are pipelined. */
  readonly slots: Set<QueuedSlot>;
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

/** Where it is put on, it is taken off again, however the slot ends (kernel-rules: tcp-cork-left-on). */
export function setCork(socket: Socket, queue: WriteQueue, on: boolean): void {
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
  // afterwards, lib/internal/streams/writable.js): no code of others may run before.
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
export function watchCrowding(socket: InstrumentedSocket, queue: WriteQueue, change: 1 | -1): void {
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
export function instrument(socket: InstrumentedSocket): WriteQueue {
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

/** Writes the token of `slot`. @param callback as of the write. */
export function writeToken(destination: Writable | OutgoingMessage, slot: QueuedSlot, callback: WriteCallback): void {
  const token: Token = Buffer.alloc(0);
  token[kSlot] = slot;
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
  // Of an HTTP message that was uncorked once too often: from 0 on Node 24 lets its socket go after a write, and from less never.
  for (let n = corked; n < 0; n++) {
    stream.cork();
    (stream as OutgoingMessage).socket?.uncork();
  }
  use();
  for (; corked > 0; corked--) stream.cork();
}
