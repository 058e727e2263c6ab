/** A thousand clients of a command that is restarted: not one request may fail. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import net, { type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Command, listening, start } from './command.js';

export interface Load {
  readonly connections: number;
  readonly milliseconds: number;
}

export interface Outcome {
  readonly requests: number;
  readonly failures: readonly string[];
  /** Exit statuses, of each instance. */
  readonly statuses: readonly (number | null)[];
}

/** Between two requests of a client; less than the time for which a server keeps an idle connection. */
const PAUSE = 2000;
/** Requests on one connection. */
const EACH = 3;
const sha = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

/** A client, again and again, until `until`. @returns how often. */
type Client = (port: number, index: number, until: number) => Promise<number>;

/** @param args of the command, with fd:3 for where it listens. */
async function underLoad(
  args: readonly string[],
  client: Client,
  { connections, milliseconds }: Load,
): Promise<Outcome> {
  const socket = await listening();
  const failures: string[] = [];
  const statuses: (number | null)[] = [];
  let requests = 0;
  let command: Command = await start(args, socket.fd, /fd:3|tcp:|http:/);
  const until = performance.now() + milliseconds;
  const clients = Array.from({ length: connections }, async (_, index) => {
    await delay((index / connections) * PAUSE);
    do {
      try {
        const made = await client(socket.port, index, until);
        requests += made; // not in one: what others have counted meanwhile would be lost
      } catch (error) {
        failures.push(`client ${index}: ${(error as Error).message}`);
      }
    } while (performance.now() < until);
  });
  await delay(milliseconds / 2);
  // As systemd restarts a service: stopped, then started; what connects meanwhile waits in the socket.
  statuses.push(await command.stop());
  command = await start(args, socket.fd, /fd:3|tcp:|http:/);
  await Promise.all(clients);
  statuses.push(await command.stop());
  socket.close();
  return { requests, failures, statuses };
}

interface File {
  readonly path: string;
  readonly digest: string;
}

/**
 * One request. As every HTTP client does (RFC 9112, 9.3.1), it asks again on a new connection where one that had been used
 * before was closed before a byte of the answer: where this process is late, the time of keep-alive is over.
 */
async function ask(port: number, file: File, agent: http.Agent): Promise<void> {
  const request = http.get({ host: '127.0.0.1', port, path: file.path, agent });
  let response: IncomingMessage;
  try {
    [response] = (await once(request, 'response')) as [IncomingMessage];
  } catch (error) {
    if (request.reusedSocket) return ask(port, file, agent);
    throw error;
  }
  const hash = createHash('sha256');
  for await (const chunk of response) hash.update(chunk);
  if (response.statusCode !== 200 || hash.digest('hex') !== file.digest) throw new Error('a wrong answer');
}

/** `zerocopy serve -l fd:3 --workers 2`. */
export async function restartServe(load: Load): Promise<Outcome> {
  const root = mkdtempSync(join(tmpdir(), 'zerocopy-restart-'));
  const files = [1000, 5000, 60_000].map((size, index) => {
    const bytes = Buffer.alloc(size, `file ${index} `);
    writeFileSync(join(root, `file-${index}`), bytes);
    return { path: `/file-${index}`, digest: sha(bytes) };
  });
  const client: Client = async (port, index, until) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    let count = 0;
    try {
      while (count < EACH && (count === 0 || performance.now() < until)) {
        const file = files[(index + count) % files.length] as File;
        await ask(port, file, agent);
        count++;
        await delay(PAUSE);
      }
      return count;
    } finally {
      agent.destroy();
    }
  };
  try {
    return await underLoad(['serve', root, '-l', 'fd:3', '--workers', '2', '--log', 'none'], client, load);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

async function echo(): Promise<Server> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1', 4096);
  await once(server, 'listening');
  return server;
}

/** `zerocopy proxy fd:3 … --workers 2`, in front of two that send back what they get. */
export async function restartProxy(load: Load): Promise<Outcome> {
  const behind = [await echo(), await echo()];
  const targets = behind.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`);
  const pieces = [100, 5000, 50_000].map((size) => Buffer.alloc(size, 'piece '));
  const client: Client = async (port, index, until) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const sent = createHash('sha256');
    const got = createHash('sha256');
    let count = 0;
    const ended = (async () => {
      for await (const chunk of socket) got.update(chunk);
    })();
    ended.catch(() => {}); // it is looked at below
    await once(socket, 'connect');
    while (count < EACH && (count === 0 || performance.now() < until)) {
      const piece = pieces[(index + count) % pieces.length] as Buffer;
      sent.update(piece);
      socket.write(piece);
      count++;
      await Promise.race([delay(PAUSE / 2), ended]);
    }
    socket.end();
    await ended;
    if (sent.digest('hex') !== got.digest('hex')) throw new Error('other bytes have come back');
    return count;
  };
  try {
    return await underLoad(['proxy', 'fd:3', ...targets, '--workers', '2'], client, load);
  } finally {
    for (const server of behind) server.close();
  }
}
