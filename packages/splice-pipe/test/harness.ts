/** What the tests share: sockets that clean up, recognisable bytes, and a peer in another process. */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

export const KiB = 1024;
export const MiB = 1024 * KiB;

const splice = feature('splice');
/** For tests of the kernel path. Where it cannot be taken they are skipped, and say why. */
export const kernelTest = (splice.available ? test : test.skip) as TestFn;
/** The same for tests that look at what the whole process holds: one at a time, before all others of the file. */
export const kernelSerial = (splice.available ? test.serial : test.serial.skip) as TestFn;
if (!splice.available) test.skip(`the kernel path: ${splice.reason}`, () => {});
const tee = feature('tee');
/** For tests of tee by the kernel. */
export const teeTest = (tee.available ? kernelTest : test.skip) as TestFn;
if (!tee.available) test.skip(`tee by the kernel: ${tee.reason}`, () => {});
/** What tee tells where it copies for the reason given: that the kernel has no tee comes before that. */
export const teeFallback = (reason: string): string => tee.reason ?? reason;

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-splice-'));
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

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));

export type Kind = 'tcp' | 'unix';

/** A listening server of either kind, and how to reach it. */
export async function listen(
  kind: Kind,
  directory: string,
  onConnection: (socket: Socket) => void,
): Promise<{ server: Server; address: net.NetConnectOpts; close(): void }> {
  const server = net.createServer({ allowHalfOpen: true }, onConnection);
  if (kind === 'tcp') server.listen(0, '127.0.0.1');
  else server.listen(join(directory, `s${Math.random().toString(36).slice(2)}`));
  await once(server, 'listening');
  const name = server.address() as AddressInfo | string;
  const address = typeof name === 'string' ? { path: name } : { port: name.port, host: '127.0.0.1' };
  return { server, address, close: () => server.close() };
}

export interface Pair {
  /** Accepted: what a server has. */
  readonly server: Socket;
  readonly client: Socket;
}

/** Uses a connected pair of sockets, and destroys them. */
export async function withPair<T>(kind: Kind, directory: string, use: (pair: Pair) => Promise<T>): Promise<T> {
  let accepted: (socket: Socket) => void = () => {};
  const acceptance = new Promise<Socket>((resolve) => {
    accepted = resolve;
  });
  const { address, close } = await listen(kind, directory, accepted);
  const client = net.connect({ ...address, allowHalfOpen: true });
  const server = await acceptance;
  close();
  try {
    return await use({ server, client });
  } finally {
    server.destroy();
    client.destroy();
  }
}

/** Everything up to the end. Not by an iterator: that would destroy a socket whose other half is still open. */
export function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('error', reject);
    stream.once('close', () => reject(new Error('closed before its end')));
  });
}

/** Collects without ending anything: what has arrived can be asked at any time. */
export function gather(socket: Socket): { bytes(): Buffer } {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { bytes: () => Buffer.concat(chunks) };
}

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come true within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });

/** A child that plays both peers: see fixtures/peer.ts. */
export class Peer {
  readonly #child: ChildProcess;
  #asked = 0;

  constructor() {
    this.#child = fork(fixture('peer'), { stdio: 'inherit' });
    // The test ends by what it waits for, not by the child; and the child ends with its channel.
    this.#child.unref();
    this.#child.channel?.unref();
    this.#child.setMaxListeners(0);
  }

  /** Asks, and waits for the answer to this very question. */
  ask<Answer>(question: Record<string, unknown>): Promise<Answer> {
    const id = Math.random();
    return new Promise((resolve, reject) => {
      const onMessage = (answer: { id: number; error?: string } & Answer): void => {
        if (answer.id !== id) return;
        this.#child.off('message', onMessage);
        if (--this.#asked === 0) this.#child.channel?.unref();
        if (answer.error !== undefined) reject(new Error(answer.error));
        else resolve(answer);
      };
      this.#child.on('message', onMessage);
      if (this.#asked++ === 0) this.#child.channel?.ref();
      this.#child.send({ ...question, id });
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
