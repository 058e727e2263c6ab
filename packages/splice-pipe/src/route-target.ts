/** The destinations of a pipe whose bytes go beneath it, and the slots in which they do. */
import nodeFs, { WriteStream } from 'node:fs';
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import {
  bodyFraming,
  FileSlotRequest,
  type FileWriter,
  type FileWriteSlot,
  isAwaitingSocket,
  isOutgoingMessage,
  isSocket,
  type TransferAbout,
} from '@zerocopy/transfer';
import { factsOf } from './descriptor-kind.js';
import { KernelFileDestination, refusalOfDestination } from './destination.js';
import { countBody, refusalOfMessage, slotOfMessage } from './message-destination.js';
import type { RelayOptions } from './relay.js';

/** An fs.WriteStream, a socket, or an HTTP message that is sent. */
export type RouteDestination = FileWriter | WriteStream | Socket | OutgoingMessage;

/** What becomes of the slot that is asked for. */
export interface RouteSlotHandlers {
  /** It may be written to by a relay, which asks for the slot where that is not ours already. */
  begin(destination: RelayOptions['destination']): void;
  refused(reason: string): void;
  /** The destination is being destroyed. */
  lost(error: Error | null): void;
  /** Other code uses the destination: what it writes must not wait. */
  crowded(reason: string): void;
}

/** A slot of a destination, as far as the route has to do with it. */
export interface RouteSlot {
  /** Asks for it; it may come before this returns. */
  request(): void;
  /** Bytes that the destination has got before. */
  readonly written: number;
  moved(bytes: number): void;
  /** Leaves the queue, as long as the slot has not come. */
  cancel(): void;
  /** Later writes go on. With an error, the destination fails as after a failed write of its own. */
  end(error?: Error | null): void;
}

/** One kind of destination. */
export interface RouteTarget {
  /** Bytes that it has got so far; 0 where its slot does not count them. */
  readonly written: number;
  /** Nothing can be written to it any more. */
  readonly ended: boolean;
  readonly destroyed: boolean;
  readonly about: Pick<TransferAbout, 'destination' | 'detail'>;
  /** Why the kernel cannot write to it now, or undefined. */
  refusal(): string | undefined;
  /** Calls back when it has a connection. @returns false if that is not to be waited for. */
  whenConnected(callback: () => void): boolean;
  ask(handlers: RouteSlotHandlers): RouteSlot;
}

/** @param length of the body that is to come, in bytes; undefined: not known. */
export function targetOf(destination: RouteDestination, length: number | undefined): RouteTarget {
  if (isOutgoingMessage(destination)) return new MessageTarget(destination, length);
  if (isSocket(destination)) return new SocketTarget(destination);
  return new FileTarget(destination as unknown as FileWriter);
}

const CORKED = 'the stream was corked';
const CROWDED = { write: 'the stream was written to', end: 'the stream was ended', cork: CORKED } as const;

// Node's own, as they are when this module is loaded.
const FileStream = WriteStream;
const { _write: fileWrite } = FileStream.prototype;
/** Whether `thing` is an fs.WriteStream, of whatever class. */
export const isFileWriter = (thing: unknown): thing is FileWriter => thing instanceof FileStream;
const ownsFs = (stream: FileWriter): boolean => {
  const symbol = Object.getOwnPropertySymbols(stream).find(({ description }) => description === 'kFs');
  return symbol === undefined || (stream as unknown as Record<symbol, unknown>)[symbol] !== nodeFs;
};

/** Why nothing can be spliced into `stream`, an fs.WriteStream of other code, or undefined. */
export function refusalOfWriter(stream: WriteStream): string | undefined {
  if (stream._write !== fileWrite) return "the destination's write methods have been replaced";
  if (ownsFs(stream as unknown as FileWriter)) return 'the option fs is set';
  return undefined;
}

class FileTarget implements RouteTarget {
  readonly #writer: FileWriter;

  constructor(writer: FileWriter) {
    this.#writer = writer;
  }

  get ended(): boolean {
    return this.#writer.writableEnded || this.#writer.destroyed;
  }

  get destroyed(): boolean {
    return this.#writer.destroyed;
  }

  get written(): number {
    return this.#writer.bytesWritten;
  }

