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
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { socketDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { failureOf, isCancelledWrite } from './stream-failure.js';
import { addSharedListener, removeSharedListener } from './stream-listeners.js';
import {
  instrument,
  type QueuedSlot,
  setCork,
  type WritableInternals,
  type WriteCallback,
  type WriteQueue,
  watchCrowding,
  writeToken,
} from './write-queue.js';

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
   * whole; the caller has to destroy the socket.
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

/** A slot that has not been asked for yet. Until then its holder may use the descriptor, where the queue is empty. */
export interface UnqueuedSlot extends WriteSlot, SlotRequest {
  /** Takes a place in the queue. */
  request(): void;
}

/** What libuv says of a write under way when its socket is closed. */
function cancelled(): NodeJS.ErrnoException {
  return Object.assign(new Error('write ECANCELED'), { code: 'ECANCELED', syscall: 'write' });
}

class Slot implements UnqueuedSlot, QueuedSlot {
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
    writeToken(this.#destination, this, (error) => {
      if (this.#state !== 'requested') return;
      this.#leave();
      if (error) this.#handlers.lost(this.#reason(error) ?? null);
      else this.#handlers.dropped();
    });
    // Not before: the token is no crowd.
    if (this.#handlers.crowded === undefined || (this.#state as string) === 'over') return;
    this.#watching = true;
    watchCrowding(this.#socket, this.#queue, 1);
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
    this.#queue._write.call(
      this.#socket as unknown as WritableInternals,
      chunk,
      'buffer' as BufferEncoding,
      (error) => {
        this.#writing = false;
        if (this.#afterWrite !== undefined) this.#afterWrite();
        // Node 20 calls back without an error what the closing of its socket has cancelled.
        else callback(this.#reason(error ?? (this.#socket.destroyed ? cancelled() : null)));
      },
    );
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
    this.#handlers.lost(failureOf(this.#socket));
  };

  /** A write under way when its socket is closed is cancelled, and Node says so (since 22); why is the socket's to say. */
  #reason(error: Error | null | undefined): Error | null | undefined {
    return isCancelledWrite(error) ? (failureOf(this.#socket) ?? error) : error;
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
      watchCrowding(this.#socket, this.#queue, -1);
    }
    removeSharedListener(this.#destination, 'close', this.onClose);
    this.#queue.slots.delete(this);
  }
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
