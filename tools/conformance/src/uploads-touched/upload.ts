/** One upload whose connection is touched, and what is wrong with how it ended. */
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import http, { type IncomingMessage, type Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { createSpliceWriteStream, receiveFile, splice } from '@zerocopy/splice-pipe';
import { type Touch, touches } from './touches.js';

/** An upload as it was drawn. */
export interface Plan {
  readonly way: 'pipeline' | 'splice' | 'receiveFile' | 'receiveFile, atomic';
  /** Whether the body is sent in chunks, without a Content-Length. */
  readonly chunked: boolean;
  /** Of the body, in bytes. */
  readonly size: number;
  /** Bytes that the client sends at a time, and the milliseconds that it waits after each; 0: one turn of the loop. */
  readonly piece: number;
  readonly wait: number;
  /** The names of touches, each after as many milliseconds. */
  readonly touches: readonly { readonly name: string; readonly after: number }[];
}

/** Longer than any upload takes, in milliseconds. */
const HANG = 15_000;

/** Serves uploads, one for each number that is their path. */
export class TouchedUploads {
  readonly #directory: string;
  readonly #server: Server;
  readonly #serve = new Map<string, (request: IncomingMessage) => Promise<void>>();
  /** Uploads that ended well, and with an error. */
  readonly ends: { whole: number; failed: number } = { whole: 0, failed: 0 };
  #uploads = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.#server = http.createServer((request, response) => {
      const serve = this.#serve.get(request.url as string);
      if (serve === undefined) response.end('next');
      else
        serve(request).then(
          () => response.end('done'),
          () => response.destroy(),
        );
    });
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** @returns what is wrong, or undefined. */
  async run(plan: Plan, body: Buffer): Promise<string | undefined> {
    const url = `/${this.#uploads++}`;
    const path = join(this.#directory, url);
    const atomic = plan.way === 'receiveFile, atomic';
    const heard: Buffer[] = [];
    let settle: (error: Error | null) => void = () => {};
    const settled = new Promise<Error | null>((resolve) => {
      settle = resolve;
    });
    this.#serve.set(url, async (request) => {
      for (const { name, after } of plan.touches) {
        void pause(after).then(() => {
          if (!request.complete && !request.destroyed) {
            return (touches[name] as Touch)({ request, hear: (chunk) => heard.push(Buffer.from(chunk)) });
          }
        });
      }
      const error = await write(plan, request, path);
      settle(error);
      if (error !== null) throw error;
    });
    const client = net.connect((this.#server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
    let answers = '';
    client.on('data', (chunk: Buffer) => {
      answers += chunk.toString('latin1');
    });
    const framing = plan.chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`;
    client.write(`PUT ${url} HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n`);
    for (let at = 0; at < body.length && !client.destroyed; at += plan.piece) {
      const piece = body.subarray(at, at + plan.piece);
      if (plan.chunked) client.write(`${piece.length.toString(16)}\r\n`);
      client.write(piece);
      if (plan.chunked) client.write('\r\n');
      await pause(plan.wait);
    }
    if (plan.chunked) client.write('0\r\n\r\n');
    client.write('GET /next HTTP/1.1\r\nHost: x\r\n\r\n');
    const deadline = pause(HANG, 'hang' as const, { ref: false });
    try {
      const error = await Promise.race([settled, deadline]);
      if (error === 'hang') return 'it never settles';
      const written = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
      this.ends[error === null ? 'whole' : 'failed']++;
      if (!written.equals(body.subarray(0, written.length)))
        return `what was written is not the body (${error?.message})`;
      if (error !== null) return atomic && existsSync(path) ? 'a part of it has the name' : undefined;
      if (written.length !== body.length) return `a success with ${written.length} of ${body.length} bytes`;
      const all = Buffer.concat(heard);
      if (heard.length > 0 && all.includes(0)) return 'a listener has heard bytes that were invented';
      for (const until = Date.now() + HANG; !client.closed && !answers.endsWith('next'); await pause(1)) {
        if (Date.now() > until) return `the next request is not answered: ${answers.slice(-40)}`;
      }
      return undefined;
    } finally {
      this.#serve.delete(url);
      client.destroy();
      rmSync(path, { force: true });
    }
  }
}

async function write({ way }: Plan, request: IncomingMessage, path: string): Promise<Error | null> {
  if (way === 'receiveFile' || way === 'receiveFile, atomic') {
    return receiveFile(request, path, { atomic: way !== 'receiveFile' }).then(
      () => null,
      (error: Error) => error,
    );
  }
  const fd = way === 'splice' ? openSync(path, 'w') : undefined;
  try {
    if (fd === undefined) await pipeline(request, createSpliceWriteStream(path));
    else await splice(request, fd);
    return null;
  } catch (error) {
    return error as Error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
