/** What the tests share: files with recognisable bytes, servers that clean up, and a way to record events. */
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import http, { type RequestListener, type Server } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { feature, libcStatus } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

export const KiB = 1024;
export const MiB = 1024 * KiB;

const available = libcStatus().available ? feature('sendfile') : { available: false, reason: 'no system calls here' };
/** For tests of the kernel path. Where it cannot be taken they are skipped, and say why. */
export const kernelTest = (available.available ? test : test.skip) as TestFn;
if (!available.available) test.skip(`the kernel path: ${available.reason}`, () => {});
const warmth = feature('preadvNowait');
/** For tests of small files that are copied with the headers, which is done where it can be told that they are warm. */
export const smallTest = (warmth.available ? kernelTest : test.skip) as TestFn;
if (!warmth.available) test.skip(`small files with the headers: ${warmth.reason}`, () => {});

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-sendfile-'));
  // No hook of ava's: it runs none where every test is skipped.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Bytes in which every position can be told from its neighbours and from a block away. */
export function pattern(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length; at++) buffer[at] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  return buffer;
}

export function writeFile(path: string, content: Buffer): string {
  const fd = openSync(path, 'w');
  writeSync(fd, content);
  closeSync(fd);
  return path;
}

/** A listening server that is gone, with all its connections, when the callback is through. */
export async function withHttpServer(
  listener: RequestListener,
  use: (port: number, server: Server) => Promise<void>,
): Promise<void> {
  const server = http.createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use((server.address() as AddressInfo).port, server);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** A connected pair of sockets, TCP or unix. */
export async function withSockets(
  kind: 'tcp' | 'unix',
  use: (server: Socket, client: Socket) => Promise<void>,
): Promise<void> {
  const directory = kind === 'unix' ? mkdtempSync(join(tmpdir(), 'zerocopy-unix-')) : undefined;
  const listener = net.createServer({ allowHalfOpen: true });
  if (directory === undefined) listener.listen(0, '127.0.0.1');
  else listener.listen(join(directory, 's'));
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const address = listener.address();
  const client =
    typeof address === 'string'
      ? net.connect({ path: address, allowHalfOpen: true })
      : net.connect({ port: (address as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [server] = (await accepted) as [Socket];
  try {
    await use(server, client);
  } finally {
    server.destroy();
    client.destroy();
    listener.close();
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  }
}

export async function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export function get(port: number, options: http.RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, agent: false, ...options }, (response) => {
      collect(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      );
    });
    request.on('error', reject);
    request.end();
  });
}

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come true within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Writes down the events of a stream, in order, each by its name. */
export function record(log: string[], label: string, emitter: NodeJS.EventEmitter, events: readonly string[]): void {
  for (const event of events) {
    emitter.on(event, (...args: unknown[]) => {
      const code = (args[0] as { code?: unknown } | undefined)?.code;
      log.push(`${label} ${event}${typeof code === 'string' ? ` ${code}` : ''}`);
    });
  }
}
