/**
 * The body of an HTTP/1 message that is received, with a Content-Length, read below Node's parser: of a request to a
 * server, or of a response to a client.
 *
 * The parser has seen the header, and perhaps some of the body; it goes on waiting for the rest, which is spliced. As
 * that arrives, the parser, and nothing else, is fed as many zeros, and what it makes of them is dropped. So it counts to
 * the body's end by itself: 'end', `complete`, keep-alive and the next, pipelined request are Node's own.
 *
 *   parsing ──► held (the parser ends its chunk) ──► ours ──► parsing
 *
 * Whatever else touches the connection meanwhile gets it back at the byte that has been reached.
 */
import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import {
  failureOf,
  isConsumedByParser,
  isEncrypted,
  isPausedByHttp,
  isSocket,
  setImmediate,
  socketDescriptor,
  soleParserListener,
  startReading,
  withoutBodyListener,
} from '@zerocopy/transfer';
import { isNonblocking, kindOf } from './descriptor-kind.js';
import { type SourceEnd, unavailable } from './endpoint.js';
import { NO_BYTES } from './head.js';
import type { ReadableCallback } from './read-watcher.js';
import { KernelSocketSource, type KernelSource, keepUnread } from './source.js';

/** A parser that copies what it is given does best with pieces that stay in the processor's cache. */
const PIECE = 64 * 1024;
const ZEROS = Buffer.alloc(PIECE);
const { MSG_DONTWAIT } = constants;

interface RequestInternals {
  /** False: once the response is finished, Node throws the body away. */
  _consuming: boolean;
  _read(size: number): void;
  push(chunk: unknown, encoding?: BufferEncoding): boolean;
}

/** Whether it is the readable side of an HTTP/1 message: a request of a server, or a response of a client. */
export const isRequest = (thing: unknown): thing is IncomingMessage =>
  thing instanceof Readable && 'httpVersionMajor' in thing;

/** In bytes; NaN where the header does not say; 0 of a message that has no body, whatever its header says. */
export function contentLength(request: IncomingMessage): number {
  if (hasNoBody(request)) return 0;
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  return length === undefined || encoding !== undefined ? Number.NaN : Number(length);
}

/** A response to a HEAD request, and one that says so by its status, has no body, whatever its Content-Length says. */
function hasNoBody({ statusCode, req }: IncomingMessage & { req?: { method?: string } }): boolean {
  return statusCode === 204 || statusCode === 304 || (statusCode !== null && req?.method === 'HEAD');
}

const OTHER_READER = 'somebody else reads the connection';
const isReadByOthers = (socket: Socket): boolean => soleParserListener(socket) === undefined || isPausedByHttp(socket);

/**
 * Whether Node has thrown the body away, or does so as it comes, because the answer was complete before anything read it.
 * Its end says nothing then: what is read of it now cannot be told from a whole body.
 */
export function isThrownAway(message: IncomingMessage & { readonly _dumped?: boolean }): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = message.headers;
  return message._dumped === true && !hasNoBody(message) && (encoding !== undefined || Number(length) > 0);
}

/**
 * Why the body is not to be read below the parser, or undefined; `dataListeners` as for a socket.
 * @param smallMax bytes up to which a body is too small for that.
 */
export function refusalOfRequest(request: IncomingMessage, dataListeners = 0, smallMax = -1): string | undefined {
  const reason = unavailable();
  if (reason !== undefined) return reason;
  const { socket } = request;
  if (request.httpVersionMajor !== 1 || !isSocket(socket)) return 'the request is not HTTP/1 on a socket';
  if (isEncrypted(socket)) return 'the source is encrypted (TLS)';
  if (hasNoBody(request)) return 'the message has no body';
  if (!Number.isSafeInteger(contentLength(request))) return 'the request has no Content-Length (a chunked body)';
  if (request.destroyed || socket.destroyed) return 'the request is destroyed';
  if (isThrownAway(request)) return 'Node has thrown the body away';
  if (
    (request.readableFlowing === true && dataListeners === 0) ||
    request.readableDidRead ||
    request.readableEncoding !== null
  )
    return 'the request is being read already';
  if (request.listenerCount('data') > dataListeners || request.listenerCount('readable') > 0) {
    return "the request has a 'data' or 'readable' listener";
  }
  if (Object.hasOwn(request, '_read') || Object.hasOwn(request, 'push')) return "the request's methods were replaced";
  if (request.complete) return 'the whole body is in user space already';
  if (Object.hasOwn(socket, '_read')) return "the connection's _read has been replaced";
  if (contentLength(request) <= smallMax) return 'the body is small, and copying it costs less';
  // From here on, to ask takes system calls.
  const fd = socketDescriptor(socket);
  if (fd < 0 || kindOf(fd) !== 'stream' || !isNonblocking(fd)) return 'the connection has no plain descriptor';
  // Node's own listener feeds the parser. What others listen for, they are to have.
  return isReadByOthers(socket) ? OTHER_READER : undefined;
}

