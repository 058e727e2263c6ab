/** A server that stops without a failed request. */
import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import net, { type Server, type Socket } from 'node:net';
import { closeByReset } from '@zerocopy/transfer';

/** A connection that cannot be accepted is told so often at most, in milliseconds. */
const QUIET = 1000;

/**
 * Resolves when the signal has been given, or the server has failed: then it rejects. A connection that cannot be accepted, as
 * when there are no descriptors left, is no such failure: it is told.
 */
export function untilStopped(server: Server, signal: AbortSignal, tell: (line: string) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let toldAt = Number.NEGATIVE_INFINITY;
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.syscall !== 'accept') return reject(error);
      if (performance.now() - toldAt < QUIET) return;
      toldAt = performance.now();
      tell(`a connection was not accepted: ${error.message}`);
    });
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Closes a connection at once. Its peer must not take that for a proper end: it is reset, where it is TCP. */
export function cutOff(socket: Socket): void {
  closeByReset(socket);
  socket.destroy();
}

/** Stops listening and waits for the connections, at most so many milliseconds. @returns how many were cut off. */
export async function drain(server: Server, sockets: ReadonlySet<Socket>, milliseconds: number): Promise<number> {
  // Not http.Server's own: that closes connections that are idle now, though a request may be on its way on each.
  const closed = new Promise<void>((resolve) => {
    net.Server.prototype.close.call(server, () => resolve());
  });
  let cut = 0;
  const timer = setTimeout(() => {
    cut = sockets.size;
    for (const socket of sockets) cutOff(socket);
  }, milliseconds);
  await closed;
  clearTimeout(timer);
  return cut;
}

/** The connections of a server. */
export function connectionsOf(server: Server): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

/**
 * From the signal on, each connection is closed after its next answer, which says so; or by keepAliveTimeout, if no request
 * comes.
 */
export function closingAfterAnswers(server: HttpServer, signal: AbortSignal): void {
  server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
    if (signal.aborted) response.shouldKeepAlive = false;
  });
}
