/** What a scenario is: one host serves with the packages, the other visits it with nothing but Node's own streams. */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo, type Server } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { type Fingerprint, FingerprintCounter, streamOf } from '@zerocopy/testing/bytes';

/** What one of the two has seen of a flow of bytes. All who have seen the one of a name must have seen the same. */
export interface Passage {
  readonly name: string;
  readonly bytes: number;
  readonly sha256?: string;
  /** Of the package that moved it. */
  readonly method?: string | undefined;
  readonly fallbackReason?: string | undefined;
}

export interface Site {
  readonly address: string;
  readonly peerAddress: string;
  /** Where files may be made; gone with the run. */
  readonly directory: string;
  readonly seed: number;
  /** Of each large flow, in bytes. */
  readonly size: number;
}

export interface ServingSite extends Site {
  /** Bytes that a proxy's sockets are to have waiting before it begins. */
  readonly backlog: number;
}

/** What has been started on a host. */
export interface Activity {
  readonly ports: readonly number[];
  /** When everything has happened, and is closed: what has been seen. */
  done(): Promise<readonly Passage[]>;
}

export interface VisitSite extends Site {
  /** To be waited for in the middle of a flow: there somebody may stop this host, or cut the link. Once in a visit. */
  readonly middle: () => Promise<void>;
}

export interface Scenario {
  readonly name: string;
  /** On the visiting host, first: what the other is to connect to, if that is part of it. */
  prepare?(site: VisitSite): Promise<Activity>;
  serve(site: ServingSite, preparedPorts: readonly number[]): Promise<Activity>;
  visit(site: VisitSite, ports: readonly number[]): Promise<readonly Passage[]>;
}

export const CONTENT = 'content';

/** Listens on an address of this host. Half-closes are everybody's own business. */
export async function listen(server: Server, address: string): Promise<number> {
  server.listen(0, address);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A server of one connection: `use` is called with it, and what that resolves with is what has been seen. */
export async function serveOnce(
  address: string,
  use: (socket: net.Socket) => Promise<readonly Passage[]>,
  { pauseOnConnect = false }: { pauseOnConnect?: boolean } = {},
): Promise<Activity> {
  let seen: Promise<readonly Passage[]> | undefined;
  let accepted = (): void => {};
  const acceptance = new Promise<void>((resolve) => {
    accepted = resolve;
  });
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect }, (socket) => {
    seen = use(socket);
    seen.catch(() => {}); // told by done()
    server.close();
    accepted();
  });
  return {
    ports: [await listen(server, address)],
    async done() {
      await acceptance;
      return (await seen) as readonly Passage[];
    },
  };
}

export async function connect(address: string, port: number): Promise<net.Socket> {
  const socket = net.connect({ host: address, port, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Reads to the end; waits in the middle, if told to, without reading on. */
export async function receive(stream: Readable, size: number, middle?: () => Promise<void>): Promise<Fingerprint> {
  const seen = new FingerprintCounter();
  let waited = middle === undefined;
  await new Promise<void>((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => {
      seen.add(chunk);
      if (waited || seen.bytes * 2 < size) return;
      waited = true;
      stream.pause();
      (middle as () => Promise<void>)().then(() => stream.resume(), reject);
    });
    stream.once('end', resolve);
    stream.once('error', reject);
    stream.once('close', () => reject(new Error('closed before its end')));
  });
  return seen.finish();
}

/** Sends the bytes of a name, and ends; waits in the middle, if told to. */
export async function send(
  stream: Duplex | NodeJS.WritableStream,
  name: string,
  { seed, size }: Site,
  middle?: () => Promise<void>,
): Promise<Fingerprint> {
  const sent = new FingerprintCounter();
  let waited = middle === undefined;
  for await (const chunk of streamOf(name, seed, size)) {
    sent.add(chunk);
    if (!stream.write(chunk)) await once(stream, 'drain');
    if (waited || sent.bytes * 2 < size) continue;
    waited = true;
    await (middle as () => Promise<void>)();
  }
  stream.end();
  return sent.finish();
}

/**
 * An agent with one connection. Without TCP's own probes: those of Node's agent begin after a second, and libuv has ten of
 * them, a second apart, so that the client gives up within eleven seconds of silence.
 */
export const keptAlive = (): http.Agent =>
  new http.Agent({ keepAlive: true, keepAliveMsecs: 3_600_000, maxSockets: 1 });

/** By Node's own stream: what is in a file, or in a part of it. */
export function fingerprintOfFile(path: string, range: { start?: number; end?: number } = {}): Promise<Fingerprint> {
  return receive(createReadStream(path, range), 0);
}

export async function closed(socket: net.Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}
