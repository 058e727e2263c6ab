/** A message never gets more than it has announced, and no half of a file is taken for whole, by whichever way the bytes go. */
import { readFileSync, truncateSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline, Writable } from 'node:stream';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  get,
  kernelTest,
  MiB,
  pattern,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(200_000);
const path = writeFile(join(directory, 'file'), content);

/** All that comes on a connection after two pipelined requests, until it closes. */
function pipelined(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk)).on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
    socket.write('GET /file HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  });
}

type Send = (response: http.ServerResponse) => void;
const ways: readonly [string, Send][] = [
  ['as ever', (response) => pipeline(createSendfileStream(path), response, () => {})],
  ['by pipe', (response) => createSendfileStream(path).pipe(response)],
  [
    "with a 'data' listener",
    (response) =>
      createSendfileStream(path)
        .on('data', () => {})
        .pipe(response),
  ],
  ['with an encoding', (response) => createSendfileStream(path, { encoding: 'latin1' }).pipe(response)],
  [
    'with a write that others have replaced',
    (response) => {
      const { write } = response;
      response.write = ((...args: Parameters<typeof write>) => Reflect.apply(write, response, args)) as typeof write;
      createSendfileStream(path).pipe(response);
    },
  ],
  [
    'unpiped and piped again while it is read',
    (response) => {
      const stream = createSendfileStream(path);
      stream.pipe(response);
      stream.once('open', () => {
        stream.unpipe(response);
        setImmediate(() => stream.pipe(response));
      });
    },
  ],
  [
    'piped while it is read',
    (response) => {
      const stream = createSendfileStream(path);
      stream.once('open', () => {
        stream.read(0);
        stream.pipe(response);
      });
    },
  ],
  [
    'read before it was piped',
    (response) => {
      const stream = createSendfileStream(path);
      stream.once('readable', () => stream.pipe(response));
    },
  ],
  [
    'with a second destination',
    (response) => {
      const stream = createSendfileStream(path);
      stream.pipe(new Writable({ write: (_chunk, _encoding, callback) => callback() }));
      stream.pipe(response);
    },
  ],
  ['by sendFile', (response) => void sendFile(response, path).catch(() => {})],
  [
    'by two of sendFile',
    (response) => {
      const both = [0, 1].map(() => sendFile(response, path, { endMessage: false }).catch(() => {}));
      void Promise.all(both).then(() => response.end());
    },
  ],
];

for (const [name, send] of ways) {
  for (const length of [0, 10, 150_000]) {
    test(`Content-Length ${length}, a file of 200,000 bytes, ${name}: no byte more, or the connection ends`, async (t) => {
      await withHttpServer(
        (request, response) => {
          if (request.url === '/next') return void response.end('next');
          response.setHeader('Content-Length', length);
          send(response);
        },
        async (port) => {
          const answer = await pipelined(port);
          const head = answer.indexOf('\r\n\r\n') + 4;
          if (head < 4) return void t.pass('the connection was destroyed');
          const rest = answer.slice(head + length);
          const expected = content.toString('latin1', 0, Math.min(length, answer.length - head));
          t.true(name === 'with an encoding' || answer.slice(head, head + length) === expected);
          t.true(rest === '' || rest.startsWith('HTTP/1.1 200 OK'), `${rest.slice(0, 60)}`);
        },
      );
    });
  }
}

test('an empty response of Content-Length 0 ends, and its connection goes on', async (t) => {
  await withHttpServer(
    (request, response) => {
      if (request.url === '/next') return void response.end('next');
      response.setHeader('Content-Length', 0);
      pipeline(createSendfileStream(path), response, () => {});
    },
    async (port) => {
      t.regex(await pipelined(port), /\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*next$/);
    },
  );
});

