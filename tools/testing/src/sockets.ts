/** Connected sockets, TCP and unix, that are gone when their test is through; and what arrives on them. */
import { once } from 'node:events';
import net, { type AddressInfo, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { removeDirectory, temporaryDirectory } from './files.js';

export type Kind = 'tcp' | 'unix';

export interface Listening {
  readonly server: Server;
  readonly address: NetConnectOpts;
  /** Stops listening. Connections stay. */
  close(): void;
}

/** Where a server listens, as `net.connect` takes it. */
export function addressOf(server: Server): NetConnectOpts {
  const name = server.address() as AddressInfo | string;
  return typeof name === 'string' ? { path: name } : { port: name.port, host: '127.0.0.1' };
}

/** A port of 127.0.0.1 on which nobody listens: somebody else may be first to take it. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * Resets a connection. One that is being ended is destroyed instead: libuv refuses to reset it, and Node then leaks the
 * handle, and spins for ever when the process ends. So is an encrypted one, and one that is not of TCP, which Node cannot
 * reset.
 */
export function resetConnection(socket: Socket): void {
  const isPlain = socket.remoteAddress !== undefined && !(socket as { encrypted?: boolean }).encrypted;
  if (socket.writableEnded || !isPlain) socket.destroy();
  else socket.resetAndDestroy();
}

/** A listening server, both halves of whose connections are ended by hand. */
export async function listen(
  kind: Kind,
  onConnection: (socket: Socket) => void,
  options: net.ServerOpts = {},
): Promise<Listening> {
  const directory = kind === 'unix' ? temporaryDirectory(undefined, 'unix') : undefined;
  const server = net.createServer({ allowHalfOpen: true, ...options }, onConnection);
  if (directory === undefined) server.listen(0, '127.0.0.1');
  else server.listen(join(directory, 's'));
  await once(server, 'listening');
  const close = (): void => {
    server.close();
    if (directory !== undefined) removeDirectory(directory);
  };
  return { server, address: addressOf(server), close };
}

export interface Pair {
  /** The accepted end: what a server has. */
  readonly server: Socket;
  readonly client: Socket;
}

/** A connected pair, which the caller destroys. */
export async function connectedPair(kind: Kind, options: net.ServerOpts = {}): Promise<Pair> {
  const { promise, resolve } = withResolvers<Socket>();
  const { address, close } = await listen(kind, resolve, options);
  const client = net.connect({ ...address, allowHalfOpen: true });
  const [server] = await Promise.all([promise, once(client, 'connect')]);
  close();
  return { server, client };
}

/** Uses a connected pair of sockets; both are closed when it resolves or rejects. Their errors are left to the caller. */
export async function withPair<T>(kind: Kind, use: (pair: Pair) => Promise<T>): Promise<T> {
  const pair = await connectedPair(kind);
  try {
    return await use(pair);
  } finally {
    await Promise.all([pair.server, pair.client].map(destroyed));
  }
}

/** Destroys a socket, and waits until its descriptor is closed. */
export async function destroyed(socket: Socket): Promise<void> {
  if (socket.closed) return;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await closed;
}

/**
 * Everything up to the end of a stream. Rejects if it fails, or closes before its end. An async iterator would not do:
 * it destroys a socket whose other half is still open.
 */
export function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('error', reject);
    stream.once('close', () => reject(new Error('closed before its end')));
  });
}

/** Everything that arrives up to the end, an error or the closing, whichever comes first. Never rejects. */
export function arrival(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    if ((stream as Socket).closed || (stream as Socket).readableEnded) resolve(Buffer.concat(chunks));
    for (const event of ['end', 'error', 'close']) stream.once(event, () => resolve(Buffer.concat(chunks)));
  });
}

/** Collects without waiting for an end: what has arrived so far can be asked at any time. */
export function gather(stream: NodeJS.ReadableStream): { bytes(): Buffer } {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { bytes: () => Buffer.concat(chunks) };
}

/** `Promise.withResolvers`, which Node has from 22 on. */
export function withResolvers<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
