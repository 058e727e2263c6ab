/** HTTP bodies that break off where Node's streams do not say so, and messages that have none: by receiveFile and by splice. */
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2, { type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Session } from 'node:http2';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TransferError, TransferResult } from '@zerocopy/core-syscalls';
import { createSpliceWriteStream, receiveFile, splice } from '@zerocopy/splice-pipe';
import test from 'ava';
import { KiB, MiB, pattern, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const BODY = pattern(16 * KiB);

type Source = IncomingMessage | Http2ServerRequest;
/** How a body gets into a file. */
const ways: Readonly<Record<string, (source: Source, path: string) => Promise<TransferResult>>> = {
  receiveFile: (source, path) => receiveFile(source, path),
  'receiveFile, atomic': (source, path) => receiveFile(source, path, { atomic: true }),
  splice(source, path) {
    const fd = openSync(path, 'w');
    return splice(source, fd).finally(() => closeSync(fd));
  },
};

/** What came of a body, and of the file that it went to. */
interface Outcome {
  readonly result?: TransferResult;
  readonly error?: TransferError;
  readonly file: Buffer | undefined;
}

interface Receiving {
  /** What a server answers to its one request. */
  handle(request: Source, response: ServerResponse | Http2ServerResponse): void;
  readonly outcome: Promise<Outcome>;
}

/** @param early ends the response before the body has come. */
function receiving(way: string, early: boolean): Receiving {
  const parent = join(directory, `broken-${names++}`);
  mkdirSync(parent);
  const path = join(parent, 'file');
  let tell: (outcome: Outcome) => void = () => {};
  const outcome = new Promise<Outcome>((resolve) => {
    tell = resolve;
  });
  const fileOf = (): Buffer | undefined => (readdirSync(parent).length === 0 ? undefined : readFileSync(path));
  return {
    outcome,
    handle(request, response) {
      ways[way]?.(request, path).then(
        (result) => tell({ result, file: fileOf() }),
        (error: TransferError) => tell({ error, file: fileOf() }),
      );
      response.on('error', () => {});
      if (early) response.end('early');
    },
  };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

// The frames of HTTP/2 by hand: Node's own client ends a stream before it resets it.
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const literal = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
const field = (name: string, value: string): Buffer => Buffer.concat([Buffer.from([0]), literal(name), literal(value)]);
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]);
const PUT = frame(
  1,
  4,
  1,
  Buffer.concat([field(':method', 'PUT'), field(':path', '/'), field(':scheme', 'http'), field(':authority', 'x')]),
);
const data = (bytes: Buffer, last = false): Buffer => frame(0, last ? 1 : 0, 1, bytes);
const reset = (code: number): Buffer => frame(3, 0, 1, Buffer.from([0, 0, 0, code]));
const [CANCEL, INTERNAL_ERROR] = [8, 2];
const PING = frame(6, 0, 0, Buffer.from('from the'));
const PONG = frame(6, 1, 0, Buffer.from('from the'));

/** A client that has sent the head of a request, and `sent`, which the server has got. */
async function http2Client(port: number, sent: Buffer): Promise<Socket> {
  const client = net.connect(port, '127.0.0.1').on('error', () => {});
  let answer = Buffer.alloc(0);
  client.on('data', (chunk: Buffer) => {
    answer = Buffer.concat([answer, chunk]);
  });
  client.write(Buffer.concat([PREFACE, PUT, sent, PING]));
  await until(() => answer.includes(PONG), 'the answer to the ping');
  return client;
}

/** Uses a server of HTTP/2 for one request. */
async function serving({ handle }: Receiving, use: (port: number) => Promise<void>): Promise<void> {
  const sessions: ServerHttp2Session[] = [];
  const server = http2.createServer(handle);
  server.on('session', (session) => sessions.push(session.on('error', () => {})));
  try {
    await use(await listening(server as unknown as Server));
  } finally {
    for (const session of sessions) session.destroy();
    server.close();
  }
}

for (const way of Object.keys(ways)) {
  test(`HTTP/2, no length announced: a stream that is reset is no whole body, ${way}`, async (t) => {
    for (const early of [false, true]) {
      for (const ending of [reset(CANCEL), reset(INTERNAL_ERROR), 'closed'] as const) {
        const taken = receiving(way, early);
        await serving(taken, async (port) => {
          const client = await http2Client(
            port,
            Buffer.concat([data(BODY.subarray(0, KiB)), data(BODY.subarray(KiB))]),
          );
          if (ending === 'closed') client.destroy();
          else client.write(ending);
          const { error, file } = await taken.outcome;
          t.is(error?.code, 'ECONNRESET', `early: ${early}`);
          if (way.includes('atomic')) t.is(file, undefined);
          else t.true(file?.equals(BODY.subarray(0, file.length)));
          client.destroy();
        });
      }
    }
  });

  test(`HTTP/2: what has ended is whole, also answered early, ${way}`, async (t) => {
    for (const early of [false, true]) {
      const taken = receiving(way, early);
      await serving(taken, async (port) => {
        const client = await http2Client(port, data(BODY));
        client.write(data(Buffer.alloc(0), true));
        const { result, file } = await taken.outcome;
        t.is(result?.bytes, BODY.length);
        t.true(file?.equals(BODY));
        client.destroy();
      });
    }
  });

  test(`HTTP/1: a client that goes away after an early answer ends it, ${way}`, async (t) => {
    for (const framing of ['Content-Length: 100000', 'Transfer-Encoding: chunked']) {
      const { handle, outcome } = receiving(way, true);
      const server = http.createServer(handle);
      const client = net.connect(await listening(server), '127.0.0.1').on('error', () => {});
      client.write(`PUT / HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n`);
      client.write(framing.includes('chunked') ? '5\r\nabcde\r\n' : 'abcde');
      await once(client, 'data');
      client.destroy();
      const { error } = await outcome;
      t.like(error, { code: 'ECONNRESET' });
      server.close();
    }
  });

  test(`a response without a body, whatever length it names, is whole: ${way}`, async (t) => {
    for (const status of ['HEAD', '204 No Content', '304 Not Modified']) {
      const length = String(2 * MiB);
      const server = http.createServer((request, response) => {
        if (status === 'HEAD') response.setHeader('Content-Length', length).end();
        else request.socket.end(`HTTP/1.1 ${status}\r\nContent-Length: ${length}\r\n\r\n`);
      });
      const method = status === 'HEAD' ? 'HEAD' : 'GET';
      const request = http.request({ port: await listening(server), host: '127.0.0.1', method, agent: false }).end();
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      const { handle, outcome } = receiving(way, false);
      handle(response, { on: () => {} } as unknown as ServerResponse);
      const { result, file } = await outcome;
      t.is(result?.bytes, 0, status);
      t.is(file?.length, 0);
      server.closeAllConnections();
      server.close();
    }
  });
}

test('a client that goes away after an early answer: a stream writes what it has collected of the body', async (t) => {
  const path = join(directory, 'collected');
  const stream = createSpliceWriteStream(path);
  const server = http.createServer((request, response) => {
    // Node's pipeline is told nothing of it either: see the head of cut-off-body.ts.
    pipeline(request, stream).catch(() => {});
    request.once('data', () => response.end('early'));
  });
  const client = net.connect(await listening(server), '127.0.0.1').on('error', () => {});
  client.write('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabcde');
  await once(client, 'data');
  client.destroy();
  await until(() => stream.bytesWritten === 5, 'what has come is written');
  t.is(readFileSync(path, 'latin1'), 'abcde');
  stream.destroy();
  server.close();
});
