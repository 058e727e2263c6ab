/** HTTP in all its forms: how a body is delimited, who speaks it, and what happens around it. */
import { once } from 'node:events';
import { createReadStream, truncateSync } from 'node:fs';
import http, { type RequestListener, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline as pipelineCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, gunzipSync } from 'node:zlib';
import { createSendfileStream, type SendfileReadStream, sendFile } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  collect,
  get,
  KiB,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  smallTest,
  temporaryDirectory,
  until,
  withHttpServer,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const size = 2 * MiB + 12345; // three chunks
const content = pattern(size);
const path = writeFile(join(directory, 'file'), content);
const small = writeFile(join(directory, 'small'), content.subarray(0, 3000));

type Make = typeof createReadStream;
const makers: readonly Make[] = [createReadStream, createSendfileStream as unknown as Make];

/** Everything a server sends until it closes the connection. */
async function raw(port: number, request: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(request);
  return (await collect(socket)).toString('latin1');
}

/** Takes chunked framing apart, strictly. */
function dechunk(text: string): { body: string; chunks: number; trailers: string } {
  let body = '';
  for (let at = 0, chunks = 0; ; chunks++) {
    const lineEnd = text.indexOf('\r\n', at);
    const line = text.slice(at, lineEnd);
    if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`not a chunk's size at ${at}: ${line.slice(0, 40)}`);
    const length = Number.parseInt(line, 16);
    if (length === 0) return { body, chunks, trailers: text.slice(lineEnd + 2) };
    body += text.slice(lineEnd + 2, lineEnd + 2 + length);
    at = lineEnd + 2 + length;
    if (text.slice(at, at + 2) !== '\r\n') throw new Error(`the chunk that ends at ${at} is not closed`);
    at += 2;
  }
}

kernelTest('without a Content-Length it is set, if the file is the whole body', async (t) => {
  const streams: SendfileReadStream[] = [];
  await withHttpServer(
    (request, response) => {
      const stream = createSendfileStream(path);
      streams.push(stream);
      if (request.url === '/pipe') stream.pipe(response);
      else pipelineCallback(stream, response, (error) => t.falsy(error));
    },
    async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (const url of ['/pipe', '/pipeline', '/pipe']) {
        const { body, headers } = await get(port, { agent, path: url });
        t.true(body.equals(content), url);
        t.is(headers['content-length'], String(size), url);
        t.is(headers['transfer-encoding'], undefined);
      }
      agent.destroy();
    },
  );
  t.deepEqual(
    streams.map(({ method }) => method),
    ['sendfile', 'sendfile', 'sendfile'],
  );
});

