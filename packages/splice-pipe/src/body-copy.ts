/**
 * A body that is read by its stream's own events, and written to a file in few calls: the whole of a small one at once, a
 * larger one in pieces that are collected while the one before is being written.
 *
 *   open ──'end', all written──► over
 *     └──fail──► failing ──what is under way, and what has come, is written──► over
 */
import { writev } from 'node:fs';
import type { Readable } from 'node:stream';
import { constants, SyscallError } from '@zerocopy/core-syscalls';
import { CollectedBody } from './collected-body.js';
import { closesBeforeItsEnd, isCutOffBody, whenConnectionCloses } from './cut-off-body.js';

/** Bytes that are collected before they are written, of a body that is larger, or of unknown length. */
const PIECE = 512 * 1024;
/** Bytes that wait to be written beyond which the source is paused. */
const WAITING_MAX = 1024 * 1024;

/** What is copied, and who is told. */
export interface BodyCopyOptions {
  readonly source: Readable;
  /** Bytes up to which all is written at once, at the end; 0: the length is not known, or large. */
  readonly whole: number;
  /** Bytes that may come, at most. */
  readonly maxBytes: number;
  /** What has been written so far; what it throws fails the copy. */
  readonly onWritten?: ((bytes: number) => void) | undefined;
  /** The error of a body with more than `maxBytes`. */
  tooLarge(): Error;
  /** The error of a source that other code has given an encoding meanwhile. */
  notBytes(): Error;
  /** At the source's end, after so many bytes: why that is not the whole body; null: it is. */
  incomplete(received: number): Error | null;
  /** The error of a source that has closed before its end. */
  closed(): Error;
  /** Called once, when nothing is under way any more. */
  onEnd(error: Error | null): void;
}

/** See the head of this file. */
export class BodyCopy {
  /** Bytes in the file. */
  written = 0;
  /** Calls that have written them. */
  calls = 0;
  readonly #options: BodyCopyOptions;
  #state: 'open' | 'ended' | 'failing' | 'over' = 'open';
  #fd = -1;
  #keepsParts = true;
  #received = 0;
  #collected = new CollectedBody();
  /** The budget of memory was used up: pieces are written as they come. */
  #crowded = false;
  #writing = false;
  #error: Error | null = null;
  readonly #onData = (chunk: unknown): void => this.#add(chunk);
  readonly #onSourceEnd = (): void => this.#ended(this.#options.incomplete(this.#received));
  readonly #onSourceClose = (): void => {
    const { source, closed } = this.#options;
    if (!source.readableEnded && !closesBeforeItsEnd(source)) this.fail(closed());
  };
  readonly #onConnectionClose = (): void => {
    const { source, closed } = this.#options;
    if (isCutOffBody(source)) this.fail(closed());
  };
  readonly #unwatch: () => void;

  /** Begins to read at once, so that what comes while the file is being opened need not wait. */
  constructor(options: BodyCopyOptions) {
    this.#options = options;
    const { source } = options;
    source.on('end', this.#onSourceEnd).on('close', this.#onSourceClose).on('error', this.#onSourceClose);
    source.on('data', this.#onData);
    this.#unwatch = whenConnectionCloses(source, this.#onConnectionClose);
    if (source.isPaused()) source.resume();
  }

  /** The file is open: `fd` stays so until `onEnd`. @param keepsParts whether what has come is written if the body breaks off. */
  opened(fd: number, keepsParts: boolean): void {
    this.#fd = fd;
    this.#keepsParts = keepsParts;
    this.#write();
  }

  /** Ends it with `error`, once what is under way has ended. The first error counts. @param discard nothing more is written. */
  fail(error: Error | null, discard = false): void {
    if (this.#state === 'over' || this.#state === 'failing') return;
    this.#state = 'failing';
    this.#error = error;
    this.#leave();
    if (discard || this.#fd < 0 || !this.#keepsParts) this.#drop();
    this.#write();
  }

  #ended(error: Error | null): void {
    if (error !== null) return this.fail(error);
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    this.#leave();
    this.#write();
  }

  #add(chunk: unknown): void {
    const { source, maxBytes, whole, tooLarge, notBytes } = this.#options;
    if (!(chunk instanceof Uint8Array)) return this.fail(notBytes());
    this.#received += chunk.length;
    if (this.#received > maxBytes) return this.fail(tooLarge());
    if (!this.#collected.add(chunk)) {
      this.#crowded = true;
      this.#collected.addUnreserved(chunk);
    }
    const { bytes } = this.#collected;
    if (this.#crowded || (this.#received > whole && bytes >= PIECE)) this.#write();
    if (this.#state === 'open' && (this.#crowded || bytes > WAITING_MAX)) source.pause();
  }

  #write(): void {
    if (this.#writing) return;
    const { chunks, bytes } = this.#collected;
    const due = this.#state !== 'open' || this.#crowded || (this.#received > this.#options.whole && bytes >= PIECE);
    if (chunks.length === 0 || this.#fd < 0 || !due) {
      if (this.#state !== 'open' && (chunks.length === 0 || this.#fd < 0)) this.#finish();
      return;
    }
    const body = this.#collected;
    this.#collected = new CollectedBody();
    this.#writing = true;
    this.#writeAll(chunks, bytes, (error) => {
      body.release();
      this.#writing = false;
      if (error !== null) {
        this.#drop();
        if (this.#state === 'failing') return this.#finish();
        this.#state = 'open'; // it may have ended meanwhile
        return this.fail(error, true);
      }
      this.#tell();
      if (this.#state === 'open' && this.#collected.bytes < WAITING_MAX) {
        this.#crowded = false;
        if (this.#options.source.isPaused()) this.#options.source.resume();
      }
      this.#write();
    });
  }

  #tell(): void {
    try {
      this.#options.onWritten?.(this.written);
    } catch (error) {
      if (this.#state === 'ended') this.#state = 'open';
      this.fail(error as Error, true);
    }
  }

  /** At the descriptor's own position, which moves. */
  #writeAll(chunks: Uint8Array[], bytes: number, done: (error: Error | null) => void): void {
    this.calls++;
    writev(this.#fd, chunks, null, (error, written) => {
      if (error) return done(error);
      if (written === 0) return done(new SyscallError(-constants.EIO, 'write'));
      this.written += written;
      if (written === bytes) return done(null);
      let skip = written;
      const rest: Uint8Array[] = [];
      for (const chunk of chunks) {
        if (skip < chunk.length) rest.push(chunk.subarray(skip));
        skip = Math.max(0, skip - chunk.length);
      }
      this.#writeAll(rest, bytes - written, done);
    });
  }

  #drop(): void {
    this.#collected.release();
    this.#collected = new CollectedBody();
  }

  #finish(): void {
    if (this.#writing || this.#state === 'over') return;
    if (this.#state === 'ended' && this.#fd < 0) return; // until it is open
    this.#state = 'over';
    this.#drop();
    this.#options.onEnd(this.#error);
  }

  #leave(): void {
    const { source } = this.#options;
    source.off('data', this.#onData).off('end', this.#onSourceEnd);
    source.off('close', this.#onSourceClose).off('error', this.#onSourceClose);
    this.#unwatch();
  }
}
