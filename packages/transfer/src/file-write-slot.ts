/**
 * A slot in the queue of an fs.WriteStream, as sockets have one (write-slot.ts): a tagged, empty chunk is written like any
 * other. When it reaches `_write`, all earlier bytes are in the file, and all later ones wait until the slot is over.
 *
 *   requested ──► held ──► over
 *       └─ cancelled ────────┘     and 'lost' from either, when the stream is destroyed
 *
 * The stream closes its descriptor only when the slot is over: a call on another thread may be using it. It may be any
 * fs.WriteStream: what is put in front of its methods is taken away again.
 */
import type { Writable } from 'node:stream';
import { OwnedDescriptor } from '@zerocopy/core-syscalls/descriptors';

/** What an fs.WriteStream has, and its types do not all tell. */
export interface FileWriter extends Writable {
  /** The descriptor it writes to; null until the file is open, and again once it is closed. */
  readonly fd: number | null;
  /** What it was made with; undefined for a descriptor that was lent to it. */
  readonly path: string | Buffer | undefined;
  /** Where the next write goes, in bytes; undefined: at the descriptor's own position. */
  pos: number | undefined;
  /** Bytes in the file so far, by whichever way. */
  bytesWritten: number;
}

/** A slot that is held: the file is its holder's until {@link FileWriteSlot.end}. */
export interface FileWriteSlot {
  /** Stays open, and the same file, for as long as the slot is held. */
  readonly fd: number;
  /** Where its bytes go, in bytes from the file's start; undefined: at the descriptor's own position, which moves. */
  readonly position: number | undefined;
  /** Counts bytes that went beside Node. */
  moved(bytes: number): void;
  /** Ends the slot: later writes go on. With an error, the stream fails as after a failed write of its own. */
  end(error?: Error | null): void;
}

/** What becomes of a requested slot. Each but `crowded` is called at most once. */
export interface FileSlotHandlers {
  /** All earlier bytes are in the file: it is ours. */
  begin(slot: FileWriteSlot): void;
  /** It cannot be had: the descriptor cannot be duplicated. The slot is over. */
  refused(reason: string): void;
  /** The stream is being destroyed. A held slot has still to be ended. */
  lost(error: Error | null): void;
  /** Other code calls this method of the stream: what it wants comes after the slot. Called often. */
  crowded(how: 'write' | 'end' | 'cork'): void;
}

type WriteCallback = (error?: Error | null) => void;

interface Internals {
  _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void;
  _writev?: unknown;
  _destroy(error: Error | null, callback: WriteCallback): void;
}

const CROWDING = ['write', 'end', 'cork'] as const;

/** Asks for a slot in the queue of an fs.WriteStream; and, once it has come, the slot itself. */
export class FileSlotRequest implements FileWriteSlot {
  readonly #stream: FileWriter;
  readonly #handlers: FileSlotHandlers;
  readonly #token: Buffer = Buffer.alloc(0);
  readonly #replaced = new Map<string, unknown>();
  #state: 'requested' | 'held' | 'over' = 'requested';
  #own: OwnedDescriptor | undefined;
  #done: WriteCallback | undefined;
  #destroy: (() => void) | undefined;

  /** The slot may come before this returns. */
  constructor(stream: FileWriter, handlers: FileSlotHandlers) {
    this.#stream = stream;
    this.#handlers = handlers;
    const internals = stream as unknown as Internals;
    const { _write: write, _destroy: destroy } = internals;
    this.#put('_write', (chunk: unknown, encoding: BufferEncoding, callback: WriteCallback) => {
      if (chunk === this.#token) this.#begin(callback);
      else write.call(internals, chunk, encoding, callback);
    });
    this.#put('_writev', null); // one by one, while this lasts
    this.#put('_destroy', (error: Error | null, callback: WriteCallback) => {
      const go = (): void => destroy.call(internals, error, callback);
      if (this.#state === 'held') this.#destroy = go;
      const lost = this.#state !== 'over';
      if (this.#state === 'requested') this.#over();
      if (lost) this.#handlers.lost(error);
      if (this.#destroy === undefined) go();
    });
    stream.write(this.#token);
    for (const name of CROWDING) {
      if (this.#isOver) break;
      const own = stream[name] as (...args: unknown[]) => unknown;
      this.#put(name, (...args: unknown[]) => {
        this.#handlers.crowded(name);
        return Reflect.apply(own, stream, args);
      });
    }
  }

  get #isOver(): boolean {
    return this.#state === 'over';
  }

  /** See {@link FileWriteSlot.fd}. */
  get fd(): number {
    return this.#own?.fd ?? (this.#stream.fd as number);
  }

  /** See {@link FileWriteSlot.position}. */
  get position(): number | undefined {
    return this.#stream.pos;
  }

  /** See {@link FileWriteSlot.moved}. */
  moved(bytes: number): void {
    this.#stream.bytesWritten += bytes;
    if (this.#stream.pos !== undefined) this.#stream.pos += bytes;
  }

  /** Leaves the queue: no handler is called any more. A slot that is held must be ended instead. */
  cancel(): void {
    if (this.#state === 'requested') this.#over();
  }

  /** See {@link FileWriteSlot.end}. Idempotent. */
  end(error?: Error | null): void {
    if (this.#state === 'over') return;
    this.#over();
    this.#done?.(error);
    this.#destroy?.();
  }

  #begin(done: WriteCallback): void {
    if (this.#state !== 'requested') return done(); // cancelled
    // A descriptor that was lent may be closed, and its number used again, at any moment (kernel-rules: fd-reuse).
    const lent = this.#stream.path === undefined || this.#stream.path === null;
    const own = lent ? OwnedDescriptor.tryDuplicate(this.#stream.fd as number) : undefined;
    if (own === null) {
      this.#over();
      this.#handlers.refused('the descriptor cannot be duplicated');
      return done();
    }
    this.#own = own;
    this.#done = done;
    this.#state = 'held';
    this.#handlers.begin(this);
  }

  #put(name: string, value: unknown): void {
    this.#replaced.set(name, value);
    Object.defineProperty(this.#stream, name, { configurable: true, writable: true, value });
  }

  #over(): void {
    this.#state = 'over';
    const stream = this.#stream as unknown as Record<string, unknown>;
    for (const [name, value] of this.#replaced) if (stream[name] === value) Reflect.deleteProperty(stream, name);
    this.#own?.close();
    this.#own = undefined;
  }
}