kernelTest('in chunks: the framing is right to the byte, with bytes around it, and with trailers', async (t) => {
  const streams: SendfileReadStream[] = [];
  await withHttpServer(
    (request, response) => {
      if (request.url === '/trailers') {
        response.setHeader('Trailer', 'X-Sum');
        const stream = createSendfileStream(path);
        streams.push(stream);
        stream.once('end', () => response.addTrailers({ 'X-Sum': '42' }));
        pipelineCallback(stream, response, (error) => t.falsy(error));
        return;
      }
      // Two files, one after the other, and words between them.
      response.write('<<<');
      const first = createSendfileStream(path);
      streams.push(first);
      first.pipe(response, { end: false });
      first.once('end', () => {
        response.write('---');
        const second = createSendfileStream(path, { start: 5, end: size - 6 });
        streams.push(second);
        second.pipe(response, { end: false });
        second.once('end', () => response.end('>>>'));
      });
    },
    async (port) => {
      const text = content.toString('latin1');
      const around = await raw(port, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      t.regex(around, /transfer-encoding: chunked/i);
      t.true(
        dechunk(around.slice(around.indexOf('\r\n\r\n') + 4)).body === `<<<${text}---${text.slice(5, -5)}>>>`,
        'bytes around',
      );
      const withTrailers = await raw(port, 'GET /trailers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const { body, chunks, trailers } = dechunk(withTrailers.slice(withTrailers.indexOf('\r\n\r\n') + 4));
      t.true(body === text);
      t.is(chunks, 3); // 1 MiB each, and the rest
      t.is(trailers, 'X-Sum: 42\r\n\r\n');
    },
  );
  t.true(streams.every(({ method, bytesSent }) => method === 'sendfile' && bytesSent > size - 11));
});

kernelTest('a chunk that has begun is completed before the file is left, and is torn if the file ends', async (t) => {
  const shrinking = writeFile(join(directory, 'shrinking'), Buffer.alloc(32 * MiB, 's'));
  let left = 0;
  await withHttpServer(
    (request, response) => {
      if (request.url === '/shrinking') {
        const stream = createSendfileStream(shrinking);
        stream.on('error', (error: Error & { code?: string }) => t.is(error.code, 'ERR_FILE_TRUNCATED'));
        stream.pipe(response, { end: false });
        return;
      }
      const stream = createSendfileStream(shrinking);
      stream.once('progress', () => {
        stream.unpipe(response);
        // The queue is free again once the chunk is complete.
        response.write('<<<', () => {
          left = stream.bytesSent;
          response.end('>>>');
          stream.destroy();
        });
      });
      stream.pipe(response, { end: false });
    },
    async (port) => {
      const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const { body } = dechunk(answer.slice(answer.indexOf('\r\n\r\n') + 4));
      t.true(body.endsWith('<<<>>>'));
      t.is(body.length, left + 6);
      t.is(left % MiB, 0);

      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write('GET /shrinking HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(socket, 'readable');
      truncateSync(shrinking, 12 * MiB + 5);
      let received = '';
      socket.setEncoding('latin1').on('data', (chunk: string) => {
        received += chunk;
      });
      await once(socket, 'close');
      t.throws(() => dechunk(received.slice(received.indexOf('\r\n\r\n') + 4)), { message: /not (a chunk|closed)/ });
    },
  );
});

kernelTest('HTTP/1.0, with and without a length: until the connection closes, never in chunks', async (t) => {
  await withHttpServer(
    (request, response) => {
      const stream = createSendfileStream(path);
      if (request.url === '/told') pipelineCallback(stream, response, (error) => t.falsy(error));
      else {
        stream.pipe(response, { end: false });
        stream.once('end', () => {
          t.is(stream.method, 'sendfile');
          response.end('after');
        });
      }
    },
    async (port) => {
      for (const url of ['/told', '/']) {
        const answer = await raw(port, `GET ${url} HTTP/1.0\r\n\r\n`);
        const headEnd = answer.indexOf('\r\n\r\n') + 4;
        t.notRegex(answer.slice(0, headEnd), /chunked/i);
        t.true(answer.slice(headEnd) === content.toString('latin1') + (url === '/' ? 'after' : ''), url);
      }
    },
  );
});

kernelTest('HEAD, 204 and 304 with no headers sent are answered as by fs.createReadStream', async (t) => {
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ] as const) {
    const answers: string[] = [];
    for (const make of makers) {
      await withHttpServer(
        (_request, response) => {
          response.statusCode = status;
          response.sendDate = false;
          pipelineCallback(make(path), response, (error) => t.falsy(error));
        },
        async (port) => {
          answers.push(await raw(port, `${method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`));
        },
      );
    }
    const [nodes = '', ours = ''] = answers;
    t.is(ours.replace(/content-length: \d+\r\n/i, ''), nodes.replace(/transfer-encoding: chunked\r\n/i, ''));
    t.true(ours.endsWith('\r\n\r\n'));
  }
});

smallTest('no bytes are told of a response without a body, however small its file', async (t) => {
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ] as const) {
    let bytes: Promise<number> | undefined;
    await withHttpServer(
      (_request, response) => {
        response.statusCode = status;
        bytes = sendFile(response, small).then((result) => result.bytes);
      },
      async (port) => {
        const answer = await raw(port, `${method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        t.true(answer.endsWith('\r\n\r\n'));
        t.is(await bytes, 0);
      },
    );
  }
});

kernelTest('Connection: close, and a server that closes, end after the last byte', async (t) => {
  await withHttpServer(
    (request, response) => {
      response.setHeader('Content-Length', size);
      if (request.url === '/close') response.setHeader('Connection', 'close');
      pipelineCallback(createSendfileStream(path), response, (error) => t.falsy(error));
    },
    async (port, server) => {
      const answer = await raw(port, 'GET /close HTTP/1.1\r\nHost: x\r\n\r\n');
      t.true(answer.endsWith(content.toString('latin1')));

      // While the file is under way: close() waits for it, closeIdleConnections() does not touch it.
      const socket = net.connect(port, '127.0.0.1');
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(socket, 'readable');
      let closed = false;
      server.close(() => {
        closed = true;
      });
      server.closeIdleConnections();
      let received = 0;
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      await until(() => received > size);
      t.false(socket.destroyed);
      server.closeIdleConnections(); // now it is idle
      await until(() => closed, 'the server closed');
    },
  );
});

kernelTest('Expect: 100-continue: the interim answer comes first', async (t) => {
  const server = http.createServer();
  server.on('checkContinue', (request, response) => {
    response.writeContinue();
    request.resume().once('end', () => pipelineCallback(createSendfileStream(path), response, () => {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const request = http.request({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    method: 'PUT',
    agent: false,
    headers: { Expect: '100-continue', 'Content-Length': size },
  });
  request.flushHeaders();
  await once(request, 'continue');
  const stream = createSendfileStream(path);
  const uploaded = pipeline(stream, request);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  t.true((await collect(response)).equals(content));
  await uploaded;
  t.is(stream.method, 'sendfile');
  server.close();
});

kernelTest('uploads: a request is sent once it has its connection, the next one on the same', async (t) => {
  const bodies: Buffer[] = [];
  const lengths: (string | undefined)[] = [];
  const streams: SendfileReadStream[] = [];
  let connections = 0;
  await withHttpServer(
    (request, response) => {
      lengths.push(request.headers['content-length'] ?? request.headers['transfer-encoding']);
      collect(request).then((body) => {
        bodies.push(body);
        response.end();
      });
    },
    async (port, server) => {
      server.on('connection', () => connections++);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const upload = (headers: http.OutgoingHttpHeaders = {}): http.ClientRequest =>
        http.request({ port, host: '127.0.0.1', method: 'POST', agent, headers });
      const answered = async (request: http.ClientRequest): Promise<void> => {
        const [response] = (await once(request, 'response')) as [http.IncomingMessage];
        await collect(response);
      };
      // All at once: two of them wait for the agent's one connection.
      const requests = [upload(), upload({ 'Content-Length': size }), upload({ 'Transfer-Encoding': 'chunked' })];
      await Promise.all(
        requests.map(async (request) => {
          const stream = createSendfileStream(path);
          streams.push(stream);
          await Promise.all([pipeline(stream, request), answered(request)]);
        }),
      );
      const last = upload();
      const [result] = await Promise.all([sendFile(last, path), answered(last)]);
      t.like(result, { method: 'sendfile', bytes: size });
      agent.destroy();
    },
  );
  t.is(connections, 1);
  t.true(bodies.every((body) => body.equals(content)));
  t.deepEqual(lengths, [String(size), String(size), 'chunked', String(size)]);
  t.true(streams.every(({ method }) => method === 'sendfile'));
});

test('uploads that cannot connect fail as with fs.createReadStream, and leave nothing open', async (t) => {
  const free = net.createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const { port } = free.address() as AddressInfo;
  free.close();
  await once(free, 'close');
  const before = openDescriptors();
  const codes: (string | undefined)[] = [];
  for (const make of makers) {
    const request = http.request({ port, host: '127.0.0.1', method: 'POST', agent: false });
    await pipeline(make(path), request).catch((error: NodeJS.ErrnoException) => codes.push(error.code));
  }
  t.deepEqual(codes, ['ECONNREFUSED', 'ECONNREFUSED']);
  const request = http.request({ port, host: '127.0.0.1', method: 'POST', agent: false });
  t.is((await t.throwsAsync<NodeJS.ErrnoException>(sendFile(request, path)))?.code, 'ECONNREFUSED');
  await until(() => openDescriptors() <= before, `descriptors back at ${before}`);
});

smallTest(
  'a small warm file leaves in one read with its headers, copied; the size is a matter of choice',
  async (t) => {
    const results: unknown[] = [];
    const listener: RequestListener = async (request, response) => {
      const options = request.url?.endsWith('/sendfile') ? { smallFileSize: 0 } : {};
      if (request.url?.startsWith('/stream')) {
        const stream = createSendfileStream(small, options);
        await pipeline(stream, response);
        results.push([stream.method, stream.bytesSent, /small/.test(stream.fallbackReason ?? '')]);
      } else {
        const { method, bytes, fallbackReason } = await sendFile(response, small, options);
        results.push([method, bytes, /small/.test(fallbackReason ?? '')]);
      }
    };
    await withHttpServer(listener, async (port) => {
      const socket = net.connect(port, '127.0.0.1');
      for (const url of ['/stream', '/file', '/stream/sendfile', '/file/sendfile']) {
        socket.write(`GET ${url} HTTP/1.1\r\nHost: x\r\n\r\n`);
        const [first] = (await once(socket, 'data')) as [Buffer];
        t.true(first.subarray(-3000).equals(content.subarray(0, 3000)), url);
        t.regex(first.toString('latin1', 0, first.length - 3000), /content-length: 3000\r\n(.*\r\n)*\r\n$/i);
      }
      socket.destroy();
    });
    t.deepEqual(results, [
      ['copy', 3000, true],
      ['copy', 3000, true],
      ['sendfile', 3000, false],
      ['sendfile', 3000, false],
    ]);
  },
);

kernelTest('small files: thousands of them, overlapping, each with its own bytes', async (t) => {
  const files = Array.from({ length: 40 }, (_, n) => {
    const bytes = Buffer.alloc(1 + ((n * 797) % (32 * KiB)), String.fromCharCode(48 + n));
    return { bytes, path: writeFile(join(directory, `small-${n}`), bytes) };
  });
  await withHttpServer(
    (request, response) => {
      const file = files[Number(request.url?.slice(1))];
      if (file !== undefined) sendFile(response, file.path).catch((error) => t.fail(String(error)));
    },
    async (port) => {
      const before = openDescriptors();
      const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
      for (let round = 0; round < 20; round++) {
        const answers = await Promise.all(files.map((_, n) => get(port, { agent, path: `/${n}` })));
        answers.forEach(({ body }, n) => void t.true(body.equals(files[n]?.bytes as Buffer)));
      }
      agent.destroy();
      await until(() => openDescriptors() <= before + 1, 'descriptors closed');
    },
  );
});

kernelTest('a small file to a peer that has gone: an error, and the pool is none the worse', async (t) => {
  const failures: (string | undefined)[] = [];
  await withHttpServer(
    (request, response) => {
      request.socket.once('close', () => {
        sendFile(response, small).catch((error: NodeJS.ErrnoException) => failures.push(error.code));
        pipeline(createSendfileStream(small), response).catch((error: NodeJS.ErrnoException) =>
          failures.push(error.code),
        );
      });
    },
    async (port) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      setTimeout(() => socket.resetAndDestroy(), 20);
      await until(() => failures.length === 2);
    },
  );
  t.is(failures.filter((code) => code !== undefined).length, 2);
});

/** What compression middleware does: it puts itself in front of write and end. */
function compress(response: ServerResponse): void {
  const gzip = createGzip();
  const { write, end } = response;
  response.setHeader('Content-Encoding', 'gzip');
  gzip.on('data', (chunk: Buffer) => write.call(response, chunk, 'latin1'));
  gzip.on('end', () => end.call(response, '', 'latin1'));
  gzip.on('drain', () => response.emit('drain'));
  response.write = ((chunk: Buffer) => gzip.write(chunk)) as typeof response.write;
  response.end = (() => {
    gzip.end();
    return response;
  }) as typeof response.end;
}

test('behind compression middleware it is an ordinary Readable: the compressed bytes are right', async (t) => {
  let stream: SendfileReadStream | undefined;
  await withHttpServer(
    (_request, response) => {
      compress(response);
      stream = createSendfileStream(path);
      stream.pipe(response);
    },
    async (port) => {
      const { body, headers } = await get(port);
      t.is(headers['content-length'], undefined);
      t.true(gunzipSync(body).equals(content));
    },
  );
  t.is(stream?.method, 'copy');
});
