/** The other side, by Node's own streams: connected sockets, and what arrives on them. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pair {
  /** The accepted end: what a server has. */
  readonly server: Socket;
  readonly client: Socket;
}

export type Kind = 'tcp' | 'unix';

/** Uses a connected pair of sockets, both of which are gone, with their errors, when it is through. */
export async function withPair<T>(kind: Kind, use: (pair: Pair) => Promise<T>): Promise<T> {
  const directory = kind === 'unix' ? mkdtempSync(join(tmpdir(), 'zerocopy-unix-')) : undefined;
  const listener = net.createServer({ allowHalfOpen: true });
  if (directory === undefined) listener.listen(0, '127.0.0.1');
  else listener.listen(join(directory, 's'));
  await once(listener, 'listening');
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  const client = net.connect({ ...addressOf(listener), allowHalfOpen: true });
  const [server] = await accepted;
  for (const socket of [server, client]) socket.on('error', () => {}); // told by whoever uses it
  try {
    return await use({ server, client });
  } finally {
    await Promise.all([server, client].map(goneForGood));
    listener.close();
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  }
}

function addressOf(server: Server): NetConnectOpts {
  const name = server.address() as AddressInfo | string;
  return typeof name === 'string' ? { path: name } : { port: name.port, host: '127.0.0.1' };
}

/** Destroyed, and closed. */
export async function goneForGood(socket: Socket): Promise<void> {
  if (socket.closed) return;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await closed;
}

/** Everything that arrives, up to the end, an error or the closing, whichever comes first. */
export function arrival(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    if ((stream as Socket).closed || (stream as Socket).readableEnded) resolve(Buffer.concat(chunks));
    for (const event of ['end', 'error', 'close']) stream.once(event, () => resolve(Buffer.concat(chunks)));
  });
}

/** Turns of the loop without a byte, after which a sender counts as having come to a halt. */
const HALTED_TURNS = 10;

/** {@link arrival}, of which nothing is read before the sender has come to a halt; `sent` tells how far it is. */
export async function lateArrival(stream: NodeJS.ReadableStream, sent: () => number): Promise<Buffer> {
  let before = -1;
  for (let still = 0; still < HALTED_TURNS; still++) {
    const now = sent();
    if (now !== before) still = 0;
    before = now;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return arrival(stream);
}

export interface Answer {
  readonly body: Buffer;
  /** Whether the body was all that its framing promised. */
  readonly complete: boolean;
}

/** One request to a server of its own: what `answer` makes of it, and what the client got. */
export async function request<T>(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<T>,
  body?: Buffer,
): Promise<{ readonly told: T; readonly answer: Answer }> {
  const server = http.createServer({ keepAlive: false });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const told = new Promise<T>((resolve, reject) => {
    server.once('request', (incoming: IncomingMessage, response: ServerResponse) => {
      answer(incoming, response).then(resolve, reject);
    });
  });
  const outgoing = http.request({
    ...addressOf(server),
    agent: false,
    method: body === undefined ? 'GET' : 'PUT',
    headers: body === undefined ? {} : { 'Content-Length': body.length },
  } as http.RequestOptions);
  const answered = new Promise<Answer>((resolve) => {
    outgoing.once('error', () => resolve({ body: Buffer.alloc(0), complete: false }));
    outgoing.once('response', (response) => {
      arrival(response).then((received) => resolve({ body: received, complete: response.complete }));
      response.on('error', () => {}); // cut off: told by `complete`
    });
  });
  outgoing.end(body);
  try {
    const [result, got] = await Promise.all([told, answered]);
    return { told: result, answer: got };
  } finally {
    outgoing.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
