/**
 * The one file that touches what Node does not document: a socket's handle, and what an outgoing HTTP message
 * has decided about its body. Everything is read defensively: a member that is not there means "no fast path".
 */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { isEncrypted, nodeHttp } from '@zerocopy/core-syscalls/descriptors';
import { replacedMethod } from './node-originals.js';

interface Handle {
  reading?: boolean;
  readStop?(): number;
  hasRef?(): boolean;
  readonly writeQueueSize?: number;
}

interface SocketInternals {
  readonly _handle?: Handle | null;
  readonly _paused?: boolean;
  readonly _readableState?: { readonly ended?: boolean; readonly resumeScheduled?: boolean };
  readonly _writableState?: { readonly writing?: boolean; readonly writelen?: number };
  /** Of node:http; its callbacks are under numbers. */
  readonly parser?: (Record<number, ((...args: never[]) => unknown) | null> & { readonly _consumed?: boolean }) | null;
}

interface MessageInternals {
  readonly _contentLength?: number | null;
  readonly _header?: string | null;
  readonly _headerSent?: boolean;
  readonly _hasBody?: boolean;
  readonly chunkedEncoding?: boolean;
  readonly strictContentLength?: boolean;
}

const handleOf = (socket: Socket): Handle | null => (socket as unknown as SocketInternals)._handle ?? null;

/** Stops libuv's read loop on this socket, synchronously: after it no byte arrives in user space. */
export function stopReading(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle === null || handle.readStop === undefined || handle.reading === false) return;
  handle.reading = false;
  handle.readStop();
}

/**
 * Starts libuv's read loop on a socket that flows, where that has been forgotten: node:http stops the loop of a connection
 * whose body is not read at once, and does not start it again if a 'data' listener has been added to it meanwhile.
 */
export function startReading(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle === null || handle.reading === true || socket.destroyed || socket.readableEnded) return;
  if (socket.readableFlowing === true) (socket as unknown as { _read(size: number): void })._read(0);
}

/** Whether libuv reads this socket into user space right now. */
export function isReading(socket: Socket): boolean {
  return handleOf(socket)?.reading === true;
}

/** Whether resume() has been called, and its event is still to come. */
export function isResuming(socket: Socket): boolean {
  return (socket as unknown as SocketInternals)._readableState?.resumeScheduled === true;
}

/**
 * Whether Node's HTTP server reads this connection by its parser, below the stream: it starts and stops that reading at the
 * events 'resume' and 'pause'.
 */
export function isConsumedByParser(socket: Socket): boolean {
  return (socket as unknown as SocketInternals).parser?._consumed === true;
}

/**
 * The listener by which Node's HTTP server or client feeds the parser of `socket`, where it is the only one that hears what
 * the connection brings.
 */
export function soleParserListener(socket: Socket): ((bytes: Buffer) => void) | undefined {
  const [listener, ...others] = socket.listeners('data');
  const isNodes = (socket as unknown as SocketInternals).parser && listener?.name.endsWith('socketOnData');
  return isNodes && others.length === 0 ? (listener as (bytes: Buffer) => void) : undefined;
}

let onReadCallback: symbol | undefined;

/**
 * Whether what the socket brings goes to a callback of its own (the option `onread` of net.Socket and net.connect), and
 * never through the stream. The callback is kept under a symbol that every net.Socket has from its birth.
 */
export function hasOnRead(socket: Socket): boolean {
  onReadCallback ??= Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'kBufferCb');
  if (onReadCallback === undefined) return false;
  return typeof (socket as unknown as Record<symbol, unknown>)[onReadCallback] === 'function';
}

/** Whether it is the standard output or error of this process, which no pipe and no transfer ends or destroys. */
export function isStandardOutput(stream: unknown): boolean {
  // Not by comparison with process.stdout: that would open it where nobody has asked for it.
  return (stream as { _isStdio?: unknown } | null | undefined)?._isStdio === true;
}

/** Whether all that has been written to the socket is with the kernel: neither Node nor libuv holds any of it. */
export function isDrained(socket: Socket): boolean {
  if (socket.destroyed || socket.connecting || socket.writableLength > 0 || socket.writableCorked > 0) return false;
  const { _handle: handle, _writableState: state } = socket as unknown as SocketInternals;
  return state?.writing === false && handle?.writeQueueSize === 0;
}

/**
 * Writes the head of a message, if that is still to be done, and tells whether all of the message that has been written
 * is with its socket, and more of its body may follow. Runs foreign code: methods that others replace are called.
 */
export function flushHead(message: OutgoingMessage, socket: Socket): boolean {
  if (message.socket !== socket || message.writableCorked > 0 || message.writableEnded) return false;
  const internals = message as unknown as MessageInternals;
  if (internals._hasBody === false) return false;
  if (internals._headerSent !== true) message.flushHeaders();
  return internals._hasBody === true && message.socket === socket && message.writableLength === 0;
}

/** Whether it keeps the event loop alive while it is read: not after unref(). */
export function isReferenced(socket: Socket): boolean {
  return handleOf(socket)?.hasRef?.() !== false;
}

