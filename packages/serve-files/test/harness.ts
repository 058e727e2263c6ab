/** What the tests share: a directory to serve, servers that clean up, and requests written by hand on a socket. */
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import http, { type RequestListener, type Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { type ServeFilesOptions, serveFiles } from '@zerocopy/serve-files';
import { temporaryDirectory } from '@zerocopy/testing/files';

export { KiB, MiB, pattern } from '@zerocopy/testing/bytes';
export { temporaryDirectory } from '@zerocopy/testing/files';
export { openDescriptors } from '@zerocopy/testing/holdings';
export { pause, until } from '@zerocopy/testing/waiting';

/** Writes files, by their paths, into a directory of their own. */
export function tree(files: Readonly<Record<string, string | Buffer>>): string {
  const root = temporaryDirectory();
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
  return root;
}

export async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A listening server that is gone, with all its connections, when the callback is through. */
export async function withListener(
  listener: RequestListener,
  use: (port: number, server: Server) => Promise<void>,
): Promise<void> {
  const server = http.createServer(listener);
  const port = await listening(server);
  try {
    await use(port, server);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** {@link serveFiles} as the listener. */
export function withFiles(
  root: string,
  options: ServeFilesOptions,
  use: (port: number, server: Server) => Promise<void>,
): Promise<void> {
  return withListener(serveFiles(root, options) as RequestListener, use);
}

export interface Answer {
  readonly status: number;
  /** By names in lower case; several lines are joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Asking {
  readonly method?: string;
  /** As lines. */
  readonly headers?: readonly string[];
  readonly version?: '1.0' | '1.1';
}

/** Splits what came on a connection into a head and all that follows. */
export function parseAnswer(bytes: Buffer): Answer {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) throw new Error(`no head of a response: ${JSON.stringify(bytes.toString('latin1'))}`);
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { status: Number(statusLine.split(' ')[1]), headers, body: bytes.subarray(end + 4) };
}

/** One request, byte for byte as given, on a connection of its own. */
export async function ask(port: number, target: string, asking: Asking = {}): Promise<Answer> {
  const { method = 'GET', headers = [], version = '1.1' } = asking;
  const lines = [`${method} ${target} HTTP/${version}`, 'Host: localhost', 'Connection: close', ...headers, '', ''];
  return parseAnswer(await converse(port, Buffer.from(lines.join('\r\n'), 'latin1')));
}

/** Everything that a server answers to some bytes, until it closes. */
export async function converse(port: number, bytes: Buffer): Promise<Buffer> {
  const socket = net.connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {}); // a reset is an end as well
  socket.write(bytes);
  await once(socket, 'close');
  return Buffer.concat(chunks);
}