  get about(): RouteTarget['about'] {
    return { destination: 'file', detail: { destination: this.#writer.path } };
  }

  refusal(): string | undefined {
    return this.#writer.writableCorked > 0 ? CORKED : undefined;
  }

  whenConnected(): boolean {
    return false;
  }

  ask(handlers: RouteSlotHandlers): RouteSlot {
    return new FileRouteSlot(this.#writer, handlers);
  }
}

class FileRouteSlot implements RouteSlot {
  readonly #writer: FileWriter;
  readonly #handlers: RouteSlotHandlers;
  #request: FileSlotRequest | undefined;
  #held: FileWriteSlot | undefined;

  constructor(writer: FileWriter, handlers: RouteSlotHandlers) {
    this.#writer = writer;
    this.#handlers = handlers;
  }

  request(): void {
    this.#request = new FileSlotRequest(this.#writer, {
      begin: (slot) => this.#begin(slot),
      refused: (reason) => this.#handlers.refused(reason),
      lost: (error) => this.#handlers.lost(error),
      crowded: (how) => this.#handlers.crowded(CROWDED[how]),
    });
  }

  get written(): number {
    return this.#writer.bytesWritten;
  }

  moved(bytes: number): void {
    this.#held?.moved(bytes);
  }

  cancel(): void {
    this.#request?.cancel();
    this.end();
  }

  end(error?: Error | null): void {
    this.#held?.end(error);
  }

  #begin(slot: FileWriteSlot): void {
    this.#held = slot;
    const { kind, appending } = factsOf(slot.fd);
    const refused = kind !== 'file' ? 'it is not a regular file' : 'the file is open for appending';
    if (kind === 'file' && !appending) this.#handlers.begin(new KernelFileDestination(slot.fd, slot.position));
    else {
      this.#handlers.refused(refused);
      slot.end();
    }
  }
}

/** A socket's slot is asked for, and ended, by the relay. */
class RelayedSlot implements RouteSlot {
  readonly written = 0;
  readonly #begin: () => void;
  readonly #count: ((bytes: number) => void) | undefined;

  constructor(begin: () => void, count?: (bytes: number) => void) {
    this.#begin = begin;
    this.#count = count;
  }

  request(): void {
    this.#begin();
  }

  moved(bytes: number): void {
    this.#count?.(bytes);
  }

  cancel(): void {}

  end(): void {}
}

class SocketTarget implements RouteTarget {
  readonly about = { destination: 'socket' } as const;
  readonly written = 0;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get ended(): boolean {
    return this.#socket.writableEnded || this.#socket.destroyed;
  }

  get destroyed(): boolean {
    return this.#socket.destroyed;
  }

  refusal(): string | undefined {
    if (this.#socket.writableCorked > 0) return CORKED;
    return this.#socket.connecting ? undefined : refusalOfDestination(this.#socket);
  }

  whenConnected(callback: () => void): boolean {
    if (this.#socket.connecting) this.#socket.once('connect', callback);
    return this.#socket.connecting;
  }

  ask(handlers: RouteSlotHandlers): RouteSlot {
    return new RelayedSlot(() => handlers.begin(this.#socket));
  }
}

class MessageTarget implements RouteTarget {
  readonly about = { destination: 'http' } as const;
  readonly written = 0;
  readonly #message: OutgoingMessage;
  readonly #length: number | undefined;

  constructor(message: OutgoingMessage, length: number | undefined) {
    this.#message = message;
    this.#length = length;
  }

  get ended(): boolean {
    return this.#message.writableEnded || this.#message.destroyed;
  }

  get destroyed(): boolean {
    return this.#message.destroyed;
  }

  refusal(): string | undefined {
    if (this.#message.writableCorked > 0) return CORKED;
    if (this.#isConnecting) return undefined;
    const framing = bodyFraming(this.#message);
    // Of a socket nobody knows how much it brings; and what is more than announced, Node would send all the same.
    if (framing.kind === 'length' && framing.bytes !== this.#length) {
      return 'the HTTP message has another Content-Length than what is piped into it';
    }
    return refusalOfMessage(this.#message);
  }

  whenConnected(callback: () => void): boolean {
    if (isAwaitingSocket(this.#message)) this.#message.once('socket', () => this.whenConnected(callback) || callback());
    else if (this.#isConnecting) this.#message.socket?.once('connect', callback);
    else return false;
    return true;
  }

  ask(handlers: RouteSlotHandlers): RouteSlot {
    const message = this.#message;
    return new RelayedSlot(
      () => handlers.begin(slotOfMessage(message)),
      (bytes) => countBody(message, bytes),
    );
  }

  get #isConnecting(): boolean {
    return isAwaitingSocket(this.#message) || this.#message.socket?.connecting === true;
  }
}
