/** The two ends of a splice, as callers name them: what the kernel can take, and the plain stream where it cannot. */
import nodeFs, { createReadStream, createWriteStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { IncomingMessage, OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { descriptorOf, type EndKind, libcStatus } from '@zerocopy/core-syscalls';
import {
  addSharedListener,
  hasOnRead,
  invalidArgument,
  isFileHandle,
  isOutgoingMessage,
  isSocket,
  isStandardOutput,
  OwnedDescriptor,
  removeSharedListener,
  type SlotDestination,
  setImmediate,
  socketOver,
  transferError,
} from '@zerocopy/transfer';
import { type DescriptorFacts, factsOf } from './descriptor-kind.js';
import { type KernelDestination, KernelFileDestination, refusalOfDestination } from './destination.js';
import { feature } from './feature.js';
import { FileExtent } from './file-extent.js';
import { lend } from './lent-descriptor.js';
import { countBody, refusalOfMessage, roomIn, slotOfMessage } from './message-destination.js';
import { KernelFileSource, KernelSocketSource, type KernelSource, refusalOfSource } from './source.js';

/** What bytes are spliced from: a net.Socket, an HTTP/1 message that is received, a FileHandle, a descriptor, a Readable. */
export type SpliceSource = Readable | IncomingMessage | FileHandle | number;
/** What bytes are spliced to: a net.Socket, an HTTP/1 message that is sent, a FileHandle, a descriptor, a Writable. */
export type SpliceDestination = Writable | OutgoingMessage | FileHandle | number;

interface End {
  /** Why the kernel cannot take it, or undefined. */
  readonly refused: string | undefined;
  /** What is published of it. */
  readonly kind?: EndKind | undefined;
  /** Set if it is, or has been wrapped into, a socket. */
  readonly socket: Socket | undefined;
  /** Closes what has been made here; never the caller's own. */
  dispose(): void;
}

export interface SourceEnd extends End {
  /** Bytes it is bound to bring: fewer are a failure of its own. */
  readonly promised?: number | undefined;
  /** Of a file, to be called once, and before it is taken: what it has now. */
  extent?(): FileExtent | undefined;
  /** @param onTouched called once, in words how, when other code touches what is taken: it is to be given back. */
  take(onTouched?: (how: string) => void): KernelSource;
  stream(): Readable;
}

export interface DestinationEnd extends End {
  readonly target: Socket | SlotDestination | KernelDestination;
  /** Bytes it has room for: those of a Content-Length. Default: any number. */
  readonly room?: number | undefined;
  /** A regular file: what is copied into it is written by this, too, and not by a stream. */
  readonly file?: KernelDestination | undefined;
  /** The error of a source that brings text. Default: text is written as what it is encoded to. */
  readonly textError?: (() => Error) | undefined;
  /** Counts bytes that have gone to it, by whichever way. */
  moved?(bytes: number): void;
  stream(): Writable;
}

/** A file that its owner holds open until the transfer is over: no duplicate is needed. */
export class HeldFile {
  readonly fd: number;
  readonly textError: () => Error;

  /** @param textError the error of a source that other code has given an encoding: it does not bring what was sent. */
  constructor(fd: number, textError: () => Error) {
    this.fd = fd;
    this.textError = textError;
  }
}

/** Known by a number, of which only a duplicate can be relied upon after this turn. */
export const isDescriptor = (thing: unknown): thing is FileHandle | number =>
  typeof thing === 'number' || isFileHandle(thing);

const ignore = (): void => {};

/**
 * While a promise reports what fails, no stream of `ends` throws for want of an 'error' listener.
 * @returns ends that; but not at once: the event of what has failed may be still to come, and a destroyed stream may
 * have one at any time. Standard output is never destroyed for good, and tells its failure a tick after the call.
 */
export function holdErrors(ends: readonly unknown[]): () => void {
  const streams = ends.filter((end): end is Readable | Writable => typeof (end as Readable | null)?.on === 'function');
  // One of its own for each call: what is shared is told apart by its callback.
  const hold = (): void => {};
  for (const stream of streams) addSharedListener(stream, 'error', hold);
  return () => {
    const failing = streams.filter((stream) => stream.errored || isStandardOutput(stream));
    for (const stream of streams) {
      if (!stream.destroyed && !failing.includes(stream)) removeSharedListener(stream, 'error', hold);
    }
    if (failing.length === 0) return;
    setImmediate(() => {
      for (const stream of failing) if (!stream.destroyed) removeSharedListener(stream, 'error', hold);
    });
  };
}

const typeName = (thing: object): string => thing.constructor?.name || 'stream';

/** Why nothing can be spliced in this process, or undefined. */
export function unavailable(): string | undefined {
  const { available, reason } = feature('splice');
  return available ? undefined : (reason ?? 'splice is not available');
}

/** A duplicate to work on, where one can be made: the caller may close the original meanwhile. */
function duplicate(fd: number): OwnedDescriptor | undefined {
  if (!libcStatus().available) return undefined;
  try {
    return OwnedDescriptor.duplicate(fd);
  } catch (error) {
    throw transferError(error, 0); // EMFILE: nothing has moved yet
  }
}

/** As it is once libuv has it. */
const nonblocking = ({ kind, appending }: DescriptorFacts): DescriptorFacts => ({ kind, nonblocking: true, appending });

const NO_CALLS: DescriptorFacts = { kind: { refused: 'no system calls here' }, nonblocking: false, appending: false };

/** What is published of a descriptor. */
function endKindOf({ kind }: DescriptorFacts): EndKind {
  if (kind === 'stream') return 'socket';
  return typeof kind === 'string' ? kind : 'stream';
}

/** libuv's stream over a duplicate: it brings the waiting. Destroyed in the end, never ended: the connection is shared. */
function wrap(
  own: OwnedDescriptor,
  options: { readable: boolean; writable: boolean },
): { readonly socket: Socket; dispose(): void } {
  const giveBack = lend(own.fd);
  let socket: Socket;
  try {
    socket = socketOver(own, { allowHalfOpen: true, ...options });
  } catch (error) {
    giveBack();
    throw transferError(error, 0); // a kind that libuv does not open
  }
  socket.on('error', ignore); // reported by the transfer
  return {
    socket,
    dispose() {
      giveBack();
      socket.destroy();
    },
  };
}

/** For the `fs` option of Node's file streams, which close their descriptor when destroyed, whatever autoClose says. */
const leavingOpen = { ...nodeFs, close: (_fd: number, done: (error?: Error | null) => void): void => done(null) };

function fileStream<Stream extends Readable | Writable>(
  fd: number,
  own: OwnedDescriptor | undefined,
  create: (options: { fd: number; autoClose: boolean; fs?: typeof nodeFs }) => Stream,
): Stream {
  const stream = create(
    own === undefined
      ? { fd, autoClose: false, fs: leavingOpen as typeof nodeFs }
      : { fd: own.release(), autoClose: true },
  );
  stream.on('error', ignore); // reported by the transfer
  return stream;
}

/** @param length bytes asked for; may be Infinity. */
export function openSource(source: unknown, length: number): SourceEnd {
  if (isDescriptor(source)) return openSourceDescriptor(descriptorOf(source), length);
  if (!(source instanceof Readable)) throw invalidArgument('source', 'a Readable, FileHandle or descriptor', source);
  if (!isSocket(source)) {
    return {
      refused: unavailable() ?? `the source is not a socket but a ${typeName(source)}`,
      socket: undefined,
      kind: 'stream',
      take: () => {
        throw new Error('not a socket');
      },
      stream: () => source,
      dispose: () => {},
    };
  }
  if (hasOnRead(source)) {
    const expected = "a socket without the option 'onread': its callback gets the bytes, and nobody else can have them";
    throw invalidArgument('source', expected, source);
  }
  return {
    refused: unavailable() ?? refusalOfSource(source),
    kind: 'socket',
    socket: source,
    take: () => new KernelSocketSource(source),
    stream: () => source,
    dispose: () => {},
  };
}

function openSourceDescriptor(fd: number | null, length: number): SourceEnd {
  if (fd === null) throw invalidArgument('source', 'an open descriptor', fd);
  const own = duplicate(fd);
  const facts = own === undefined ? NO_CALLS : factsOf(own.fd);
  const { kind } = facts;
  if (own !== undefined && (kind === 'stream' || kind === 'pipe')) {
    const { socket, dispose } = wrap(own, { readable: true, writable: false });
    const refused = unavailable() ?? refusalOfSource(socket, 0, nonblocking(facts));
    // Now: what this stream would have read by the time the transfer begins could never be given back.
    const taken = refused === undefined ? new KernelSocketSource(socket, { facts, resume: () => false }) : undefined;
    return {
      refused,
      kind: endKindOf(facts),
      socket,
      take: () => taken as KernelSocketSource,
      stream() {
        taken?.giveBack(taken.takeHead(), taken.ended); // the other end refuses
        return socket;
      },
      dispose,
    };
  }
  let stream: Readable | undefined;
  let extent: FileExtent | undefined;
  const end = Number.isFinite(length) && length > 0 ? { end: length - 1 } : {};
  return {
    refused: unavailable() ?? (kind === 'file' ? undefined : `of the source: ${(kind as { refused: string }).refused}`),
    kind: endKindOf(facts),
    socket: undefined,
    ...(own !== undefined &&
      kind === 'file' && {
        extent: () => {
          extent = FileExtent.of(own.fd);
          return extent;
        },
      }),
    take: () => new KernelFileSource((own as OwnedDescriptor).moved(), length),
    stream: () => {
      stream ??= fileStream(fd, own, (options) => createReadStream('', { ...options, ...end }));
      return stream;
    },
    dispose() {
      stream?.destroy();
      own?.close();
      extent?.close();
    },
  };
}

export function openDestination(destination: unknown): DestinationEnd {
  if (destination instanceof HeldFile) {
    return { ...openDestinationFile(destination.fd), textError: destination.textError };
  }
  if (isDescriptor(destination)) return openDestinationDescriptor(descriptorOf(destination));
  if (!(destination instanceof Writable || isSocket(destination) || isWritable(destination))) {
    throw invalidArgument('destination', 'a Writable, FileHandle or descriptor', destination);
  }
  if (isOutgoingMessage(destination)) return openMessage(destination);
  const socket = isSocket(destination) ? destination : undefined;
  const refused =
    socket === undefined
      ? `the destination is not a socket but a ${typeName(destination)}`
      : refusalOfDestination(socket);
  return {
    refused: unavailable() ?? refused,
    kind: isStandardOutput(destination) ? 'stdio' : socket === undefined ? 'stream' : 'socket',
    socket,
    target: socket as Socket,
    stream: () => destination,
    dispose: () => {},
  };
}

function openMessage(message: OutgoingMessage): DestinationEnd {
  const refused = unavailable() ?? refusalOfMessage(message);
  return {
    refused,
    kind: 'http',
    socket: undefined,
    target: slotOfMessage(message),
    room: roomIn(message),
    moved: (bytes) => countBody(message, bytes),
    stream: () => message as unknown as Writable,
    dispose: () => {},
  };
}

/** Streams that are no instances of Writable. */
const isWritable = (thing: unknown): thing is Writable =>
  typeof thing === 'object' && thing !== null && typeof (thing as Writable).write === 'function';

function openDestinationDescriptor(fd: number | null): DestinationEnd {
  if (fd === null) throw invalidArgument('destination', 'an open descriptor', fd);
  const own = duplicate(fd);
  const facts = own === undefined ? NO_CALLS : factsOf(own.fd);
  const { kind } = facts;
  if (own !== undefined && (kind === 'stream' || kind === 'pipe')) {
    const { socket, dispose } = wrap(own, { readable: false, writable: true });
    return {
      refused: unavailable() ?? refusalOfDestination(socket, nonblocking(facts)),
      kind: endKindOf(facts),
      socket,
      target: socket,
      stream: () => socket,
      dispose,
    };
  }
  return openDestinationFile(fd, own, facts);
}

/** @param own a duplicate, closed with the end. Default: none, and none is needed or can be had. */
function openDestinationFile(
  fd: number,
  own?: OwnedDescriptor,
  facts: DescriptorFacts = libcStatus().available ? factsOf(fd) : NO_CALLS,
): DestinationEnd {
  const { kind } = facts;
  let stream: Writable | undefined;
  const appending = kind === 'file' && facts.appending;
  const refused = typeof kind === 'object' ? `of the destination: ${kind.refused}` : undefined;
  const target = new KernelFileDestination(own?.fd ?? fd, undefined);
  return {
    refused: unavailable() ?? (appending ? 'the destination is open for appending' : refused),
    kind: endKindOf(facts),
    socket: undefined,
    target,
    file: kind === 'file' ? target : undefined,
    stream: () => {
      stream ??= fileStream(fd, own, (options) => createWriteStream('', options));
      return stream;
    },
    dispose() {
      stream?.destroy();
      own?.close();
    },
  };
}