/** As its own _read would: an early answer must not make Node throw away what we are to have. */
export function claimBody(request: IncomingMessage): void {
  (request as IncomingMessage & RequestInternals)._consuming = true;
}

/** Has Node read the connection for `request`, which may believe that a read is under way. */
function readOn(request: IncomingMessage): void {
  if (request.destroyed) return; // it has no socket any more that it could ask
  request._read(0);
  if (!isConsumedByParser(request.socket)) startReading(request.socket);
}

/** Keeps Node from reading on by itself until the parser is through with the chunk that held the header. */
export class HeldRequest {
  readonly #request: IncomingMessage & RequestInternals;
  /** The async context of the caller. */
  readonly context: AsyncResource = new AsyncResource('ZEROCOPY_BODY');
  #seen = 0;
  readonly #count = (chunk: Buffer): void => {
    this.#seen += chunk.length;
  };

  constructor(request: IncomingMessage) {
    this.#request = request as IncomingMessage & RequestInternals;
    this.#request._read = () => {};
    claimBody(request);
    // Piped, it flows on its own; what has passed must be known.
    if (request.listenerCount('data') > 0) request.on('data', this.#count);
  }

  /** Calls back in a later turn. */
  whenParsed(callback: () => void): void {
    setImmediate(callback);
  }

  /** Why it cannot be taken over after all, or undefined. */
  refusal(): string | undefined {
    if (this.#request.complete) return 'the whole body is in user space already';
    const { socket } = this.#request;
    if (this.#request.destroyed || socket.destroyed) return 'the request is destroyed';
    if (isThrownAway(this.#request)) return 'Node has thrown the body away';
    return isReadByOthers(socket) ? OTHER_READER : undefined;
  }

  /** Node reads it as before. @param ask whether its connection is resumed, if need be. */
  release(ask = true): void {
    this.#request.off('data', this.#count);
    if (!Reflect.deleteProperty(this.#request, '_read')) return;
    if (ask) readOn(this.#request);
  }

  /** Ends the counting. @returns bytes of the body that a 'data' listener has been given. */
  observed(): number {
    this.#request.off('data', this.#count);
    return this.#seen;
  }

  /** @param onTouched called once, in words how, when other code touches the connection: it is to be given back. */
  take(onTouched: (how: string) => void): RequestSource {
    return new RequestSource(this.#request, this, onTouched);
  }
}

export class RequestSource implements KernelSource {
  readonly ended = false;
  readonly mayBlock = false;
  readonly isPipe = false;
  readonly certain = 0;
  #head: Buffer;
  /** Bytes of the body that the parser has not seen. */
  readonly remaining: number;
  readonly #request: IncomingMessage & RequestInternals;
  readonly #socket: Socket;
  readonly #connection: KernelSocketSource;
  readonly #release: (ask: boolean) => void;
  #unparsed: number;
  #fromHead: number;
  #dropping = true;
  /** Read below the parser, and not delivered yet. */
  #outstanding = 0;
  #given = false;
  readonly #context: AsyncResource;
  /** Node's own 'data' listener of the connection: it feeds the parser. */
  readonly #feedParser: (bytes: Buffer) => void;

  /**
   * @param held what kept the request from being read: it tells what a 'data' listener has been given, the bytes read here
   * included, and lets Node read again.
   */
  constructor(request: IncomingMessage & RequestInternals, held: HeldRequest, onTouched: (how: string) => void) {
    this.#context = held.context;
    this.#request = request;
    this.#socket = request.socket;
    this.#release = (ask) => held.release(ask);
    this.#feedParser = soleParserListener(request.socket) as (bytes: Buffer) => void;
    this.#connection = new KernelSocketSource(request.socket, { onTouched });
    // The parser has paused it where what it had brought was not read at once. Read, it would have been resumed by now.
    (request.socket as { readableFlowing: boolean | null }).readableFlowing = true;
    const listened = request.listenerCount('data') > 0;
    const chunks: Buffer[] = [];
    for (let chunk = request.read() as Buffer | null; chunk !== null; chunk = request.read() as Buffer | null) {
      if (!listened) chunks.push(chunk);
    }
    this.#head = Buffer.concat(chunks);
    this.#fromHead = this.#head.length;
    this.remaining = contentLength(request) - this.#fromHead - held.observed();
    this.#unparsed = this.remaining;
    const { push } = request;
    request.push = (chunk, encoding) => {
      // Otherwise its end would be told in the async context of the parser, or of the thread pool.
      if (chunk === null) return this.#context.runInAsyncScope(push, request, null) as boolean;
      return this.#dropping ? true : push.call(request, chunk, encoding);
    };
  }

  takeHead(): Buffer {
    const head = this.#head;
    this.#head = NO_BYTES;
    return head;
  }

  descriptor(): number {
    return this.#connection.descriptor();
  }

  get errored(): Error | null {
    return failureOf(this.#socket);
  }

  onReadable(size: number, callback: ReadableCallback): void {
    this.#connection.onReadable(size, callback);
  }

  took(bytes: number): void {
    this.#connection.took(bytes);
    this.#outstanding += bytes;
  }

  delivered(bytes: number): void {
    if (this.#given) return; // accounted for already
    const fromHead = Math.min(bytes, this.#fromHead);
    this.#fromHead -= fromHead;
    this.#outstanding -= bytes - fromHead;
    this.#feedZeros(bytes - fromHead);
  }

  #feedZeros(bytes: number): void {
    let zeros = Math.min(bytes, this.#unparsed);
    this.#unparsed -= zeros;
    if (zeros === 0) return;
    // More than was promised: the parser is to see it right behind the body, as it would without us, and to refuse it.
    const extra = this.#unparsed === 0 && this.#request.statusCode !== null ? this.#readExtra() : undefined;
    withoutBodyListener(this.#socket, () => {
      for (; zeros > 0; zeros -= ZEROS.length) {
        const part = zeros >= ZEROS.length ? ZEROS : ZEROS.subarray(0, zeros);
        const isLast = zeros <= ZEROS.length;
        this.#parse(isLast && extra !== undefined ? Buffer.concat([part, extra]) : part);
      }
    });
  }

  /** What a server has sent behind the body of its response, where no bytes may come before the next request. */
  #readExtra(): Buffer | undefined {
    const fd = this.#connection.descriptor();
    if (fd < 0) return undefined;
    const buffer = Buffer.alloc(PIECE);
    const bytes = uninterrupted(() => syscalls.recv(fd, buffer, buffer.length, MSG_DONTWAIT));
    return bytes > 0 ? buffer.subarray(0, bytes) : undefined;
  }

  giveBack(unread: Buffer, _ended?: boolean, missing = 0): void {
    const own = unread.subarray(0, Math.min(unread.length, this.#fromHead));
    const paused = this.#socket.readableFlowing === false; // by other code: it resumes the connection, too
    // What the destination's stream has taken, and will deliver, was stopped without a word about it.
    this.#feedZeros(this.#outstanding - (unread.length - own.length));
    this.#given = true;
    this.#dropping = false;
    if (own.length > 0) this.#request.unshift(own);
    // Real bytes: others who listen by now are to have them, too.
    if (unread.length > own.length && !this.#socket.destroyed) this.#socket.emit('data', unread.subarray(own.length));
    Reflect.deleteProperty(this.#request, 'push');
    this.#connection.giveBack(Buffer.alloc(0), false, missing);
    this.#release(!paused);
    if (this.#unparsed === 0 && unread.length === 0) this.#request.resume(); // only 'end' is left
  }

  /** Not by an event: what is made up is for the parser only. */
  #parse(bytes: Buffer): void {
    if (!this.#socket.destroyed) Reflect.apply(this.#feedParser, this.#socket, [bytes]);
  }
}

/** The request as one end of `splice`. */
export async function openRequest(request: IncomingMessage, length: number): Promise<SourceEnd> {
  let refused = refusalOfRequest(request);
  if (length < contentLength(request)) refused ??= 'only a part of the body is asked for';
  let held = refused === undefined ? new HeldRequest(request) : undefined;
  const flowAgain = held === undefined ? () => {} : keepUnread(request);
  if (held !== undefined) {
    await new Promise<void>((resolve) => held?.whenParsed(resolve));
    refused = held.refusal();
  }
  const release = (): void => {
    flowAgain();
    held?.release();
    held = undefined;
  };
  return {
    refused,
    socket: held === undefined ? undefined : request.socket,
    promised: contentLength(request),
    take(onTouched = () => {}) {
      const source = (held as HeldRequest).take(onTouched);
      flowAgain();
      held = undefined;
      return source;
    },
    stream() {
      // Other code may have begun to read the connection while Node had stopped it.
      if (held === undefined && refused === OTHER_READER) readOn(request);
      release();
      return request;
    },
    dispose: release,
  };
}
