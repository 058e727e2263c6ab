/**
 * What becomes of transfers whose link goes down for good: an error within a bound that was set, the same as with Node's own
 * streams in our place where those have such a thing, and nothing left behind.
 */

import http from 'node:http';
import net, { type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { descriptorOf, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import type { Movers } from '../ways/twins.js';
import { CONTENT, connect, listen, receive, type Site, send, type VisitSite } from './flows.js';

/** What is under way on the host with the packages. */
export interface Doomed {
  readonly port: number;
  /** How it has ended: error codes, by what was told them. */
  outcome(): Promise<readonly string[]>;
}

/** A transfer that is to be cut off. */
export interface CutOff {
  readonly name: string;
  /** What has to come, where Node has nothing to compare with. */
  readonly expected?: readonly string[];
  serve(site: Site, by: Movers, upstreamPort: number): Promise<Doomed>;
  /** Begins on the other host, and comes to the middle. The sockets are destroyed when all is over. */
  visit(site: VisitSite, port: number): Promise<Socket>;
}

/** Milliseconds after which a side that hears nothing gives up, whichever way it was told to. */
const PATIENCE_MS = 1000;
const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;

function boundByUserTimeout(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd === null) throw new Error('a TCP socket has a descriptor');
  const result = syscalls.setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, PATIENCE_MS);
  if (result < 0) throw new SyscallError(result, 'setsockopt');
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

/** What a promise rejects with; that it resolves is a result, too. */
const endOf = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'no error', codeOf);

type Handle = (request: http.IncomingMessage, response: http.ServerResponse) => Promise<unknown>;

async function doomedRequest({ address }: Site, bound: 'user timeout' | 'idle', handle: Handle): Promise<Doomed> {
  const told: string[] = [];
  let ended = (_outcome: readonly string[]): void => {};
  const end = new Promise<readonly string[]>((resolve) => {
    ended = resolve;
  });
  const server = http.createServer((request, response) => {
    const connectionClosed = new Promise<void>((resolve) => request.socket.once('close', () => resolve()));
    const result = endOf(handle(request, response));
    void Promise.all([result, connectionClosed]).then(([code]) => ended([`pipeline: ${code}`, ...told]));
  });
  server.on('clientError', (error, socket) => {
    told.push(`clientError: ${codeOf(error)}`);
    socket.destroy();
  });
  if (bound === 'idle') server.setTimeout(PATIENCE_MS);
  else server.on('connection', boundByUserTimeout);
  return {
    port: await listen(server, address),
    async outcome() {
      const outcome = await end;
      server.close();
      server.closeAllConnections();
      return outcome;
    },
  };
}

/** @param moves what is done with the connection; all sockets are destroyed when it has ended. */
async function doomedSocket({ address }: Site, moves: (socket: Socket) => Promise<unknown>): Promise<Doomed> {
  let ended = (_outcome: readonly string[]): void => {};
  const end = new Promise<readonly string[]>((resolve) => {
    ended = resolve;
  });
  const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
    server.close();
    const connectionClosed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    const told: string[] = [];
    socket.once('error', (error) => told.push(`'error': ${codeOf(error)}`));
    const code = await endOf(moves(socket));
    socket.destroy();
    await connectionClosed;
    ended([`rejected: ${code}`, ...told]);
  });
  return { port: await listen(server, address), outcome: () => end };
}

async function download(site: VisitSite, port: number): Promise<Socket> {
  const socket = await connect(site.peerAddress, port);
  receive(socket, site);
  return socket;
}

async function get(site: VisitSite, port: number): Promise<Socket> {
  const socket = await download(site, port);
  socket.write('GET / HTTP/1.1\r\nHost: host\r\n\r\n');
  return socket;
}

const put = (site: VisitSite, port: number): Promise<Socket> =>
  upload(site, port, `PUT / HTTP/1.1\r\nHost: host\r\nContent-Length: ${site.size}\r\n\r\n`);

