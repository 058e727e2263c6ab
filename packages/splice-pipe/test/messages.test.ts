/** HTTP messages as ends of a splice: their framing is kept, whichever way the bytes go. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { splice } from '@zerocopy/splice-pipe';
import { collect, kernelTest, pattern, pause, sha256, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();
const body = pattern(700_000);

/** A server, and what one raw connection gets of it for these requests. */
async function withServer(
  handler: (request: IncomingMessage, response: ServerResponse) => Promise<unknown>,
  requests: string,
): Promise<Buffer> {
  let failed: (error: unknown) => void = () => {};
  const failure = new Promise<never>((_resolve, reject) => {
    failed = reject;
  });
  const server = http.createServer((request, response) => void handler(request, response).catch(failed));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.write(requests);
  try {
    return await Promise.race([collect(client), failure]);
  } finally {
    client.destroy();
    server.close();
  }
}

/** The bodies of the responses in `bytes`, whose heads say a length. */
function bodiesOf(bytes: Buffer): Buffer[] {
  const bodies: Buffer[] = [];
  for (let rest = bytes; rest.length > 0; ) {
    const head = rest.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(rest.subarray(0, head).toString())?.[1]);
    bodies.push(rest.subarray(head + 4, head + 4 + length));
    rest = rest.subarray(head + 4 + length);
  }
  return bodies;
}

const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
const LAST = 'GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

/** A socket that brings `bytes`, and ends. */
async function withBytes<T>(bytes: Buffer, use: (source: Socket) => Promise<T>): Promise<T> {
  return withPair('tcp', directory, ({ server, client }) => {
    client.end(bytes);
    return use(server);
  });
}

kernelTest('into a response with a Content-Length: spliced, in its place among pipelined ones', async (t) => {
  const bytes = await withServer(
    async (request, response) => {
      if (request.url === '/last') return response.setHeader('Content-Length', 4).end('last');
      await withBytes(body, async (source) => {
        response.setHeader('Content-Length', body.length);
        t.like(await splice(source, response), { bytes: body.length, method: 'splice' });
        response.end();
      });
    },
    GET + GET + LAST,
  );
  t.deepEqual(bodiesOf(bytes).map(sha256), [sha256(body), sha256(body), sha256(Buffer.from('last'))]);
});

kernelTest(
  'never more than the Content-Length, whatever the way; what there is no room for stays in the source',
  async (t) => {
    const ways: Record<string, (source: Socket, response: ServerResponse) => Promise<unknown>> = {
      spliced: (source, response) => splice(source, response),
      async 'in two pieces'(source, response) {
        await splice(source, response, { length: 3 });
        await splice(source, response);
      },
      async copied(source, response) {
        const write = response.write.bind(response) as (...args: unknown[]) => boolean;
        response.write = (...args: unknown[]) => write(...args); // as compression middleware
        t.regex((await splice(source, response)).fallbackReason ?? '', /compression/);
      },
    };
    for (const [way, move] of Object.entries(ways)) {
      for (const room of [0, 10, 200_000]) {
        const bytes = await withServer(async (request, response) => {
          if (request.url === '/last') return response.setHeader('Content-Length', 4).end('last');
          await withBytes(body, async (source) => {
            response.setHeader('Content-Length', room);
            await move(source, response);
            response.end();
            source.resume();
            t.is((await collect(source)).length, body.length - room, `${way} ${room}`);
          });
        }, GET + LAST);
        t.deepEqual(bodiesOf(bytes).map(String), [body.subarray(0, room).toString(), 'last'], `${way} ${room}`);
      }
    }
  },
);

kernelTest('into a response that is chunked, has no body, or ends with its connection', async (t) => {
  const chunked = await withServer(async (_request, response) => {
    await withBytes(Buffer.from('body'), async (source) => {
      t.like(await splice(source, response), { bytes: 4, method: 'copy' });
      response.end();
    });
  }, LAST);
  t.regex(String(chunked), /\r\n\r\n4\r\nbody\r\n0\r\n\r\n$/);
  const head = await withServer(async (request, response) => {
    if (request.url === '/last') return response.setHeader('Content-Length', 4).end('last');
    await withBytes(body, async (source) => {
      response.setHeader('Content-Length', body.length);
      t.like(await splice(source, response), { method: 'copy', fallbackReason: 'the HTTP message has no body' });
      response.end();
    });
  }, `HEAD / HTTP/1.1\r\nHost: x\r\n\r\n${LAST}`);
  t.regex(String(head), /^HTTP\/1.1 200 OK\r\n.*\r\n\r\nHTTP\/1.1 200 OK\r\n.*\r\n\r\nlast$/s);
  const old = await withServer(async (_request, response) => {
    await withBytes(body, async (source) => {
      response.flushHeaders(); // only then it is decided
      t.like(await splice(source, response), { bytes: body.length, method: 'splice' });
      response.end();
    });
  }, 'GET / HTTP/1.0\r\n\r\n');
  t.true(old.subarray(old.indexOf('\r\n\r\n') + 4).equals(body));
});

kernelTest(
  'a client’s request with a Content-Length, before it has a connection; its response to a file',
  async (t) => {
    const server = http.createServer(async (request, response) => {
      const got = await collect(request);
      response.setHeader('Content-Length', got.length).end(got);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const request = http.request({
      port: (server.address() as AddressInfo).port,
      host: '127.0.0.1',
      method: 'PUT',
      headers: { 'Content-Length': body.length },
    });
    const answered = once(request, 'response') as Promise<[IncomingMessage]>;
    await withBytes(body, async (source) => {
      t.like(await splice(source, request), { bytes: body.length, method: 'splice' });
    });
    request.end();
    const [response] = await answered;
    const file = await open(join(directory, 'response'), 'w');
    t.is((await splice(response, file)).bytes, body.length);
    await file.close();
    t.true(readFileSync(join(directory, 'response')).equals(body));
    server.close();
  },
);

kernelTest('a response that loses its connection fails the splice, and the source stays', async (t) => {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  client.write(GET);
  const [, response] = (await once(server, 'request')) as [IncomingMessage, ServerResponse];
  await withPair('tcp', directory, async ({ server: source, client: writer }) => {
    response.setHeader('Content-Length', 1_000_000_000);
    const moving = splice(source, response);
    writer.write('some');
    await pause(20);
    client.resetAndDestroy();
    await t.throwsAsync(moving, { code: 'ECONNRESET' });
    t.false(source.destroyed);
  });
  server.close();
});

kernelTest('a body that Node has thrown away before, because the response had ended, is no success', async (t) => {
  for (const size of [1000, 400_000]) {
    for (const framing of ['length', 'chunked'] as const) {
      let outcome: unknown;
      const server = http.createServer((request, response) => {
        response.end('early');
        response.on('finish', () => {
          setTimeout(async () => {
            const file = await open(join(directory, 'late'), 'w');
            outcome = await splice(request, file).catch((error: unknown) => error);
            await file.close();
          }, 20);
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const request = http.request({ port: (server.address() as AddressInfo).port, method: 'PUT', agent: false });
      if (framing === 'length') request.setHeader('Content-Length', size);
      request.on('error', () => {}).on('response', (response) => response.resume());
      request.end(Buffer.alloc(size));
      while (outcome === undefined) await pause(5);
      t.like(outcome, { code: 'ECONNRESET', bytes: 0 }, `${size} ${framing}`);
      request.destroy();
      server.closeAllConnections();
      server.close();
    }
  }
});
