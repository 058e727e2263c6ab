/**
 * Bodies of HTTP messages that break off, where Node's streams do not say so:
 *
 * - HTTP/1: when the response to a request has ended, Node forgets the request. If its connection closes then, before all of
 *   the body has come, the request gets no event at all.
 * - HTTP/2: a stream that is reset brings an ordinary 'end', also to a request whose body announces no length.
 *
 * One case is told by nothing: a client that resets an HTTP/2 stream with NO_ERROR after its response has ended.
 */
import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import type { Readable } from 'node:stream';
import { addSharedListener, isSocket, removeSharedListener } from '@zerocopy/transfer';
import { isRequest } from './request-body.js';

const NO_ERROR = 0;

const isHttp2 = (message: IncomingMessage | Http2ServerRequest): message is Http2ServerRequest =>
  message.httpVersionMajor === 2;

/**
 * Whether `source` is a body that has broken off. What has come of it may still be to be read. A stream of HTTP/2 that is reset
 * behind its end counts as well: the two cannot be told apart.
 */
export function isCutOffBody(source: Readable & { readonly rstCode?: unknown }): boolean {
  if (!isRequest(source)) return typeof source.rstCode === 'number' && source.rstCode !== NO_ERROR; // of an Http2Stream
  const message = source as IncomingMessage | Http2ServerRequest;
  if (isHttp2(message)) return message.aborted || (message.stream?.rstCode ?? NO_ERROR) !== NO_ERROR;
  return !message.complete && isSocket(message.socket) && message.socket.destroyed;
}

/**
 * Whether the event 'close' of `source` may come before its end though all of it has come: that of HTTP/2 tells of the stream
 * beneath the request, of which the last bytes may still be to be read.
 */
export const closesBeforeItsEnd = (source: Readable): boolean =>
  isRequest(source) && isHttp2(source) && !source.destroyed && !isCutOffBody(source);

/** Calls back when the connection of `source`, if that is an HTTP/1 message, has closed. @returns ends that. Idempotent. */
export function whenConnectionCloses(source: Readable, callback: () => void): () => void {
  const connection = isRequest(source) && !isHttp2(source) ? source.socket : undefined;
  if (connection === undefined || !isSocket(connection)) return () => {};
  addSharedListener(connection, 'close', callback);
  return () => removeSharedListener(connection, 'close', callback);
}
