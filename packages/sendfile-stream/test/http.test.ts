import { once } from 'node:events';
import { createReadStream, truncateSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline as pipelineCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tls from 'node:tls';
import { constants, descriptorOf, syscalls } from '@zerocopy/core-syscalls';
import { createSendfileStream, type SendfileReadStream } from '@zerocopy/sendfile-stream';
import {
  collect,
  get,
  KiB,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  record,
  temporaryDirectory,
  until,
  withHttpServer,
  writeFile,
} from './harness.js';

const SO_RCVBUF = 8;
const directory = temporaryDirectory();
const size = 700 * KiB;
const content = pattern(size);
const path = writeFile(join(directory, 'file'), content);

kernelTest('many requests on one connection, each whole and by sendfile', async (t) => {
  const streams: SendfileReadStream[] = [];
  let connections = 0;
  await withHttpServer(
    (_request, response) => {
      response.writeHead(200, { 'Content-Length': size });
      const stream = createSendfileStream(path);
      streams.push(stream);
      pipelineCallback(stream, response, (error) => t.falsy(error));
    },
    async (port, server) => {
      server.on('connection', () => connections++);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; n < 20; n++) t.true((await get(port, { agent })).body.equals(content));
      agent.destroy();
      await until(() => streams.every((stream) => stream.closed));
    },
  );
  t.is(connections, 1);
  t.true(streams.every(({ method, bytesSent }) => method === 'sendfile' && bytesSent === size));
});

kernelTest('pipelined requests are answered in order', async (t) => {
  await withHttpServer(
    (request, response) => {
      const end = Number(request.url?.slice(1));
      // The first answers start last: their order must not depend on who is ready first.
      setTimeout(
        () => {
          response.writeHead(200, { 'Content-Length': end + 1 });
          pipelineCallback(createSendfileStream(path, { end }), response, (error) => t.falsy(error));
        },
        20 - end / 10,
      );
    },
    async (port) => {
      const socket = net.connect(port, '127.0.0.1');
      const ends = [...Array(15).keys()].map((n) => n * 10);
      const last = ends.length - 1;
      socket.write(
        ends
          .map((end, n) => `GET /${end} HTTP/1.1\r\nHost: x\r\n${n === last ? 'Connection: close\r\n' : ''}\r\n`)
          .join(''),
      );
      const answer = (await collect(socket)).toString('latin1');
      const bodies = answer.split(/HTTP\/1\.1 200 OK\r\n/).slice(1);
      t.deepEqual(
        bodies.map((body) => body.slice(body.indexOf('\r\n\r\n') + 4)),
        ends.map((end) => content.toString('latin1', 0, end + 1)),
      );
    },
  );
});

kernelTest('earlier and later writes keep their places', async (t) => {
  await withHttpServer(
    (request, response) => {
      response.writeHead(200, { 'Content-Length': 6 + size + 5 });
      response.write('before');
      const stream = createSendfileStream(path);
      if (request.url === '/corked') {
        stream.once('open', () => {
          response.cork();
          setImmediate(() => response.uncork());
        });
      }
      stream.pipe(response, { end: false });
      stream.once('end', () => {
        response.end('after');
        t.is(stream.method, 'sendfile');
      });
    },
    async (port) => {
      for (const url of ['/', '/corked']) {
        const { body } = await get(port, { path: url });
        t.true(body.equals(Buffer.concat([Buffer.from('before'), content, Buffer.from('after')])), url);
      }
    },
  );
});

kernelTest(
  'a small file that is piped into a corked response is sent when its end uncorks it, as by Node',
  async (t) => {
    const small = writeFile(join(directory, 'small'), pattern(30_000));
    const corking: readonly ((response: http.ServerResponse) => void)[] = [
      (response) => {
        response.cork();
        response.cork();
        setImmediate(() => response.uncork());
      },
      (response) => response.socket?.cork(),
      (response) => {
        response.writeHead(200, { 'Content-Length': 30_000 });
        response.cork();
      },
    ];
    for (const cork of corking) {
      const bytes = (make: (path: string) => NodeJS.ReadableStream): Promise<number> =>
        withHttpServer(
          (_request, response) => {
            cork(response);
            make(small).pipe(response);
          },
          async (port) => {
            const answer = get(port, { signal: AbortSignal.timeout(800) });
            return answer.then(
              ({ body }) => body.length,
              () => -1,
            );
          },
        );
      const [ours, nodes] = await Promise.all([bytes(createSendfileStream), bytes(createReadStream)]);
      t.true(ours >= nodes, `${ours} bytes, and ${nodes} by Node`); // Node 20's end leaves some corked
    }
  },
);

