/** HTTP uploads into files: by createSpliceWriteStream in a pipeline, and by splice(request, file). */
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdirSync, readFileSync, type WriteStream, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import net from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { TransferError } from '@zerocopy/core-syscalls';
import { createSpliceWriteStream, type SpliceWriteStream, splice } from '@zerocopy/splice-pipe';
import { kernelSerial, kernelTest, MiB, openDescriptors, pattern, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const fresh = (): string => join(directory, `upload-${names++}`);

interface Serving {
  readonly port: number;
  /** Errors that reached nobody. */
  readonly errors: unknown[];
}

async function serving(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<unknown> | undefined,
  use: (serving: Serving) => Promise<void>,
): Promise<void> {
  const errors: unknown[] = [];
  const server = http.createServer((request, response) => {
    Promise.resolve(handle(request, response)).catch((error: unknown) => {
      errors.push(error);
      if (!response.headersSent) response.writeHead(500).end(String(error));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use({ port: (server.address() as AddressInfo).port, errors });
  } finally {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
}

async function put(
  port: number,
  body: Buffer,
  options: http.RequestOptions = {},
): Promise<{ status: number; text: string }> {
  const request = http.request({ port, host: '127.0.0.1', method: 'PUT', ...options });
  request.setHeader('Content-Length', body.length);
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  response.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  await once(response, 'end');
  return { status: response.statusCode ?? 0, text };
}

kernelTest('several on one connection: each whole, by splice, and the connection is kept', async (t) => {
  const seen = new Set<Socket>();
  const files: SpliceWriteStream[] = [];
  await serving(
    async (request, response) => {
      seen.add(request.socket);
      const file = createSpliceWriteStream(fresh());
      files.push(file);
      await pipeline(request, file);
      t.true(request.complete);
      t.true(request.readableEnded);
      response.end(file.path);
    },
    async ({ port }) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (const size of [5 * MiB + 3, 0, 1, 300_000, MiB]) {
        const body = pattern(size);
        const { text } = await put(port, body, { agent });
        t.true(readFileSync(text).equals(body), `${size} bytes`);
        t.is(files.at(-1)?.bytesWritten, size);
      }
      agent.destroy();
    },
  );
  t.is(seen.size, 1);
  t.is(files[0]?.method, 'splice');
  t.is(files[4]?.method, 'splice');
});

type Parser = Record<number, unknown>;
const parserOf = (request: IncomingMessage): Parser => (request.socket as unknown as { parser: Parser }).parser;
/** HTTPParser.kOnBody */
const ON_BODY = 3;

kernelTest(
  "while the parser counts, it has no body's listener to copy for; afterwards it has its own again",
  async (t) => {
    const body = pattern(5 * MiB + 3);
    await serving(
      async (request, response) => {
        const parser = parserOf(request);
        const own = parser[ON_BODY];
        const during = new Set<unknown>();
        const { execute } = parser as { execute: (...args: unknown[]) => unknown };
        (parser as { execute?: unknown }).execute = (...args: unknown[]) => {
          during.add(parser[ON_BODY]);
          return Reflect.apply(execute, parser, args);
        };
        const file = createSpliceWriteStream(fresh());
        await pipeline(request, file);
        Reflect.deleteProperty(parser, 'execute');
        t.true(request.complete);
        t.true(during.has(null), 'it was fed without a listener');
        t.is(parser[ON_BODY], own);
        response.end(file.path);
      },
      async ({ port }) => {
        const { text } = await put(port, body);
        t.true(readFileSync(text).equals(body));
      },
    );
  },
);

kernelTest('a parser that looks otherwise: its pieces are dropped instead', async (t) => {
  const body = pattern(3 * MiB + 1);
  let requests = 0;
  await serving(
    async (request, response) => {
      const parser = parserOf(request);
      const own = parser[ON_BODY] as (...args: unknown[]) => unknown;
      let pieces = 0;
      parser[ON_BODY] = function somebodyElse(this: unknown, ...args: unknown[]): unknown {
        pieces++;
        return own.apply(this, args);
      };
      const file = createSpliceWriteStream(fresh());
      await pipeline(request, file);
      // Node 26.12 and later call it for the first message of a connection only.
      if (requests++ === 0) t.true(pieces > 10, `${pieces} pieces`);
      parser[ON_BODY] = own;
      t.is(file.method, 'splice');
      response.end(file.path);
    },
    async ({ port }) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; n < 2; n++) {
        const { text } = await put(port, body, { agent });
        t.true(readFileSync(text).equals(body));
      }
      agent.destroy();
    },
  );
});

kernelTest('a small body is copied, which costs less, unless the kernel path is insisted on', async (t) => {
  const body = pattern(100_000);
  for (const [fallback, method] of [
    ['auto', 'copy'],
    ['never', 'splice'],
  ] as const) {
    // The rest is sent when the request is being served: it must not be in user space before that.
    let sendRest = (): void => {};
    await serving(
      async (request, response) => {
        const file = createSpliceWriteStream(fresh(), { fallback });
        const progress: number[] = [];
        file.on('progress', (bytes: number) => progress.push(bytes));
        setTimeout(sendRest, 20);
        await pipeline(request, file);
        t.is(file.method, method);
        t.is(progress.at(-1), body.length);
        t.is(file.fallbackReason, fallback === 'auto' ? 'the body is small, and copying it costs less' : undefined);
        response.end(file.path);
      },
      async ({ port }) => {
        const request = http.request({ port, host: '127.0.0.1', method: 'PUT' });
        request.setHeader('Content-Length', body.length);
        request.write(body.subarray(0, 1000));
        sendRest = () => request.end(body.subarray(1000));
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        t.is(response.statusCode, 200);
        const [path] = (await once(response.setEncoding('utf8'), 'data')) as [string];
        t.true(readFileSync(path).equals(body));
      },
    );
  }
});

kernelTest('pipelined: the next request is there before the body ends, and is answered', async (t) => {
  const bodies = [pattern(3 * MiB), pattern(400_000).reverse(), Buffer.from('small'), pattern(MiB)];
  const methods: (string | undefined)[] = [];
  await serving(
    async (request, response) => {
      const file = createSpliceWriteStream(fresh());
      await pipeline(request, file);
      methods.push(file.method);
      response.end(`<${file.path}>`);
    },
    async ({ port }) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.write(
        Buffer.concat(
          bodies.map((body) =>
            Buffer.concat([Buffer.from(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`), body]),
          ),
        ),
      );
      let text = '';
      socket.setEncoding('latin1').on('data', (part: string) => {
        text += part;
      });
      await until(() => text.split('<').length === bodies.length + 1, 'all answered');
      const paths = [...text.matchAll(/<(.*?)>/g)].map(([, path = '']) => path);
      for (const [n, path] of paths.entries()) t.true(readFileSync(path).equals(bodies[n] as Buffer), `body ${n}`);
      socket.destroy();
    },
  );
  t.is(methods[0], 'splice');
});

kernelTest('splice(request, file): the same, with the count', async (t) => {
  await serving(
    async (request, response) => {
      const path = fresh();
      const file = await open(path, 'w');
      const result = await splice(request, file);
      await file.close();
      t.true(request.complete);
      response.end(JSON.stringify({ ...result, path }));
    },
    async ({ port }) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (const size of [4 * MiB + 1, 10, 4 * MiB]) {
        const body = pattern(size);
        const answer = JSON.parse((await put(port, body, { agent })).text) as { bytes: number; path: string };
        t.is(answer.bytes, size);
        t.true(readFileSync(answer.path).equals(body));
      }
      agent.destroy();
    },
  );
});

kernelTest('the client vanishes midway: the promise says so, with the bytes that are in the file', async (t) => {
  for (const how of ['reset', 'end'] as const) {
    const path = fresh();
    let failure: TransferError | undefined;
    let done = (): void => {};
    const failed = new Promise<void>((resolve) => {
      done = resolve;
    });
    await serving(
      async (request) => {
        const file = await open(path, 'w');
        await splice(request, file).catch((error: TransferError) => {
          failure = error;
        });
        await file.close();
        done();
      },
      async ({ port }) => {
        const socket = net.connect(port, '127.0.0.1');
        const part = pattern(2 * MiB);
        socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${8 * MiB}\r\n\r\n`);
        socket.write(part);
        await until(() => existsSync(path) && readFileSync(path).length === part.length, 'what has come is there');
        if (how === 'reset') socket.resetAndDestroy();
        else socket.destroy();
        await failed;
        t.true(failure instanceof TransferError);
        t.is(failure?.bytes, part.length);
        t.is(failure?.code, 'ECONNRESET');
        t.true(readFileSync(path).equals(part));
      },
    );
  }
});

kernelTest('the client vanishes midway, in a pipeline: it fails as with fs.createWriteStream', async (t) => {
  const results: { code?: string; destroyed: boolean }[] = [];
  for (const make of [(path: string) => createSpliceWriteStream(path), (path: string) => createWriteStream(path)]) {
    const path = fresh();
    let done = (): void => {};
    const failed = new Promise<void>((resolve) => {
      done = resolve;
    });
    await serving(
      async (request) => {
        const file = make(path);
        const error = (await pipeline(request, file).catch((reason: unknown) => reason)) as NodeJS.ErrnoException;
        results.push({ ...(error?.code === undefined ? {} : { code: error.code }), destroyed: file.destroyed });
        done();
      },
      async ({ port }) => {
        const socket = net.connect(port, '127.0.0.1');
        socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${8 * MiB}\r\n\r\n`);
        socket.write(pattern(MiB));
        await until(() => existsSync(path) && readFileSync(path).length === MiB);
        socket.destroy();
        await failed;
      },
    );
  }
  t.deepEqual(results[0], results[1]);
  t.true(results[0]?.destroyed);
});

kernelTest('a file that cannot be written: the error of fs.createWriteStream, and the server goes on', async (t) => {
  mkdirSync(join(directory, 'is-a-directory'));
  for (const target of [join(directory, 'missing', 'file'), join(directory, 'is-a-directory')]) {
    const seen: unknown[] = [];
    for (const make of [createSpliceWriteStream, createWriteStream] as ((path: string) => WriteStream)[]) {
      await serving(
        async (request, response) => {
          const error = (await pipeline(request, make(target)).catch((reason) => reason)) as NodeJS.ErrnoException;
          seen.push([error.code, error.syscall, error.message]);
          response.writeHead(500).end();
        },
        async ({ port }) => {
          const socket = net.connect(port, '127.0.0.1');
          socket.on('error', () => {});
          socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n`);
          socket.write(pattern(50_000));
          await until(() => seen.length % 2 === (make === createWriteStream ? 0 : 1));
          socket.destroy();
        },
      );
    }
    t.deepEqual(seen[0], seen[1]);
  }
});

kernelTest('appended to, into an existing file, and from a start: as fs.createWriteStream does', async (t) => {
  const body = pattern(500_000);
  for (const options of [{ flags: 'a' }, { flags: 'r+' }, { flags: 'w' }, { flags: 'r+', start: 5 }, { start: 7 }]) {
    const contents: Buffer[] = [];
    for (const make of [createSpliceWriteStream, createWriteStream] as ((
      path: string,
      options: object,
    ) => WriteStream)[]) {
      const path = fresh();
      writeFileSync(path, 'what was there before');
      await serving(
        async (request, response) => {
          const file = make(path, options);
          await pipeline(request, file);
          t.is(file.bytesWritten, body.length);
          response.end();
        },
        async ({ port }) => {
          t.is((await put(port, body)).status, 200);
        },
      );
      contents.push(readFileSync(path));
    }
    t.true(contents[0]?.equals(contents[1] as Buffer), JSON.stringify(options));
  }
});

kernelTest('chunked, HTTP/2, and with a Transform before it: copied, with the reason', async (t) => {
  const reasons: (string | undefined)[] = [];
  const body = pattern(300_000);
  await serving(
    async (request, response) => {
      const file = createSpliceWriteStream(fresh());
      await pipeline(request, file);
      t.true(readFileSync(file.path).equals(body));
      t.is(file.method, 'copy');
      reasons.push(file.fallbackReason);
      response.end();
    },
    async ({ port }) => {
      const request = http.request({ port, host: '127.0.0.1', method: 'PUT' });
      request.write(body.subarray(0, 1000));
      request.end(body.subarray(1000));
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      response.resume();
      await once(response, 'end');
    },
  );
  t.regex(reasons[0] ?? '', /no Content-Length/);

  const server = http2.createServer((request, response) => {
    const file = createSpliceWriteStream(fresh());
    void pipeline(request, file).then(() => {
      t.true(readFileSync(file.path).equals(body));
      reasons.push(file.fallbackReason);
      response.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const stream = session.request({ ':method': 'PUT', ':path': '/' });
  stream.end(body);
  stream.resume();
  await once(stream, 'end');
  session.close();
  server.close();
  t.truthy(reasons[1]);
});

kernelTest('a listener, or a second pipe, in the middle: everybody gets what follows, and the file all', async (t) => {
  const body = pattern(16 * MiB);
  for (const how of ['data', 'pause', 'second'] as const) {
    await serving(
      async (request, response) => {
        const path = fresh();
        const file = createSpliceWriteStream(path);
        const written = pipeline(request, file);
        await until(() => file.bytesWritten > MiB);
        if (how === 'data') request.on('data', () => {});
        else if (how === 'pause') {
          request.pause();
          const { bytesWritten } = file;
          await new Promise((resolve) => setTimeout(resolve, 30));
          t.true(file.bytesWritten - bytesWritten <= 2 * MiB);
          request.resume();
        } else request.pipe(createWriteStream(`${path}-2`));
        await written;
        t.true(readFileSync(path).equals(body), how);
        response.end();
      },
      async ({ port, errors }) => {
        const socket = net.connect(port, '127.0.0.1');
        socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
        for (let at = 0; at < body.length; at += MiB) {
          if (!socket.write(body.subarray(at, at + MiB))) await once(socket, 'drain');
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
        const [answer] = (await once(socket, 'data')) as [Buffer];
        t.regex(answer.toString(), /^HTTP\/1.1 200/);
        t.deepEqual(errors, []);
        socket.destroy();
      },
    );
  }
});

kernelTest('a server that answers early, or never reads the body, is not held up', async (t) => {
  await serving(
    async (request, response) => {
      const file = createSpliceWriteStream(fresh());
      const written = pipeline(request, file);
      response.end('early');
      await written;
      t.is(file.bytesWritten, 4 * MiB);
    },
    async ({ port, errors }) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      t.is((await put(port, pattern(4 * MiB), { agent })).text, 'early');
      t.is((await put(port, pattern(4 * MiB), { agent })).text, 'early');
      t.deepEqual(errors, []);
      agent.destroy();
    },
  );
});

kernelSerial('hundreds of uploads, one in three broken off, leave nothing behind', async (t) => {
  const round = async (count: number): Promise<void> => {
    await serving(
      async (request, response) => {
        const file = createSpliceWriteStream(join(directory, 'again'));
        await pipeline(request, file).then(
          () => response.end(),
          () => {},
        );
      },
      async ({ port }) => {
        for (let n = 0; n < count; n++) {
          const socket = net.connect(port, '127.0.0.1');
          socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n`);
          socket.write(Buffer.alloc(n % 3 === 0 ? 200_000 : 300_000));
          if (n % 3 === 0) setTimeout(() => socket.destroy(), n % 7);
          socket.resume().on('error', () => {});
          await once(socket, 'close');
        }
      },
    );
  };
  await round(50);
  await new Promise((resolve) => setTimeout(resolve, 2100)); // idle pipes go
  const before = openDescriptors();
  await round(300);
  await until(() => openDescriptors() <= before, 'descriptors back');
  t.pass();
});
