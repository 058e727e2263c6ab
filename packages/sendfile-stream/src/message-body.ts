/**
 * The body of a message that a file is sent into: how it is delimited, and how much of a promised length is left. A message
 * is an outgoing one of node:http, or one of HTTP/2: a response of its compatibility API, or the stream itself.
 */
import type { OutgoingMessage } from 'node:http';
import { type BodyFraming, bodyFraming, isOutgoingMessage } from '@zerocopy/transfer';

/** What HTTP/2's stream and its response have in common with the other messages; all of it read defensively. */
interface Http2Message {
  readonly headersSent?: unknown;
  /** Of the response: its stream. */
  readonly stream?: Http2Message | null;
  readonly sentHeaders?: Record<string, unknown>;
  /** Whether the request was HEAD. */
  readonly headRequest?: unknown;
  readonly statusCode?: unknown;
  getHeader?(name: string): unknown;
  setHeader?(name: string, value: number): void;
}

const isHttp2Stream = (thing: Http2Message): boolean =>
  typeof thing === 'object' && thing !== null && 'sentHeaders' in thing && 'headersSent' in thing && 'session' in thing;

/** A response of HTTP/2's compatibility API. */
const isHttp2Response = (thing: Http2Message): boolean =>
  typeof thing.setHeader === 'function' && isHttp2Stream(thing.stream ?? ({} as Http2Message));

/** Whether `stream` is a message whose end is the end of the body, by itself or by whoever sends into it. */
export function isMessage(stream: unknown): boolean {
  if (typeof stream !== 'object' || stream === null) return false;
  return isOutgoingMessage(stream) || isHttp2Response(stream) || isHttp2Stream(stream);
}

function http2Framing(message: Http2Message): BodyFraming {
  const stream = isHttp2Stream(message) ? message : (message.stream as Http2Message);
  const headersSent = stream.headersSent === true;
  const status = headersSent ? stream.sentHeaders?.[':status'] : message.statusCode;
  if (stream.headRequest === true || status === 204 || status === 304) return { kind: 'none' };
  const announced = headersSent ? stream.sentHeaders?.['content-length'] : message.getHeader?.('content-length');
  const bytes = announced === undefined || announced === null ? Number.NaN : Number(announced);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return { kind: 'length', bytes };
  return { kind: headersSent ? 'chunked' : 'undecided' };
}

/** Node knows it of a response only when the head is written. */
function willHaveNoBody(message: OutgoingMessage): boolean {
  const { statusCode } = message as { statusCode?: unknown };
  return !message.headersSent && (statusCode === 204 || statusCode === 304);
}

/** How the body of `stream` is delimited; undefined where it is no message. */
export function framingOfMessage(stream: unknown): BodyFraming | undefined {
  if (isOutgoingMessage(stream)) return willHaveNoBody(stream) ? { kind: 'none' } : bodyFraming(stream);
  return isMessage(stream) ? http2Framing(stream as Http2Message) : undefined;
}

/**
 * Sets the Content-Length of a message whose whole body the file is, where there is still time and it may have one.
 * Otherwise Node sends it in chunks, or until the connection closes.
 */
export function announce(stream: unknown, bytes: number): void {
  const message = stream as OutgoingMessage;
  // A bare HTTP/2 stream has its headers given by respond().
  if (!isMessage(stream) || typeof message.setHeader !== 'function' || message.headersSent) return;
  const status = (message as { statusCode?: unknown }).statusCode;
  const decided =
    message.hasHeader('content-length') || message.hasHeader('transfer-encoding') || message.hasHeader('trailer');
  if (!decided && status !== 204 && status !== 304) message.setHeader('Content-Length', bytes);
}

// Registered, so that two copies of this package count together.
const kReserved: unique symbol = Symbol.for('zerocopy.reserved.1');

type Reserved = { [kReserved]?: number };

/**
 * Bytes of the message's Content-Length that no transfer of ours has been given yet; Infinity where it has none.
 * @param framing how its body is delimited, where that has been asked.
 */
export function bytesLeft(stream: unknown, framing: BodyFraming | undefined = framingOfMessage(stream)): number {
  if (framing?.kind !== 'length') return Number.POSITIVE_INFINITY;
  return Math.max(0, framing.bytes - ((stream as Reserved)[kReserved] ?? 0));
}

/** Whether more has been given to transfers than the message has announced since: its headers were written by others. */
export function isOvercommitted(stream: unknown, length: number): boolean {
  const framing = framingOfMessage(stream);
  if (framing?.kind !== 'length') return false;
  return !Number.isFinite(length) || ((stream as Reserved)[kReserved] ?? 0) > framing.bytes;
}

/** `bytes` of the body are now one transfer's to send; negative: given back, since it has not sent them. */
export function reserve(stream: unknown, bytes: number): void {
  const message = stream as Reserved;
  // Assigned, not defined: for a message that is new each time the engine's runtime defines it in 20 times as long.
  message[kReserved] = (message[kReserved] ?? 0) + bytes;
}
