/** A plan onto a response of node:http, node:https or node:http2. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { finished, type Writable } from 'node:stream';
import { readSmall, SMALL_FILE_SIZE, type SmallRead } from '@zerocopy/sendfile-stream/route';
import { clearTimeout, nextTick, setTimeout, TransferError, TransferScope, transferError } from '@zerocopy/transfer';
import type { SentInfo } from './options.js';
import { type FilePart, isFilePart, type Plan, type PlanHeaders } from './plan.js';
import { sendRange } from './send-range.js';

/** A request as node:http and node:http2 (its compatibility API) hand it to a handler. */
export type NodeRequest = IncomingMessage | Http2ServerRequest;
/** The response to a {@link NodeRequest}. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

/** What became of the body. */
export interface Delivery {
  readonly bytes: number;
  readonly transfer: string | undefined;
  readonly error: Error | undefined;
}

/** Fields as HTTP/1 has always written them: some old clients look for them so. */
const WIRE_NAMES: ReadonlyMap<string, string> = new Map(
  [
    'Accept-Ranges',
    'Access-Control-Allow-Origin',
    'Access-Control-Expose-Headers',
    'Allow',
    'Cache-Control',
    'Content-Disposition',
    'Content-Encoding',
    'Content-Length',
    'Content-Location',
    'Content-Range',
    'Content-Security-Policy',
    'Content-Type',
    'Cross-Origin-Embedder-Policy',
    'Cross-Origin-Opener-Policy',
    'Cross-Origin-Resource-Policy',
    'ETag',
    'Expires',
    'Last-Modified',
    'Location',
    'Vary',
    'X-Content-Type-Options',
  ].map((name) => [name.toLowerCase(), name]),
);

/** Fields that say which state or part of the file is sent: those that a program has set before are wrong. */
const OURS: ReadonlySet<string> = new Set([
  'accept-ranges',
  'content-encoding',
  'content-length',
  'content-range',
  'etag',
  'last-modified',
  'location',
  'allow',
]);
/** What may not go out with a 304 or 416, though a program has set it. */
const UNSENT: Readonly<Record<number, readonly string[]>> = {
  304: ['content-type', 'content-length', 'content-encoding', 'content-range'],
  416: ['content-type', 'content-encoding', 'cache-control', 'expires', 'etag', 'last-modified'],
};

/**
 * The fields of a plan on top of those that the response has already. Those of a program stay, but for those that say what
 * is sent; Vary is added to.
 */
function applyFields(response: NodeResponse, { status, headers }: Plan): void {
  for (const name of UNSENT[status] ?? []) response.removeHeader(name);
  for (const [name, value] of Object.entries(headers)) {
    const before = response.getHeader(name);
    if (before === undefined || OURS.has(name) || status >= 400) response.setHeader(wireName(name), copied(value));
    else if (name === 'vary') response.setHeader('Vary', mergedVary(String(before), String(value)));
  }
}

const wireName = (name: string): string => WIRE_NAMES.get(name) ?? name;
const copied = (value: string | readonly string[]): string | string[] =>
  typeof value === 'string' ? value : [...value];

export function mergedVary(before: string, added: string): string {
  const names = before.split(',').map((name) => name.trim());
  if (names.includes('*')) return '*';
  const known = new Set(names.map((name) => name.toLowerCase()));
  const missing = added.split(',').map((name) => name.trim());
  return [...names, ...missing.filter((name) => !known.has(name.toLowerCase()))].join(', ');
}

type WireFields = Record<string, string | string[]>;

/** Of header fields that are said again as long as their file is unchanged. */
const wired = new WeakMap<PlanHeaders, WireFields>();

function wireFields({ headers, lasting }: Plan): WireFields {
  const before = lasting ? wired.get(headers) : undefined;
  if (before !== undefined) return before;
  const fields: WireFields = {};
  for (const name of Object.keys(headers)) fields[wireName(name)] = copied(headers[name] as string | readonly string[]);
  if (lasting) wired.set(headers, fields);
  return fields;
}

/** Told when a response is over, whichever way. */
export type Tell = (delivery: Delivery) => void;

/**
 * Sends a plan and releases it, whatever happens. Nothing is sent if another handler has answered meanwhile.
 * @param tell called once, later, when the response is over; undefined: nobody wants to know.
 * @throws {TypeError} for a header field that cannot be sent; nothing has been sent then.
 */
export function sendPlan(response: NodeResponse, plan: Plan, tell: Tell | undefined): void {
  try {
    if (response.headersSent || response.writableEnded || isGone(response)) {
      plan.release();
      if (tell !== undefined) nextTick(tell, { bytes: 0, transfer: undefined, error: gone() });
      return;
    }
    if (isHttp2(response)) return sendHttp2(response, plan, tell);
    const message = response as ServerResponse;
    writeHead(message, plan);
    deliver(message, plan, tell);
  } catch (error) {
    plan.release();
    throw error;
  }
}

