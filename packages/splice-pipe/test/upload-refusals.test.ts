/** HTTP bodies that are not to be read below the parser: the reason by its text, the same bytes, and the connection goes on. */
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import net, { type AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { TransferError } from '@zerocopy/core-syscalls';
import { createSpliceWriteStream, splice } from '@zerocopy/splice-pipe';
import test from 'ava';
import { collect, kernelTest, MiB, pattern, pause, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const fresh = (): string => join(directory, `upload-${names++}`);

async function serving(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  use: (port: number) => Promise<void>,
  server: http.Server = http.createServer(),
): Promise<void> {
  let failed: unknown;
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    handle(request, response).catch((error: unknown) => {
      failed ??= error;
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
  if (failed !== undefined) throw failed;
}

/** Sends the header and a part of the body, the rest a little later: not all of it is in user space at once. */
async function put(
  port: number,
  body: Buffer,
  module: typeof http | typeof https = http,
  options = {},
): Promise<string> {
  const request = module.request({ port, host: '127.0.0.1', method: 'PUT', ...options });
  request.setHeader('Content-Length', body.length);
  request.write(body.subarray(0, 1000));
  setTimeout(() => request.end(body.subarray(1000)), 20);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return (await collect(response)).toString();
}

/** As it is, but somebody's own. */
function wrapMethod(thing: object, name: string): void {
  const original = Reflect.get(thing, name) as (...args: unknown[]) => unknown;
  Object.assign(thing, { [name]: (...args: unknown[]) => Reflect.apply(original, thing, args) });
}

const refused: Record<string, { prepare(request: IncomingMessage): unknown; reason: string }> = {
  'its _read replaced': {
    prepare: (request) => wrapMethod(request, '_read'),
    reason: "the request's methods were replaced",
  },
  'its push replaced': {
    prepare: (request) => wrapMethod(request, 'push'),
    reason: "the request's methods were replaced",
  },
  "its connection's _read replaced": {
    prepare: (request) => wrapMethod(request.socket, '_read'),
    reason: "the connection's _read has been replaced",
  },
  'an encoding': {
    prepare: (request) => request.setEncoding('latin1'),
    reason: 'the request is being read already',
  },
  'a listener that was put first': {
    prepare: (request) => request.prependListener('data', () => {}),
    reason: "the request has a 'data' or 'readable' listener",
  },
};

for (const [name, { prepare, reason }] of Object.entries(refused)) {
  kernelTest(`splice of a request with ${name}: copied, every byte, and the next one by splice`, async (t) => {
    const body = pattern(400_000);
    const told: unknown[] = [];
    await serving(
      async (request, response) => {
        const path = fresh();
        const file = await open(path, 'w');
        if (request.url === '/refused') prepare(request);
        const { bytes, method, fallbackReason } = await splice(request, file);
        await file.close();
        told.push([bytes, method, fallbackReason, readFileSync(path).equals(body)]);
        response.end('done');
      },
      async (port) => {
        for (const path of ['/refused', '/']) {
          const agent = new http.Agent();
          t.is(await put(port, body, http, { path, agent }), 'done');
          agent.destroy();
        }
      },
    );
    t.deepEqual(told[0], [body.length, 'copy', reason, true]);
    t.deepEqual(told[1], [body.length, 'splice', undefined, true]);
  });
}

kernelTest('somebody hears the connection: copied, with the reason, and what is heard is the body', async (t) => {
  const body = pattern(400_000);
  let heard = 0;
  const server = http.createServer();
  // From its beginning: Node 20 may read no more of a body where it is only heard from then on.
  server.on('connection', (socket) => {
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.length;
    });
  });
  await serving(
    async (request, response) => {
      const path = fresh();
      const file = createSpliceWriteStream(path);
      await pipeline(request, file);
      t.deepEqual([file.method, file.fallbackReason], ['copy', 'somebody else reads the connection']);
      t.true(readFileSync(path).equals(body));
      response.end('done');
    },
    async (port) => {
      t.is(await put(port, body), 'done');
    },
    server,
  );
  t.true(heard > body.length);
});

kernelTest('a body of which a part was read, or only a part is asked for: copied from there', async (t) => {
  const body = pattern(400_000);
  const told: unknown[] = [];
  await serving(
    async (request, response) => {
      const path = fresh();
      const file = await open(path, 'w');
      if (request.url === '/read') {
        await once(request, 'readable');
        t.is((request.read(10) as Buffer).length, 10);
      }
      const options = request.url === '/part' ? { length: 5000 } : {};
      const { bytes, fallbackReason } = await splice(request, file, options);
      await file.close();
      const rest = await collect(request.readableEnded ? new PassThrough().end() : request);
      const whole = Buffer.concat([readFileSync(path), rest]);
      told.push([bytes, fallbackReason, whole.equals(body.subarray(request.url === '/read' ? 10 : 0))]);
      response.end('done');
    },
    async (port) => {
      for (const path of ['/read', '/part']) t.is(await put(port, body, http, { path }), 'done');
    },
  );
  t.deepEqual(told, [
    [body.length - 10, 'the request is being read already', true],
    [5000, 'only a part of the body is asked for', true],
  ]);
});

kernelTest('a response is spliced; a body that is there already is copied, with the reason', async (t) => {
  const body = pattern(300_000);
  await serving(
    async (request, response) => {
      await pause(20);
      const opened = await open(fresh(), 'w');
      const small = await splice(request, opened);
      t.deepEqual([small.bytes, small.fallbackReason], [4, 'the whole body is in user space already']);
      await opened.close();
      response.end(body);
    },
    async (port) => {
      const request = http.request({ port, host: '127.0.0.1', method: 'PUT', headers: { 'Content-Length': 4 } });
      request.end('tiny');
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      const path = fresh();
      const file = createSpliceWriteStream(path);
      await pipeline(response, file);
      t.deepEqual([file.method, file.fallbackReason], ['splice', undefined]);
      t.true(readFileSync(path).equals(body));
    },
  );
});

kernelTest('an upload over TLS is copied, with the reason', async (t) => {
  const body = pattern(300_000);
  const psk = { ciphers: 'PSK+HIGH', maxVersion: 'TLSv1.2' as const, checkServerIdentity: () => undefined };
  const key = Buffer.alloc(16, 'k');
  await serving(
    async (request, response) => {
      const path = fresh();
      const file = createSpliceWriteStream(path);
      await pipeline(request, file);
      t.is(file.fallbackReason, 'the source is encrypted (TLS)');
      t.true(readFileSync(path).equals(body));
      response.end('done');
    },
    async (port) => {
      const options = { ...psk, pskCallback: () => ({ psk: key, identity: 'test' }) };
      t.is(await put(port, body, https, options), 'done');
    },
    https.createServer({ ...psk, pskCallback: () => key } as https.ServerOptions),
  );
});

kernelTest(
  'a server fed with other streams than sockets, or a socket that is no HTTP/1 parser of its own',
  async (t) => {
    const request = new http.IncomingMessage(new PassThrough() as unknown as Socket);
    Object.assign(request, { headers: { 'content-length': '4' }, httpVersionMajor: 1 });
    const path = fresh();
    const file = createSpliceWriteStream(path);
    request.pipe(file);
    request.push('body');
    request.push(null);
    await once(file, 'close');
    t.is(file.fallbackReason, 'the request is not HTTP/1 on a socket');
    t.is(readFileSync(path, 'utf8'), 'body');

    // As a test of a handler does it: a message without a connection.
    const unconnected = new http.IncomingMessage(new Socket());
    unconnected.statusCode = null as unknown as number;
    Object.assign(unconnected, { headers: { 'content-length': '300000' }, httpVersionMajor: 1 });
    unconnected.socket.on('data', () => {});
    const other = createSpliceWriteStream(fresh());
    unconnected.pipe(other);
    unconnected.push('body');
    unconnected.push(null);
    await once(other, 'close');
    t.is(other.fallbackReason, 'the connection has no plain descriptor');
    t.is(other.bytesWritten, 4);
  },
);

kernelTest('the connection goes in the turn its request comes: the error, and no byte', async (t) => {
  for (const how of ['before', 'meanwhile', 'before the parser is through'] as const) {
    let failure: TransferError | undefined;
    let told = (): void => {};
    const failed = new Promise<void>((resolve) => {
      told = resolve;
    });
    await serving(
      async (request) => {
        const file = await open(fresh(), 'w');
        request.on('error', () => {});
        if (how === 'before') request.socket.destroy();
        if (how === 'before the parser is through') setImmediate(() => request.destroy());
        const result = splice(request, file);
        if (how === 'meanwhile') request.destroy();
        failure = await result.then(
          () => undefined,
          (error: TransferError) => error,
        );
        await file.close();
        told();
      },
      async (port) => {
        const socket = net.connect(port, '127.0.0.1').on('error', () => {});
        socket.write('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n');
        await failed;
        socket.destroy();
      },
    );
    t.is(failure?.code, 'ECONNRESET', how);
    t.is(failure?.bytes, 0, how);
  }
});

kernelTest(
  'a stream that is destroyed, or unpiped, while the parser is still at the header: the body is whole elsewhere',
  async (t) => {
    const body = pattern(MiB);
    await serving(
      async (request, response) => {
        const file = createSpliceWriteStream(fresh());
        request.pipe(file);
        request.unpipe(file);
        file.destroy();
        const whole = collect(request);
        request.resume(); // the pipe that has gone has paused it
        t.true((await whole).equals(body));
        t.is(file.bytesWritten, 0);
        response.end('done');
      },
      async (port) => {
        t.is(await put(port, body), 'done');
      },
    );
  },
);

kernelTest(
  'a body that came with its header: it is in user space when the parser is through, and is copied',
  async (t) => {
    await serving(
      async (request, response) => {
        const path = fresh();
        const fd = openSync(path, 'w');
        const { bytes, fallbackReason } = await splice(request, fd);
        closeSync(fd);
        t.deepEqual([bytes, fallbackReason], [4, 'the whole body is in user space already']);
        t.is(readFileSync(path, 'utf8'), 'body');
        response.end('done');
      },
      async (port) => {
        const socket = net.connect(port, '127.0.0.1');
        socket.write('PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody');
        t.regex((await collect(socket)).toString(), /^HTTP\/1.1 200 .*done$/s);
      },
    );
  },
);

test('a request without a body, spliced: nothing, and the connection goes on', async (t) => {
  await serving(
    async (request, response) => {
      const file = await open(fresh(), 'w');
      response.end(String((await splice(request, file)).bytes));
      await file.close();
    },
    async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; n < 2; n++) {
        const request = http.get({ port, host: '127.0.0.1', agent });
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        t.is((await collect(response)).toString(), '0');
      }
      agent.destroy();
    },
  );
});