/** Whether Node's HTTP server has stopped reading requests, because responses pile up; it must be given no data then. */
export function isPausedByHttp(socket: Socket): boolean {
  return (socket as unknown as SocketInternals)._paused === true;
}

/** The index of the callback for a piece of a body in Node's HTTP parser: HTTPParser.kOnBody, the same from Node 18 to 26. */
const ON_BODY = 3;

/**
 * Calls `feed`, which gives the connection's HTTP parser bytes of a body that nobody wants: the parser counts them, and
 * does not copy each piece into a Buffer for a listener first, as it does where there is one (node_http_parser.cc).
 * Where the parser does not look as expected, it copies, and whoever listens has to drop what comes.
 */
export function withoutBodyListener(socket: Socket, feed: () => void): void {
  const { parser } = socket as unknown as SocketInternals;
  const listener = parser?.[ON_BODY];
  if (parser === undefined || parser === null || listener?.name !== 'parserOnBody') {
    feed();
    return;
  }
  parser[ON_BODY] = null;
  try {
    feed();
  } finally {
    parser[ON_BODY] = listener;
  }
}

/** Whether Node has read the end of the stream, even if nobody has been told by 'end' yet. */
export function hasSeenEnd(socket: Socket): boolean {
  return socket.readableEnded || (socket as unknown as SocketInternals)._readableState?.ended === true;
}

/** Whether this is a client's request that has still to get its connection from an agent. */
export function isAwaitingSocket(message: OutgoingMessage): boolean {
  return message instanceof nodeHttp().ClientRequest && message.socket === null && !message.destroyed;
}

/**
 * Whether `stream.pipeline` will end the destination right after `source`: it pipes with `end: false` and listens for
 * 'end' itself, by a function of this name (Node 20 to 26). Unrecognised, it is a pipe whose owner may write more.
 */
export function isEndedByPipeline(source: Readable): boolean {
  return source.listeners('end').some(({ name }) => name === 'endFn');
}

/** How the body of an outgoing HTTP message is delimited, as far as that is decided. */
export type BodyFraming =
  | { readonly kind: 'undecided' }
  | { readonly kind: 'none' }
  | {
      readonly kind: 'length';
      /** What Content-Length says: of the body, without the head. */
      readonly bytes: number;
    }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' };

/** How the message's body is delimited now: 'undecided' until the head is sent, unless a Content-Length has been set. */
export function bodyFraming(message: OutgoingMessage): BodyFraming {
  const internals = message as unknown as MessageInternals;
  if (internals._hasBody === false) return { kind: 'none' };
  const announced = message.headersSent ? internals._contentLength : message.getHeader('content-length');
  const bytes = announced === undefined || announced === null ? Number.NaN : Number(announced);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return { kind: 'length', bytes };
  if (!message.headersSent) return { kind: 'undecided' };
  return internals.chunkedEncoding === true ? { kind: 'chunked' } : { kind: 'until-close' };
}

/** What the bytes of a body pass through on their way to the socket. `end` is called on any path, whoever has replaced it. */
const MESSAGE_METHODS = ['write', '_send', '_writeRaw'] as const;

/** Whether code that is not Node's stands between the message and its socket (compression middleware, a tracer). */
export function isWritePatched(message: OutgoingMessage): boolean {
  return replacedMethod(message, MESSAGE_METHODS) !== undefined;
}

/** Whether Node itself would count the bytes written and refuse a mismatch. */
export function countsItsBody(message: OutgoingMessage): boolean {
  return (message as unknown as MessageInternals).strictContentLength === true;
}

/** The destinations that `source` is piped into; undefined where Node does not tell: then there is no fast path. */
export function pipesOf(source: Readable): readonly NodeJS.WritableStream[] | undefined {
  const pipes = (source as unknown as { _readableState?: { pipes?: unknown } })._readableState?.pipes;
  return Array.isArray(pipes) ? pipes : undefined;
}

/**
 * Bytes that libuv holds of a write of `size` that is under way: what the kernel has not taken. All of it, if it cannot be told:
 * of an encrypted connection it is other bytes that are held.
 */
export function heldBytes(socket: Socket, size: number): number {
  return isEncrypted(socket) ? size : (handleOf(socket)?.writeQueueSize ?? size);
}

/**
 * Whether the connection is encrypted by Node itself: what is written to it has been encrypted, or copied, by the time that the
 * write's callback comes, and nobody else has seen it (TLSWrap::DoWrite, crypto_tls.cc of Node 20 to 26).
 */
export function isEncryptedByNode(socket: Socket): boolean {
  return isEncrypted(socket) && handleOf(socket)?.constructor?.name === 'TLSWrap';
}

/** Bytes written to `socket` that the kernel has not taken: of a write that is under way also less than all of it. */
export function unsentBytes(socket: Socket): number {
  const { writing, writelen = 0 } = (socket as unknown as SocketInternals)._writableState ?? {};
  if (writing !== true) return socket.writableLength;
  return socket.writableLength - Math.max(0, writelen - heldBytes(socket, writelen));
}