/** Sends a file that is cut once the first of it has arrived. */
async function cutInTheMiddle(
  name: string,
  send: (path: string, response: http.ServerResponse, failed: (error: unknown) => void) => void,
): Promise<{ error: NodeJS.ErrnoException | undefined; code: string | undefined; received: number }> {
  const big = writeFile(join(directory, name), pattern(32 * MiB));
  let error: NodeJS.ErrnoException | undefined;
  const server = http.createServer((_request, response) => {
    send(big, response, (failure) => {
      error = failure as NodeJS.ErrnoException;
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  // No client of HTTP: Node's takes a reset for the end of a body that ends by its close.
  let received = 0;
  const code = await new Promise<string | undefined>((resolve) => {
    const client = net.connect({
      port: (server.address() as AddressInfo).port,
      host: '127.0.0.1',
      allowHalfOpen: true,
    });
    let failure: NodeJS.ErrnoException | undefined;
    client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    // libuv tells an end, and not the reset, where that has come by the time of a read that did not fill its buffer. To a
    // connection that was reset nothing can be written; to one that was ended it can.
    client.on('end', () => client.end('?'));
    client.once('readable', () => {
      truncateSync(big, 1 * MiB);
      setTimeout(() => {
        client.on('data', (chunk) => {
          received += chunk.length;
        });
      }, 50);
    });
    client.on('error', (reason) => {
      failure = reason;
    });
    client.on('close', () => resolve(failure?.code));
  });
  await until(() => error !== undefined, 'the error');
  server.closeAllConnections();
  server.close();
  return { error, code, received };
}

for (const framing of ['length', 'close'] as const) {
  const head = (response: http.ServerResponse): void => {
    if (framing === 'length') response.setHeader('Content-Length', 32 * MiB);
    else response.writeHead(200, { 'Transfer-Encoding': 'identity', Connection: 'close' });
  };
  for (const [name, prepare] of [
    ['sent', (response: http.ServerResponse) => head(response)],
    [
      'copied',
      (response: http.ServerResponse) => {
        head(response);
        const { write } = response;
        response.write = ((...args: Parameters<typeof write>) => Reflect.apply(write, response, args)) as typeof write;
      },
    ],
  ] as const) {
    test(`a file that is cut while it is ${name}, in a body that ends by its ${framing}: ERR_FILE_TRUNCATED, and no peer takes it for whole`, async (t) => {
      for (const how of ['pipeline', 'pipe', 'sendFile'] as const) {
        const { error, code, received } = await cutInTheMiddle(`${framing}-${name}-${how}`, (big, response, failed) => {
          prepare(response);
          if (how === 'sendFile') sendFile(response, big).catch(failed);
          else if (how === 'pipeline') pipeline(createSendfileStream(big), response, failed);
          else createSendfileStream(big).on('error', failed).pipe(response);
        });
        t.is(error?.code, 'ERR_FILE_TRUNCATED', how);
        // A reset drops what is under way.
        const sent = framing === 'length' ? 32 * MiB : ((error as { bytes?: number }).bytes ?? 0);
        t.true(code === 'ECONNRESET' || code === 'EPIPE' || received < sent, `${how}: ${received} of ${sent}`);
      }
    });
  }
}

kernelTest('a file that is cut while sendFile sends it to a bare socket: the connection is reset', async (t) => {
  const big = writeFile(join(directory, 'bare'), pattern(32 * MiB));
  await withSockets('tcp', async (server, client) => {
    client.on('error', () => {});
    const sent = sendFile(server, big);
    await new Promise<void>((resolve) => client.once('readable', () => resolve()));
    truncateSync(big, 1 * MiB);
    let received = 0;
    client.on('data', (chunk) => {
      received += chunk.length;
    });
    await t.throwsAsync(sent, { code: 'ERR_FILE_TRUNCATED' });
    t.true(server.destroyed);
    client.end();
    await until(() => client.closed);
    t.true(received < 32 * MiB);
  });
});

// The size of each is 0, which the kernel says of files in /proc as well: it shows only when they have been read.
for (const [name, unsized] of [
  ['an empty file', writeFile(join(directory, 'empty'), '')],
  ['a file in /proc', '/proc/version'],
] as const) {
  test(`${name} that is all that its response has announced ends it`, async (t) => {
    const whole = readFileSync(unsized);
    await withHttpServer(
      async (_request, response) => {
        response.setHeader('Content-Length', whole.length);
        const { bytes } = await sendFile(response, unsized);
        const { writableEnded } = response;
        response.end();
        t.deepEqual({ bytes, writableEnded }, { bytes: whole.length, writableEnded: true });
      },
      async (port) => t.deepEqual((await get(port)).body, whole),
    );
  });
}

test('a file whose size is not known, and that is less than its response has announced, leaves it open for more', async (t) => {
  const first = readFileSync('/proc/version');
  await withHttpServer(
    async (_request, response) => {
      response.setHeader('Content-Length', first.length + 4);
      await sendFile(response, '/proc/version');
      const { writableEnded } = response;
      response.end('more');
      t.false(writableEnded);
    },
    async (port) => t.deepEqual((await get(port)).body, Buffer.concat([first, Buffer.from('more')])),
  );
});