kernelTest('headers and the first bytes leave in one segment', async (t) => {
  await withHttpServer(
    (_request, response) => {
      response.writeHead(200, { 'Content-Length': 1000 });
      pipelineCallback(createSendfileStream(path, { end: 999 }), response, () => {});
    },
    async (port) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      const [first] = (await once(socket, 'data')) as [Buffer];
      t.true(first.includes('\r\n\r\n'));
      t.true(first.subarray(-1000).equals(content.subarray(0, 1000)));
      socket.destroy();
    },
  );
});

kernelTest('HEAD and 304 send no body and leave the connection usable', async (t) => {
  await withHttpServer(
    (request, response) => {
      response.writeHead(request.url === '/304' ? 304 : 200, { 'Content-Length': size });
      pipelineCallback(createSendfileStream(path), response, (error) => t.falsy(error));
    },
    async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      t.is((await get(port, { agent, method: 'HEAD' })).body.length, 0);
      t.is((await get(port, { agent, path: '/304' })).status, 304);
      t.true((await get(port, { agent })).body.equals(content));
      agent.destroy();
    },
  );
});

kernelTest('the events of source and response are those of Node, in the same order', async (t) => {
  const logs: string[][] = [];
  for (const make of [createReadStream, createSendfileStream as unknown as typeof createReadStream]) {
    const log: string[] = [];
    await withHttpServer(
      (_request, response) => {
        response.writeHead(200, { 'Content-Length': size });
        const stream = make(path);
        record(log, 'source', stream, ['open', 'ready', 'end', 'close', 'error']);
        record(log, 'response', response, ['pipe', 'finish', 'close', 'error']);
        pipelineCallback(stream, response, (error) => log.push(`pipeline ${error?.code ?? 'done'}`));
      },
      async (port) => {
        t.true((await get(port)).body.equals(content));
        await until(() =>
          ['response close', 'source close', 'pipeline'].every((one) => log.some((event) => event.startsWith(one))),
        );
      },
    );
    logs.push(log);
  }
  t.deepEqual(new Set(logs[1]), new Set(logs[0]));
  for (const who of ['source', 'response']) {
    const own = (log: string[] | undefined): string[] => (log ?? []).filter((event) => event.startsWith(who));
    t.deepEqual(own(logs[1]), own(logs[0]));
  }
});

kernelTest(
  'a file that shrinks on its way destroys the connection: nobody takes it for whole (kernel-rules: early-end)',
  async (t) => {
    const big = 32 * MiB;
    for (const where of ['pipeline', 'pipe'] as const) {
      const shrinking = writeFile(join(directory, `shrinking-${where}`), Buffer.alloc(big, 's'));
      let failure: (Error & { code?: string }) | null | undefined;
      await withHttpServer(
        (_request, response) => {
          response.writeHead(200, { 'Content-Length': big });
          const stream = createSendfileStream(shrinking);
          stream.on('error', (error) => {
            failure = error;
          });
          if (where === 'pipe') stream.pipe(response);
          else pipelineCallback(stream, response, () => {});
        },
        async (port) => {
          const socket = net.connect(port, '127.0.0.1');
          socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
          await once(socket, 'readable');
          truncateSync(shrinking, 12 * MiB);
          let received = 0;
          socket.on('error', () => {});
          socket.on('data', (chunk) => {
            received += chunk.length;
          });
          await once(socket, 'close');
          t.true(received < big);
          await until(() => failure !== undefined);
          t.is(failure?.code, 'ERR_FILE_TRUNCATED');
          t.regex(failure?.message ?? '', /ended after \d+ of 33554432 bytes/);
        },
      );
    }
  },
);

kernelTest('a file that grows sends what was promised, and the connection goes on', async (t) => {
  const growing = writeFile(join(directory, 'growing'), Buffer.alloc(size + 5000, 'g'));
  await withHttpServer(
    (_request, response) => {
      response.writeHead(200, { 'Content-Length': size });
      pipelineCallback(createSendfileStream(growing), response, (error) => t.falsy(error));
    },
    async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; n < 3; n++) t.is((await get(port, { agent })).body.length, size);
      agent.destroy();
    },
  );
});