async function upload(site: VisitSite, port: number, head = ''): Promise<Socket> {
  const socket = await connect(site.peerAddress, port);
  socket.on('error', () => {});
  socket.write(head);
  send(socket, 'doomed upload', site, site.middle).catch(() => {}); // it is doomed
  return socket;
}

const contentOf = ({ directory }: Site): string => join(directory, CONTENT);
let files = 0;
const fileOf = ({ directory }: Site): string => join(directory, `doomed-${files++}`);

/** From the sender on the other host. What it sends is more than the buffers take. */
const upstreamOf = ({ peerAddress }: Site, port: number): Socket =>
  net.connect({ host: peerAddress, port, allowHalfOpen: true });

/** From the sender to the connection that is cut off. */
const relayed = (name: string, relay: (by: Movers, socket: Socket, upstream: Socket) => Promise<unknown>): CutOff => ({
  name,
  serve: (site, by, upstreamPort) =>
    doomedSocket(site, async (socket) => {
      boundByUserTimeout(socket);
      const upstream = upstreamOf(site, upstreamPort);
      try {
        await relay(by, socket, upstream);
      } finally {
        upstream.destroy();
      }
    }),
  visit: download,
});

export const cutOffs: readonly CutOff[] = [
  {
    name: 'HTTP download, TCP_USER_TIMEOUT',
    serve: (site, by) =>
      doomedRequest(site, 'user timeout', (_request, response) =>
        pipeline(by.createSendfileStream(contentOf(site)), response),
      ),
    visit: get,
  },
  {
    name: 'HTTP download, server.setTimeout',
    serve: (site, by) =>
      doomedRequest(site, 'idle', (_request, response) => pipeline(by.createSendfileStream(contentOf(site)), response)),
    visit: get,
  },
  {
    name: 'HTTP upload, server.setTimeout',
    serve: (site, by) =>
      doomedRequest(site, 'idle', (request) => pipeline(request, by.createSpliceWriteStream(fileOf(site)))),
    visit: put,
  },
  {
    name: 'sendFile to a socket, TCP_USER_TIMEOUT',
    serve: (site, by) =>
      doomedSocket(site, (socket) => {
        boundByUserTimeout(socket);
        return by.sendFile(socket, contentOf(site));
      }),
    visit: download,
  },
  {
    name: 'upload by a socket, socket.setTimeout',
    serve: (site, by) =>
      doomedSocket(site, (socket) => {
        socket.setTimeout(PATIENCE_MS, () =>
          socket.destroy(Object.assign(new Error('too late'), { code: 'ERR_TOO_LATE' })),
        );
        return pipeline(socket, by.createSpliceWriteStream(fileOf(site)));
      }),
    visit: (site, port) => upload(site, port),
  },
  relayed('splice to a socket, TCP_USER_TIMEOUT', (by, socket, upstream) => by.splice(upstream, socket)),
  relayed('proxy, TCP_USER_TIMEOUT', (by, socket, upstream) => by.proxy(socket, upstream)),
  {
    name: 'proxy, idleTimeout',
    expected: ['rejected: ERR_IDLE_TIMEOUT'],
    serve: (site, by, upstreamPort) =>
      doomedSocket(site, (socket) => by.proxy(socket, upstreamOf(site, upstreamPort), { idleTimeout: PATIENCE_MS })),
    visit: download,
  },
  {
    name: 'tee, signal',
    expected: ['rejected: ABORT_ERR'],
    serve: (site, by, upstreamPort) =>
      doomedSocket(site, async (socket) => {
        const upstream = upstreamOf(site, upstreamPort);
        const second = upstreamOf(site, upstreamPort);
        try {
          // The signal runs from the start, and the link has to be down before.
          await by.tee(upstream, [socket, second], { signal: AbortSignal.timeout(2 * PATIENCE_MS) });
        } finally {
          upstream.destroy();
          second.destroy();
        }
      }),
    visit: download,
  },
];
