/** HTTP servers that are gone when their test is through, and requests to them. */
import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collect } from './sockets.js';

/** Uses a listening server; it is closed with all its connections when `use` resolves or rejects. */
export async function withHttpServer<T>(
  listener: RequestListener,
  use: (port: number, server: Server) => Promise<T>,
): Promise<T> {
  const server = http.createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await use((server.address() as AddressInfo).port, server);
  } finally {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** One request, without a body unless one is given. Rejects if the answer breaks off. */
export function get(port: number, options: http.RequestOptions = {}, body?: Uint8Array): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, agent: false, ...options }, (response: IncomingMessage) => {
      const { statusCode: status = 0, headers } = response;
      collect(response).then((received) => resolve({ status, headers, body: received }), reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}
