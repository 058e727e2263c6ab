/**
 * The route of what is piped into a file: beneath Node's pipe, from a socket or the body of an HTTP message, spliced.
 *
 *   preparing ──parsed, taken──► queued ──all earlier writes done──► moving ──► over
 *       └───────────────leave──────┴───────────────leave──────────────┴───────► over    the source is given back, and
 *                                                      Node's pipe goes on from the byte that has been reached
 *
 * What holds the source is not its unanswered `_read`, as in PipeRoute, but that it has been taken: bytes come to a
 * socket whether it is asked for them or not. It works on any fs.WriteStream.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { SyscallError } from '@zerocopy/core-syscalls';
import {
  closedEarly,
  FileSlotRequest,
  type FileWriter,
  type FileWriteSlot,
  isSocket,
  type MethodRecord,
  nextTick,
  otherReader,
  PipeWatch,
} from '@zerocopy/transfer';
import { isAppending, kindOf } from './descriptor-kind.js';
import { FileDestination } from './destination.js';
import { Relay, type RelayOutcome } from './relay.js';
import { HeldRequest } from './request-body.js';
import { type KernelSource, refusalOfSource, SocketSource } from './source.js';

/** A source that is to be taken, and is Node's until then. */
interface Held {
  /** Calls back in a later turn, or tick: what is under way now comes first. */
  whenParsed(callback: () => void): void;
  refusal(): string | undefined;
  take(onTouched: (how: string) => void): KernelSource & { readonly remaining?: number };
  release(): void;
}

class HeldSocket implements Held {
  readonly #socket: Socket;
  readonly #destination: FileWriter;

  constructor(socket: Socket, destination: FileWriter) {
    this.#socket = socket;
    this.#destination = destination;
  }

  whenParsed(callback: () => void): void {
    nextTick(callback);
  }

