/**
 * For this project's own packages: pipes that Node has made between streams of other code, with the bytes taken beneath
 * them. Internal: not covered by semantic versioning.
 */
import type { WriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { isOutgoingMessage, isSocket, MethodRecord } from '@zerocopy/transfer';
import { unavailable } from './endpoint.js';
import { isRequest, refusalOfRequest } from './request-body.js';
import { isFileWriter, type RouteDestination, refusalOfWriter } from './route-target.js';
import { refusalOfSource } from './source.js';
import { TakenRoute, type TakenRouteOptions } from './taken-route.js';

export { contentLength, isRequest, isThrownAway, refusalOfRequest } from './request-body.js';
export { isFileWriter, type RouteDestination, refusalOfWriter } from './route-target.js';
export { refusalOfPair, SocketRoute, type SocketRouteOptions } from './socket-route.js';
export { refusalOfSource } from './source.js';
export { TakenRoute, type TakenRouteOptions } from './taken-route.js';

/** What {@link routeBeneath} answers where nothing is taken over: why, in words. */
export interface RouteRefusal {
  /** The reason. */
  readonly refused: string;
}

/**
 * Lays a route beneath the pipe that Node has just made from `source` to `destination`, in the turn of that `pipe`, before
 * anything has flowed: from a net.Socket or an HTTP/1 body with a Content-Length, into an fs.WriteStream, a net.Socket
 * or an HTTP/1 message with the same Content-Length. All that belongs to the pipe stays Node's.
 *
 * @returns the route, which may still leave all to Node: its record tells; or why there is none. Nothing has changed then.
 */
export function routeBeneath(
  source: Readable,
  destination: NodeJS.WritableStream,
  options: Partial<TakenRouteOptions> = {},
): TakenRoute | RouteRefusal {
  const refused = unavailable() ?? refusalOfStreams(source, destination);
  if (refused !== undefined) return { refused };
  const record = options.record ?? new MethodRecord(source);
  return new TakenRoute(
    source as Socket | IncomingMessage,
    destination as RouteDestination,
    Object.assign({}, options, { record }),
  );
}

function refusalOfStreams(source: Readable, destination: NodeJS.WritableStream): string | undefined {
  if (isFileWriter(destination)) {
    const refused = refusalOfWriter(destination as unknown as WriteStream);
    if (refused !== undefined) return refused;
  } else if (!isSocket(destination) && !isOutgoingMessage(destination)) {
    return 'the destination is no file, socket or HTTP message';
  }
  if (isRequest(source)) return refusalOfRequest(source, 1);
  if (!isSocket(source)) return 'the source is no socket and no HTTP message';
  if (isOutgoingMessage(destination))
    return 'how much the socket brings, and the HTTP message is to announce, is not known';
  return source.connecting ? 'the source is not connected yet' : refusalOfSource(source, 1);
}