/** What cannot be sent leaves the message as it was: Node's has taken the reason phrase by then, for whatever status follows. */
function writeHead(message: ServerResponse, plan: Plan): void {
  const { statusMessage } = message;
  try {
    if (message.getHeaderNames().length === 0) message.writeHead(plan.status, wireFields(plan));
    else {
      applyFields(message, plan);
      message.writeHead(plan.status);
    }
  } catch (error) {
    message.statusMessage = statusMessage;
    throw error;
  }
}

/** The stream of HTTP/2 may be closed while its session goes on. */
const isGone = (response: NodeResponse): boolean =>
  isHttp2(response)
    ? response.stream.destroyed || response.stream.closed
    : response.destroyed || response.socket?.destroyed === true;

const gone = (): Error =>
  new TransferError('the client went away before it was answered', { code: 'ERR_STREAM_PREMATURE_CLOSE', bytes: 0 });

const isHttp2 = (response: NodeResponse): response is Http2ServerResponse =>
  typeof (response as Http2ServerResponse).stream?.respondWithFD === 'function';

/** The body of a message whose head is written. */
function deliver(message: ServerResponse, plan: Plan, tell: Tell | undefined): void {
  const [first] = plan.parts;
  if (first === undefined) {
    message.end();
    atClose(message, 0, undefined, tell);
    return;
  }
  if (plan.parts.length > 1 || plan.pace !== undefined) return void deliverParts(message, plan, tell);
  if (!isFilePart(first)) {
    message.end(first);
    atClose(message, first.length, undefined, tell);
    return;
  }
  const { file, start, length } = first;
  const small = file.isLocal && length <= SMALL_FILE_SIZE ? readSmall(file.fd, start, length) : undefined;
  if (small === undefined) return void deliverParts(message, plan, tell);
  deliverSmall(message, plan, small, tell);
}

const SMALL = `the file is small: up to ${SMALL_FILE_SIZE} bytes are cheaper to copy with the headers`;

/** Published as every transfer is. */
function deliverSmall(message: ServerResponse, plan: Plan, small: SmallRead, tell: Tell | undefined): void {
  const { length } = small;
  const scope = new TransferScope({ length, source: 'file', destination: 'http', detail: { source: plan.path } });
  const startedAt = performance.now();
  plan.release();
  scope.start(); // foreign code, which may have destroyed the response
  if (!message.writableEnded) message.end(small.bytesFor(message));
  message.on('close', () => {
    const whole = message.writableFinished;
    const durationMs = performance.now() - startedAt;
    const bytes = whole ? length : 0;
    const result = { bytes, method: 'copy', fallbackReason: SMALL, syscalls: 1, durationMs } as const;
    const error = whole ? undefined : gone();
    if (error === undefined) {
      small.recycle();
      scope.succeed(result);
    } else scope.fail(error, result);
    tell?.({ bytes, transfer: 'copy', error });
  });
}

/** A body that has been handed over whole. */
function atClose(message: ServerResponse, bytes: number, transfer: string | undefined, tell: Tell | undefined): void {
  if (tell === undefined) return;
  message.once('close', () => {
    const whole = message.writableFinished;
    tell({ bytes: whole ? bytes : 0, transfer, error: whole ? undefined : gone() });
  });
}

const deliverParts = (destination: ServerResponse | Writable, plan: Plan, tell: Tell | undefined): Promise<void> =>
  new Delivering(destination, plan).run().then(tell);

/** The parts of a body, one after the other, at their pace. */
class Delivering {
  readonly #destination: ServerResponse | Writable;
  readonly #plan: Plan;
  #bytes = 0;
  #transfer: string | undefined;

  constructor(destination: ServerResponse | Writable, plan: Plan) {
    this.#destination = destination;
    this.#plan = plan;
  }

  run(): Promise<Delivery> {
    return this.#send().then(
      () => this.#over(undefined),
      (error: Error) => {
        // Half a body is not to be taken for a whole one, and a connection kept alive not to be confused.
        if (!this.#destination.destroyed) this.#destination.destroy();
        return this.#over(error);
      },
    );
  }

  #over(error: Error | undefined): Delivery {
    this.#plan.release();
    return { bytes: this.#bytes, transfer: this.#transfer, error };
  }

