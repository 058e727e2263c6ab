/** Bodies of HTTP messages, of programs that do not know of it: uploads, and both directions of a reverse proxy. */
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { PassThrough } from 'node:stream';
import { install, stats } from '@zerocopy/pipeline';
import test from 'ava';
import {
  collect,
  fresh,
  kernelTest,
  MiB,
  pattern,
  sha256,
  since,
  temporaryDirectory,
  withHttpServer,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3 * MiB + 7);
const uninstall = install();
test.after.always(uninstall);

/** A request whose body comes in two parts, and what is answered. */
async function put(port: number, body: Buffer, agent: http.Agent | false = false, headers = {}): Promise<Buffer> {
  const request = http.request({
    port,
    host: '127.0.0.1',
    method: 'PUT',
    agent,
    headers: { 'Content-Length': body.length, ...headers },
  });
  request.write(body.subarray(0, 20_000));
  setTimeout(() => request.end(body.subarray(20_000)), 10);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return collect(response);
}

/** A reverse proxy as people write it. */
const forwarding = (upstream: number, agent: http.Agent) => (request: IncomingMessage, response: ServerResponse) => {
  const { method, headers, url } = request;
  const forwarded = http.request({ port: upstream, host: '127.0.0.1', method, headers, path: url, agent }, (answer) => {
    response.writeHead(answer.statusCode as number, answer.headers);
    answer.on('error', () => response.destroy());
    answer.pipe(response);
  });
  forwarded.on('error', () => response.destroy());
  request.pipe(forwarded);
};

kernelTest('an upload into a file, several on one connection', async (t) => {
  const before = stats();
  const paths: string[] = [];
  await withHttpServer(
    (request, response) => {
      const path = fresh(directory);
      paths.push(path);
      request.pipe(createWriteStream(path)).on('close', () => response.end(String(request.complete)));
    },
    async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; n < 3; n++) t.is(String(await put(port, content, agent)), 'true');
      t.is(String(await put(port, content.subarray(0, 100_000), agent)), 'true');
      agent.destroy();
    },
  );
  for (const path of paths.slice(0, 3)) t.is(sha256(readFileSync(path)), sha256(content));
  t.deepEqual(since(before), {
    kinds: { 'body->file': 3 },
    declined: { 'fewer than 262144 bytes are left to Node': 1 },
    handedBack: {},
    bytes: since(before).bytes,
  });
});

kernelTest(
  'a reverse proxy: requests and responses, on connections that are kept; chunked bodies stay with Node',
  async (t) => {
    const before = stats();
    const agents = [1, 2].map(() => new http.Agent({ keepAlive: true, maxSockets: 1 }));
    await withHttpServer(
      async (request, response) => {
        const body = await collect(request);
        if (request.url !== '/chunked') response.setHeader('Content-Length', body.length);
        response.write(body.subarray(0, 10));
        setTimeout(() => response.end(body.subarray(10)), 10);
      },
      (upstream) =>
        withHttpServer(forwarding(upstream, agents[0] as http.Agent), async (port) => {
          for (let n = 0; n < 3; n++) t.is(sha256(await put(port, content, agents[1])), sha256(content));
          const request = http.request({
            port,
            host: '127.0.0.1',
            method: 'PUT',
            path: '/chunked',
            agent: agents[1] as http.Agent,
          });
          request.write(content.subarray(0, 10));
          request.end(content.subarray(10));
          const [response] = (await once(request, 'response')) as [IncomingMessage];
          t.is(sha256(await collect(response)), sha256(content));
        }),
    );
    for (const agent of agents) agent.destroy();
    const { kinds, declined } = since(before);
    t.deepEqual(kinds, { 'body->http': 6 });
    t.deepEqual(declined, { 'the body has no Content-Length (a chunked body)': 2 });
  },
);

kernelTest('a body into what the kernel does not write to: as ever, and with the reason', async (t) => {
  const before = stats();
  await withHttpServer(
    (request, response) => {
      request.pipe(new PassThrough()).pipe(response);
    },
    async (port) => {
      t.is(sha256(await put(port, content)), sha256(content));
    },
  );
  t.deepEqual(since(before).kinds, {});
  t.deepEqual(since(before).declined, {
    'the destination is no file, socket or HTTP/1 message but PassThrough': 1,
  });
});

kernelTest('a body of HTTP/2 is left to Node, for what it is, whether its length is announced or not', async (t) => {
  const paths = [fresh(directory), fresh(directory)];
  const before = stats();
  const server = http2.createServer((request, response) => {
    request
      .pipe(createWriteStream(request.url === '/0' ? (paths[0] as string) : (paths[1] as string)))
      .on('close', () => response.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const session = http2.connect(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  for (const [index, headers] of [{}, { 'content-length': content.length }].entries()) {
    const stream = session.request({ ':method': 'PUT', ':path': `/${index}`, ...headers });
    stream.end(content);
    await once(stream.resume(), 'close');
  }
  session.close();
  server.close();
  for (const path of paths) t.is(sha256(readFileSync(path)), sha256(content));
  t.like(since(before), { kinds: {}, declined: { 'the request is not HTTP/1 on a socket': 2 } });
});

/** A server that answers by hand: a Content-Length, and then whatever `then` does. */
async function misbehaving(then: (socket: net.Socket) => void, use: (port: number) => Promise<void>): Promise<void> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${content.length}\r\n\r\n`);
      socket.write(content.subarray(0, 100_000));
      setTimeout(() => then(socket), 10);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use((server.address() as net.AddressInfo).port);
  } finally {
    server.close();
  }
}

/** What a client sees of an upstream that misbehaves, behind the proxy. */
async function behind(then: (socket: net.Socket) => void): Promise<{ bytes: number; whole: boolean; failed: boolean }> {
  const agent = new http.Agent({ keepAlive: true });
  let seen = { bytes: 0, whole: false, failed: false };
  await misbehaving(then, (upstream) =>
    withHttpServer(forwarding(upstream, agent), async (port) => {
      const request = http.get({ port, host: '127.0.0.1', agent: false });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      let bytes = 0;
      let failed = false;
      response.on('data', ({ length }: Buffer) => {
        bytes += length;
      });
      response.on('error', () => {
        failed = true;
      });
      await once(response, 'close').catch(() => {});
      seen = { bytes, whole: response.complete, failed };
    }),
  );
  agent.destroy();
  return seen;
}

kernelTest(
  'an upstream that resets, ends early or sends more than its Content-Length: what the client gets with Node',
  async (t) => {
    const acts: Record<string, (socket: net.Socket) => void> = {
      'sends all': (socket) => socket.end(content.subarray(100_000)),
      'ends early': (socket) => socket.end(content.subarray(100_000, 2_000_000)),
      resets: (socket) => {
        socket.write(content.subarray(100_000, 2_000_000));
        setTimeout(() => socket.resetAndDestroy(), 20);
      },
      'sends more': (socket) => socket.end(Buffer.concat([content.subarray(100_000), Buffer.from('more than that')])),
    };
    for (const [name, act] of Object.entries(acts)) {
      const before = stats();
      const ours = await behind(act);
      t.is(since(before).kinds['body->http'], 1, name);
      t.is(ours.whole, name === 'sends all' || name === 'sends more', name);
      t.is(ours.failed, !ours.whole, name);
      if (ours.whole) t.is(ours.bytes, content.length, name);
    }
  },
);