  refusal(): string | undefined {
    if (this.#socket.readableFlowing !== true) return 'the source was paused';
    return refusalOfSource(this.#socket, 1) ?? otherReader(this.#socket, this.#destination);
  }

  /** Who touches it is seen by the watch on its pipe. */
  take(): KernelSource {
    // What Node had read already reaches the pipe's listener in here, and is written in the ordinary way.
    const source = new SocketSource(this.#socket, { resume: () => this.#socket.readableFlowing !== false });
    this.#socket.resume(); // it has been paused to be taken
    return source;
  }

  release(): void {}
}

export interface UploadRouteOptions {
  readonly record: MethodRecord;
  /** After every pause: bytes of the stream in all, and in the end, if that is known. */
  readonly onProgress?: ((bytes: number, total?: number) => void) | undefined;
}

const EMPTY = Buffer.alloc(0);
const CROWDED = {
  write: 'the stream was written to',
  end: 'the stream was ended',
  cork: 'the stream was corked',
} as const;

export class UploadRoute {
  readonly source: Readable;
  readonly #writer: FileWriter;
  readonly #options: UploadRouteOptions;
  readonly #held: Held;
  readonly #watch: PipeWatch;
  #state: 'preparing' | 'queued' | 'moving' | 'over' = 'preparing';
  #taken: ReturnType<Held['take']> | undefined;
  #slot: FileSlotRequest | undefined;
  #relay: Relay | undefined;
  #leaving = false;

  /** To be made when `source` has been piped into `writer`, and its pipe has one 'data' listener. */
  constructor(source: Socket | IncomingMessage, writer: FileWriter, options: UploadRouteOptions) {
    this.source = source;
    this.#writer = writer;
    this.#options = options;
    this.#held = isSocket(source) ? new HeldSocket(source, writer) : new HeldRequest(source);
    this.#watch = new PipeWatch(source, writer, (reason) => this.leave(reason));
    this.#held.whenParsed(() => this.#prepare());
    if (!isSocket(source)) this.#watch.begin();
  }

  /** Not over: what Node's pipe brings is not all there is. */
  get underWay(): boolean {
    return this.#state !== 'over';
  }

  /** Node's own pipe goes on, or is about to. */
  get left(): boolean {
    return this.#leaving;
  }

  /** Goes on as an ordinary pipe, from the byte that has been reached. Idempotent. */
  leave(reason?: string): void {
    if (this.#state === 'over' || this.#leaving) return;
    this.#leaving = true;
    const { destroyed, writableEnded } = this.#writer;
    if (reason !== undefined && !destroyed && !writableEnded) this.#options.record.fallBack(reason);
    if (this.#state === 'moving') this.#relay?.stop(null, reason ?? 'the pipe was left');
    else this.#giveUp();
  }

  #prepare(): void {
    if (this.#state === 'over') return;
    if (this.#writer.writableEnded || this.#writer.destroyed) return this.leave();
    const refused = this.#writer.writableCorked > 0 ? CROWDED.cork : this.#held.refusal();
    if (refused !== undefined) return this.leave(refused);
    this.#state = 'queued';
    this.#taken = this.#held.take((how) => this.leave(`the connection was given back: ${how}`));
    this.#watch.begin();
    if (this.#leaving || this.#writer.writableEnded || this.#writer.destroyed) return this.#giveUp();
    let begun: FileWriteSlot | undefined;
    const slot = new FileSlotRequest(this.#writer, {
      begin: (held) => {
        begun = held;
        if (this.#slot !== undefined) this.#begin(held);
      },
      refused: (reason) => this.leave(reason),
      lost: (error) => this.#onWriterDestroyed(error),
      crowded: (how) => this.leave(CROWDED[how]),
    });
    this.#slot = slot;
    if (begun !== undefined) this.#begin(begun);
  }

  #begin(slot: FileWriteSlot): void {
    const refused = this.#leaving ? undefined : refusalOfFile(slot.fd);
    if (this.#leaving || refused !== undefined) {
      this.leave(refused);
      slot.end();
      return;
    }
    const taken = this.#taken as ReturnType<Held['take']>;
    const before = this.#writer.bytesWritten;
    const { onProgress } = this.#options;
    let seen = 0;
    this.#state = 'moving';
    const relay = new Relay({
      source: () => taken,
      destination: new FileDestination(slot.fd, slot.position),
      socket: isSocket(this.source) ? this.source : (this.source as IncomingMessage).socket,
      eager: true,
      length: taken.remaining ?? Number.POSITIVE_INFINITY,
      promised: taken.remaining,
      endedEarly: (bytes) => closedEarly('source', bytes),
      about: {
        source: isSocket(this.source) ? 'socket' : 'http',
        destination: 'file',
        detail: { destination: this.#writer.path },
      },
      onMoved: (bytes) => slot.moved(bytes),
      onProgress: (bytes, total) => {
        if (bytes > seen) onProgress?.(before + bytes, total && before + total);
        seen = bytes;
      },
      onEnd: (outcome) => this.#onEnd(relay, slot, outcome),
    });
    this.#relay = relay;
    relay.start();
  }

  /** Before anything moves: the source is Node's again. */
  #giveUp(): void {
    if (this.#state === 'over') return;
    this.#over();
    this.#slot?.cancel();
    if (this.#taken === undefined) this.#held.release();
    else this.#taken.giveBack(EMPTY, this.#taken.ended);
  }

  #onWriterDestroyed(error: Error | null): void {
    if (this.#state !== 'moving') return this.#giveUp();
    this.#leaving = true;
    this.#relay?.lost(error, 'destination');
  }

  #onEnd(relay: Relay, slot: FileWriteSlot, { error, result, failed }: RelayOutcome): void {
    const { record } = this.#options;
    const { source } = this;
    this.#over();
    if (record.method === undefined || (result.bytes > 0 && !this.#leaving)) {
      record.goes(result.method, result.fallbackReason);
    }
    const cause = error === null ? null : asWriteError(error.cause instanceof Error ? error.cause : error);
    if (failed === 'source' && !source.destroyed && !this.#writer.destroyed) source.destroy(cause ?? undefined);
    // Before the source: what that is given back would flow into the file, behind the failure and uncounted.
    slot.end(failed === 'source' || this.#writer.destroyed ? null : cause);
    relay.release();
  }

  #over(): void {
    this.#state = 'over';
    this.#watch.end();
  }
}

/** Why the kernel cannot splice into the file. */
function refusalOfFile(fd: number): string | undefined {
  if (isAppending(fd)) return 'the file is open for appending';
  return kindOf(fd) === 'file' ? undefined : 'it is not a regular file';
}

/** A splice that failed at the file is to its user a write that failed. */
function asWriteError(error: Error): Error {
  return error instanceof SyscallError ? new SyscallError(error.errno, 'write') : error;
}