kernelTest('falls back, with the right bytes and a reason: HTTP/2, TLS, a patched write', async (t) => {
  let stream: SendfileReadStream | undefined;
  let sent: Promise<void> | undefined;
  const check = async (
    answer: Promise<Buffer>,
    stream: () => SendfileReadStream | undefined,
    reason: RegExp,
  ): Promise<void> => {
    t.true((await answer).equals(content));
    await sent;
    t.is(stream()?.method, 'copy');
    t.regex(stream()?.fallbackReason ?? '', reason);
  };
  const send = (response: NodeJS.WritableStream): void => {
    stream = createSendfileStream(path);
    sent = pipeline(stream, response);
  };
  await withHttpServer(
    (request, response) => {
      if (request.url === '/patched') {
        response.setHeader('Content-Length', size);
        const { write } = response;
        response.write = function (this: typeof response, ...args: unknown[]) {
          return Reflect.apply(write, this, args);
        } as typeof response.write;
      }
      send(response);
    },
    async (port) => {
      // Kept alive: a client that closes at once can outrun the 'finish' of a response, with Node's own streams too.
      const agent = new http.Agent({ keepAlive: true });
      await check(
        get(port, { path: '/patched', agent }).then(({ body }) => body),
        () => stream,
        /write\(\) of the HTTP message has been replaced/,
      );
    },
  );

  const h2 = http2.createServer((_request, response) => send(response)).listen(0, '127.0.0.1');
  await once(h2, 'listening');
  const session = http2.connect(`http://127.0.0.1:${(h2.address() as AddressInfo).port}`);
  await check(collect(session.request({ ':path': '/' })), () => stream, /not a socket but a Http2ServerResponse/);
  session.close();
  h2.close();

  // A pre-shared key needs no certificate.
  const psk = { ciphers: 'PSK+HIGH', maxVersion: 'TLSv1.2' as const, checkServerIdentity: () => undefined };
  const key = Buffer.alloc(16, 1);
  const secure = tls.createServer({ ...psk, pskCallback: () => key } as tls.TlsOptions, (socket) => send(socket));
  secure.listen(0, '127.0.0.1');
  await once(secure, 'listening');
  const client = tls.connect({
    port: (secure.address() as AddressInfo).port,
    host: '127.0.0.1',
    ...psk,
    pskCallback: () => ({ psk: key, identity: 'test' }),
  });
  await check(collect(client), () => stream, /encrypted \(TLS\)/);
  secure.close();
});

kernelTest(
  'hundreds of aborted downloads, from either side, leave no descriptor, listener or error behind',
  async (t) => {
    const big = writeFile(join(directory, 'aborted'), pattern(8 * MiB));
    const streams: SendfileReadStream[] = [];
    await withHttpServer(
      (request, response) => {
        response.writeHead(200, { 'Content-Length': 8 * MiB });
        const stream = createSendfileStream(big);
        streams.push(stream);
        pipelineCallback(stream, response, (error) => t.truthy(error));
        if (request.url === '/source') stream.once('progress', () => stream.destroy(new Error('enough')));
        if (request.url === '/response') stream.once('progress', () => response.destroy());
      },
      async (port) => {
        const abort = async (url: string): Promise<void> => {
          const socket = net.connect(port, '127.0.0.1');
          socket.on('error', () => {});
          socket.write(`GET ${url} HTTP/1.1\r\nHost: x\r\n\r\n`);
          await once(socket, 'readable');
          if (url === '/reset') socket.resetAndDestroy();
          else if (url === '/gone') socket.destroy();
          else socket.resume();
          if (!socket.closed) await once(socket, 'close');
        };
        const urls = ['/gone', '/reset', '/source', '/response'];
        for (const url of urls) await abort(url);
        await until(() => streams.every((stream) => stream.closed));
        const before = openDescriptors();
        for (let n = 0; n < 100; n++) await Promise.all(urls.map(abort));
        await until(() => streams.every((stream) => stream.closed), 'every file closed');
        await until(() => openDescriptors() <= before, `descriptors back at ${before}`);
      },
    );
    t.is(streams.length, 404);
  },
);

kernelTest('a stalled peer meets the socket timeout; a slow one that makes progress does not', async (t) => {
  const big = writeFile(join(directory, 'slow'), pattern(16 * MiB));
  for (const peer of ['stalled', 'slow'] as const) {
    let timedOut = false;
    await withHttpServer(
      (_request, response) => {
        response.writeHead(200, { 'Content-Length': 16 * MiB });
        response.socket?.setTimeout(2500, () => {
          timedOut = true;
          response.destroy();
        });
        pipelineCallback(createSendfileStream(big), response, () => {});
      },
      async (port) => {
        const socket = net.connect(port, '127.0.0.1');
        socket.on('error', () => {});
        await once(socket, 'connect');
        // So little that each read lets the server go on, however long the others keep the processor.
        syscalls.setsockopt(descriptorOf(socket) as number, constants.SOL_SOCKET, SO_RCVBUF, 64 * KiB);
        socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
        if (peer === 'stalled') {
          await until(() => timedOut, 'the timeout');
        } else {
          let received = 0;
          for (;;) {
            const chunk = socket.read() as Buffer | null;
            if (chunk !== null) received += chunk.length;
            if (received > 16 * MiB || socket.closed) break;
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }
        socket.destroy();
        t.is(timedOut, peer === 'stalled');
      },
    );
  }
});
