/** The two ends of a pipe, real ones, with those behind them: who sends into the source, and who gets what is written. */
import { once } from 'node:events';
import { createReadStream, createWriteStream, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import tls from 'node:tls';
import { clientOptionsOf, serverOptionsOf } from '@zerocopy/testing/tls';

export type SourceName = 'file' | 'socket' | 'body';
/** 'tls' and 'https': a socket, and a response, that Node encrypts. */
export type DestinationName = 'file' | 'socket' | 'http' | 'tls' | 'https';

export const isMessage = (to: DestinationName): boolean => to === 'http' || to === 'https';
export const isEncrypted = (to: DestinationName): boolean => to === 'tls' || to === 'https';

export interface Stage {
  readonly source: Readable;
  readonly destination: Writable;
  /** Who sends into the source; undefined: a file. */
  readonly feeder: Socket | undefined;
  /** Who gets what is written; undefined: a file. */
  readonly receiver: Socket | undefined;
  /** Bytes that have arrived so far. */
  arrived(): number;
  /** What has arrived: of an HTTP message its body. */
  received(): Buffer;
  /** Sends all into the source, which ends. */
  feed(): void;
  close(): void;
}

let names = 0;

/** Sockets and messages that come from one listening server of each kind. */
export class Stages {
  readonly #directory: string;
  readonly #tcp: Server = net.createServer({ allowHalfOpen: true });
  readonly #tls: tls.Server = tls.createServer({ ...serverOptionsOf(), allowHalfOpen: true } as tls.TlsOptions);
  readonly #http: http.Server = http.createServer();
  readonly #https: https.Server = https.createServer(serverOptionsOf());

  constructor(directory: string) {
    this.#directory = directory;
  }

  async start(): Promise<void> {
    for (const server of [this.#tcp, this.#tls, this.#http, this.#https]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
  }

  stop(): void {
    for (const server of [this.#http, this.#https]) {
      server.closeAllConnections();
      server.close();
    }
    this.#tcp.close();
    this.#tls.close();
  }

  #turn: Promise<unknown> = Promise.resolve();

  /** One after another: what a server accepts next is what has just been connected. */
  make(from: SourceName, to: DestinationName, bytes: Buffer, isLengthTold: boolean): Promise<Stage> {
    const made = this.#turn.then(() => this.#make(from, to, bytes, isLengthTold));
    this.#turn = made.catch(() => {}); // told to whoever asked for it; the next one is made all the same
    return made;
  }

  async #make(from: SourceName, to: DestinationName, bytes: Buffer, isLengthTold: boolean): Promise<Stage> {
    const closers: (() => void)[] = [];
    const length = from === 'body' ? bytes.length : 0;
    const exchange =
      from === 'body' || isMessage(to) ? await this.#exchange(length, isEncrypted(to), closers) : undefined;
    const pair = from === 'socket' ? await this.#pair(false, closers) : undefined;
    const out = to === 'socket' || to === 'tls' ? await this.#pair(to === 'tls', closers) : undefined;
    const source =
      from === 'file'
        ? this.#file(bytes, closers)
        : from === 'body'
          ? (exchange?.request as Readable)
          : (pair?.accepted as Readable);
    const feeder = from === 'body' ? exchange?.client : pair?.client;
    const chunks: Buffer[] = [];
    let arrived = 0;
    const receiver = isMessage(to) ? exchange?.client : out?.client;
    receiver?.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      arrived += chunk.length;
    });
    const path = join(this.#directory, `to-${names++}`);
    const file = to === 'file' ? createWriteStream(path) : undefined;
    if (file !== undefined) closers.push(() => rmSync(path, { force: true }));
    const destination = (file ?? (isMessage(to) ? exchange?.response : out?.accepted)) as Writable;
    if (isMessage(to) && isLengthTold) exchange?.response.setHeader('Content-Length', bytes.length);
    return {
      source,
      destination,
      feeder,
      receiver,
      arrived: () => file?.bytesWritten ?? arrived,
      received() {
        if (file !== undefined) return file.bytesWritten === 0 ? Buffer.alloc(0) : readFileSync(path);
        const all = Buffer.concat(chunks);
        return isMessage(to) ? bodyOf(all) : all;
      },
      feed() {
        feeder?.write(bytes);
        if (from === 'socket') feeder?.end();
      },
      close() {
        source.destroy();
        destination.destroy();
        for (const close of closers) close();
      },
    };
  }

  #file(bytes: Buffer, closers: (() => void)[]): Readable {
    const path = join(this.#directory, `from-${names++}`);
    writeFileSync(path, bytes);
    closers.push(() => rmSync(path, { force: true }));
    return createReadStream(path);
  }

  async #pair(encrypted: boolean, closers: (() => void)[]): Promise<{ accepted: Socket; client: Socket }> {
    const server = encrypted ? this.#tls : this.#tcp;
    const client = connect(server, encrypted);
    const [accepted] = (await once(server, encrypted ? 'secureConnection' : 'connection')) as [Socket];
    closers.push(() => {
      client.destroy();
      accepted.destroy();
    });
    return { accepted, client };
  }

  async #exchange(
    length: number,
    encrypted: boolean,
    closers: (() => void)[],
  ): Promise<{ request: IncomingMessage; response: ServerResponse; client: Socket }> {
    const server = encrypted ? this.#https : this.#http;
    const client = connect(server, encrypted);
    client.write(`PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n`);
    const [request, response] = (await once(server, 'request')) as [IncomingMessage, ServerResponse];
    closers.push(() => client.destroy());
    return { request, response, client };
  }
}

function connect(server: Server, encrypted: boolean): Socket {
  const to = { port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true };
  const client = encrypted ? tls.connect({ ...to, ...clientOptionsOf() }) : net.connect(to);
  client.on('error', () => {});
  return client;
}

/** As far as it has come. */
function bodyOf(bytes: Buffer): Buffer {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return Buffer.alloc(0);
  const rest = bytes.subarray(end + 4);
  if (!/^transfer-encoding: chunked$/im.test(bytes.toString('latin1', 0, end))) return rest;
  const parts: Buffer[] = [];
  for (let at = 0; at < rest.length; ) {
    const line = rest.indexOf('\r\n', at);
    if (line < 0) break;
    const size = Number.parseInt(rest.toString('latin1', at, line), 16);
    if (size === 0) break;
    parts.push(rest.subarray(line + 2, line + 2 + size));
    at = line + 4 + size;
  }
  return Buffer.concat(parts);
}
