/** Whatever touches a connection whose body is spliced gets it back at the exact byte: the file is whole, or there is an error. */
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream, splice } from '@zerocopy/splice-pipe';
import type { ExecutionContext } from 'ava';
import { kernelTest, MiB, pattern, pause, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const BODY = pattern(2 * MiB);

/** How an upload goes to its file. */
const ways = {
  async pipeline(request: IncomingMessage, path: string): Promise<unknown> {
    await pipeline(request, createSpliceWriteStream(path));
    return undefined;
  },
  async splice(request: IncomingMessage, path: string): Promise<unknown> {
    const fd = openSync(path, 'w');
    try {
      return (await splice(request, fd)).bytes;
    } finally {
      closeSync(fd);
    }
  },
};

/** What was heard of the connection by a touch that listens; invented bytes are zeros, and the body has no two in a row. */
type Heard = Buffer[];

const touches: Record<string, (socket: Socket, heard: Heard, request: IncomingMessage) => unknown> = {
  resume: (socket) => socket.resume(),
  'pause and resume in one tick': (socket) => socket.pause().resume(),
  async 'pause, and resume later'(socket) {
    socket.pause();
    await pause(30);
    socket.resume();
  },
  async 'pause and resume, many times'(socket) {
    for (let n = 0; n < 20; n++) {
      socket.pause();
      if (n % 3 > 0) await pause(n % 3);
      socket.resume();
      await pause(1);
    }
  },
  read: (socket) => socket.read(),
  "a 'data' listener": (socket, heard) => socket.on('data', (chunk: Buffer) => heard.push(chunk)),
  "a 'data' listener, taken off again": (socket) => {
    const listener = (): void => {};
    socket.on('data', listener);
    setTimeout(() => socket.off('data', listener), 5);
  },
  "a 'readable' listener that reads": (socket) => {
    socket.on('readable', () => {
      while (socket.read() !== null);
    });
    setTimeout(() => socket.destroy(), 300); // the parser gets nothing any more, as without us
  },
  'a pipe': (socket) => socket.pipe(new PassThrough()).resume(),
  'a time-out that destroys': (socket) => socket.setTimeout(60_000, () => socket.destroy()),
  'unref and ref': (socket) => socket.unref().ref(),
  'cork and uncork': (socket) => {
    socket.cork();
    socket.uncork();
  },
  'an answer at once': (_socket, _heard, request) => {
    (request as IncomingMessage & { answer: ServerResponse }).answer.writeProcessing();
  },
};

interface Outcome {
  readonly error?: NodeJS.ErrnoException;
  readonly bytes?: unknown;
  readonly written: Buffer;
  readonly next: string;
}

async function upload(way: keyof typeof ways, touch: (typeof touches)[string], heard: Heard): Promise<Outcome> {
  let outcome: Omit<Outcome, 'next'> | undefined;
  const server = http.createServer((request, response) => {
    if (request.method === 'GET') return void response.end('next');
    const path = join(directory, `touched-${names++}`);
    Object.assign(request, { answer: response });
    setTimeout(() => void touch(request.socket, heard, request), 20);
    ways[way](request, path)
      .then(
        (bytes) => ({ bytes }),
        (error: NodeJS.ErrnoException) => ({ error }),
      )
      .then((settled) => {
        outcome = { ...settled, written: readFileSync(path) };
        response.end('done');
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => {});
  let answers = '';
  client.on('data', (chunk: Buffer) => {
    answers += chunk.toString('latin1');
  });
  client.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${BODY.length}\r\n\r\n`);
  for (let at = 0; at < BODY.length && !client.destroyed; at += 64 * 1024) {
    client.write(BODY.subarray(at, at + 64 * 1024));
    await pause(2);
  }
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => outcome !== undefined, 'the upload settles');
  await until(() => client.closed || /next$/.test(answers), 'the next request is answered, or the connection closed');
  client.destroy();
  server.closeAllConnections();
  server.close();
  return { ...(outcome as Outcome), next: answers };
}

async function check(t: ExecutionContext, way: keyof typeof ways, name: string): Promise<void> {
  const heard: Heard = [];
  const { error, bytes, written, next } = await upload(way, touches[name] as (typeof touches)[string], heard);
  if (error === undefined) {
    t.is(written.length, BODY.length, `${name}: the whole body`);
    t.true(written.equals(BODY), `${name}: in its order`);
    if (way === 'splice') t.is(bytes, BODY.length);
    if (!name.endsWith('that reads')) t.regex(next, /done.*next$/s); // else what follows the body has been read
  } else {
    t.true(written.equals(BODY.subarray(0, written.length)), `${name}: ${error.message}`);
  }
  for (const chunk of heard) t.false(chunk.includes(Buffer.alloc(16)), `${name}: no invented bytes`);
}

for (const way of Object.keys(ways) as (keyof typeof ways)[]) {
  for (const name of Object.keys(touches)) {
    kernelTest(`by ${way}, the connection touched by ${name}: whole, or an error`, (t) => check(t, way, name));
  }
}