  #send(): Promise<void> {
    const { parts, pace } = this.#plan;
    const [only] = parts;
    if (only !== undefined && isFilePart(only) && parts.length === 1 && pace === undefined) {
      return this.#range(only, true);
    }
    return this.#sendParts();
  }

  async #sendParts(): Promise<void> {
    const { parts } = this.#plan;
    for (const [at, part] of parts.entries()) {
      const last = at === parts.length - 1;
      if (isFilePart(part)) await this.#paced(part, last);
      else await this.#write(part, last);
    }
  }

  async #paced({ file, start, length }: FilePart, last: boolean): Promise<void> {
    const { pace } = this.#plan;
    if (pace === undefined) return this.#range({ file, start, length }, last);
    let at = start;
    let left = length;
    while (left > 0) {
      const { bytes, delay } = pace.next(left);
      if (delay > 0) await this.#wait(delay);
      left -= bytes;
      await this.#range({ file, start: at, length: bytes }, last && left === 0);
      at += bytes;
    }
  }

  async #range(part: FilePart, ends: boolean): Promise<void> {
    try {
      const { bytes, method } = await sendRange(this.#destination, part);
      this.#bytes += bytes;
      this.#transfer = method;
    } catch (error) {
      if (error instanceof TransferError) this.#bytes += error.bytes;
      throw error;
    }
    if (ends && !this.#destination.writableEnded) this.#destination.end();
  }

  #write(bytes: Buffer, last: boolean): Promise<void> {
    const destination = this.#destination as Writable;
    return new Promise((resolve, reject) => {
      const written = (error?: Error | null): void => {
        stop();
        if (error && !isWhole(destination)) return reject(error);
        this.#bytes += bytes.length;
        resolve();
      };
      const stop = finished(destination, { readable: false }, written);
      if (last) destination.end(bytes, written);
      else destination.write(bytes, written);
    });
  }

  /** Ends early, and fails, when the client goes away. */
  #wait(delay: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        stop();
        resolve();
      }, delay);
      const stop = finished(this.#destination as Writable, { readable: false }, (error) => {
        clearTimeout(timer);
        reject(error ?? gone());
      });
    });
  }
}

/** A stream of HTTP/2 may close, with nothing lost, before the callback of its last write comes. */
const isWhole = (stream: Writable & { readonly rstCode?: number }): boolean =>
  stream.writableFinished || (stream.writableEnded && stream.rstCode === 0);

const BY_HTTP2 = 'HTTP/2 frames what it sends: Node reads the file for it';

/** HTTP/2: a whole file or one range of a local file goes by respondWithFD, everything else through the stream. */
function sendHttp2(response: Http2ServerResponse, plan: Plan, tell: Tell | undefined): void {
  const { stream } = response;
  applyFields(response, plan);
  const fields = Object.assign({}, response.getHeaders(), { ':status': plan.status });
  const [first] = plan.parts;
  const startedAt = performance.now();
  let scope: TransferScope | undefined;
  if (first === undefined) stream.respond(fields, { endStream: true });
  else if (isFilePart(first) && plan.parts.length === 1 && plan.pace === undefined && first.file.isLocal) {
    // It keeps nothing: the file has to stay open until the stream is closed. Node reads it on any number of threads, all of
    // which a server that is gone would hold: so it is for local files only.
    const { length } = first;
    scope = new TransferScope({ length, source: 'file', destination: 'http', detail: { source: plan.path } });
    scope.start(); // foreign code, which may have destroyed the stream
    if (!stream.destroyed && !stream.closed)
      stream.respondWithFD(first.file.fd, fields, { offset: first.start, length: first.length });
  } else {
    stream.respond(fields);
    void deliverParts(stream, plan, tell);
    return;
  }
  const over = (): void => {
    plan.release();
    const failed = stream.errored ?? (stream.rstCode ? gone() : undefined);
    const bytes = failed === undefined && first !== undefined ? first.length : 0;
    const durationMs = performance.now() - startedAt;
    const result = { bytes, method: 'copy', fallbackReason: BY_HTTP2, syscalls: 0, durationMs } as const;
    if (failed === undefined) scope?.succeed(result);
    else scope?.fail(transferError(failed, bytes), result);
    tell?.({ bytes, transfer: first === undefined ? undefined : 'copy', error: failed });
  };
  stream.on('error', () => {}); // the delivery tells it
  if (stream.closed || stream.destroyed) nextTick(over);
  else stream.once('close', over);
}

/** What is told to `onSent`. */
export function sentInfo(
  { path, status }: Plan,
  delivery: Delivery,
  method: string,
  target: string,
  startedAt: number,
): SentInfo {
  const { bytes, transfer, error } = delivery;
  return { path: path ?? target, status, method, duration: performance.now() - startedAt, bytes, transfer, error };
}
