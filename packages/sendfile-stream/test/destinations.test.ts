/** Destinations that the kernel may not write to: everything arrives by Node's own stream, and the reason is told. */
import { createSocket } from 'node:dgram';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http, { IncomingMessage, ServerResponse } from 'node:http';
import net, { type AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex, PassThrough, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { descriptorOf, TransferError, type TransferTrace } from '@zerocopy/core-syscalls';
import { createSendfileStream, type SendfileReadStream, sendFile } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  collect,
  get,
  KiB,
  kernelTest,
  MiB,
  pattern,
  smallTest,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(300 * KiB);
const path = writeFile(join(directory, 'file'), content);

const response = (): ServerResponse => new ServerResponse(new IncomingMessage(new Socket()));

for (const [name, reason, use] of [
  [
    'a response that is assigned a connection only later',
    /the socket has no descriptor|the HTTP message has no socket/,
    async (stream) => {
      const destination = response();
      stream.pipe(destination);
      await until(() => destination.writableNeedDrain);
      let received: Buffer = Buffer.alloc(0);
      await withSockets('tcp', async (server, client) => {
        const bytes = collect(client);
        destination.assignSocket(server);
        server.on('drain', () => destination.emit('drain')); // as an HTTP server does
        await once(destination, 'finish');
        server.end();
        received = await bytes;
      });
      return received;
    },
  ],
  [
    'a response that is sent on a stream that is no socket',
    /the HTTP message is not sent on a socket/,
    async (stream) => {
      const chunks: Buffer[] = [];
      const connection = new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, callback) {
          chunks.push(chunk);
          callback();
        },
      });
      const destination = response();
      destination.assignSocket(connection as Socket);
      connection.on('drain', () => destination.emit('drain')); // as an HTTP server does
      destination.setHeader('Content-Length', content.length);
      await pipeline(stream, destination);
      return Buffer.concat(chunks);
    },
  ],
  [
    'a terminal, by what it says of itself',
    /the destination is a terminal/,
    async (stream) => {
      let received: Buffer = Buffer.alloc(0);
      await withSockets('tcp', async (server, client) => {
        const bytes = collect(client);
        await pipeline(stream, Object.assign(server, { isTTY: true }));
        received = await bytes;
      });
      return received;
    },
  ],
  [
    'a socket somebody counts the writes of',
    /write methods have been replaced/,
    async (stream) => {
      let received: Buffer = Buffer.alloc(0);
      await withSockets('tcp', async (server, client) => {
        let counted = 0;
        const { _write } = server;
        server._write = function (chunk: Buffer, ...rest): void {
          counted += chunk.length;
          _write.call(this, chunk, ...rest);
        };
        server._writev = null as never;
        const bytes = collect(client);
        await pipeline(stream, server);
        received = await bytes;
        if (counted !== content.length) throw new Error(`${counted} bytes were counted`);
      });
      return received;
    },
  ],
  [
    'a stream without a class',
    /not a socket but \[object Object\]/,
    async (stream) => {
      const sink = Object.assign(new PassThrough(), { constructor: undefined });
      const bytes = collect(sink as unknown as PassThrough);
      stream.pipe(sink as unknown as PassThrough);
      return bytes;
    },
  ],
] as const satisfies readonly (readonly [string, RegExp, (stream: SendfileReadStream) => Promise<Buffer>])[]) {
  kernelTest(`${name}: all bytes arrive, copied`, async (t) => {
    const stream = createSendfileStream(path, { smallFileSize: 0 });
    const received = await use(stream);
    t.true(received.subarray(-content.length).equals(content));
    t.is(stream.method, 'copy');
    t.regex(stream.fallbackReason ?? '', reason);
    t.is(stream.bytesSent, content.length);
  });
}

kernelTest('a message that counts its own body is given it by Node', async (t) => {
  let stream: SendfileReadStream | undefined;
  await withHttpServer(
    (_request, message) => {
      message.strictContentLength = true;
      message.setHeader('Content-Length', content.length);
      stream = createSendfileStream(path);
      stream.pipe(message);
    },
    async (port) => {
      t.true((await get(port)).body.equals(content));
    },
  );
  t.is(stream?.method, 'copy');
  t.regex(stream?.fallbackReason ?? '', /counts its own body/);
});

kernelTest('a socket that was never connected: the error of Node, and nothing sent', async (t) => {
  const error = await t.throwsAsync<NodeJS.ErrnoException>(pipeline(createSendfileStream(path), new Socket()));
  t.is(error?.code, 'ERR_SOCKET_CLOSED');
  const told = await t.throwsAsync(sendFile(new Socket(), path), { instanceOf: TransferError });
  t.like(told, { code: 'ERR_SOCKET_CLOSED', bytes: 0 });
});

kernelTest("a datagram socket's descriptor: an error that says so, and the socket stays open", async (t) => {
  const datagrams = createSocket('udp4');
  await new Promise<void>((resolve) => datagrams.bind(0, '127.0.0.1', resolve));
  const state = Object.getOwnPropertySymbols(datagrams).find(({ description }) => description === 'state symbol');
  const { fd } = (datagrams as unknown as Record<symbol, { handle: { fd: number } }>)[state as symbol]?.handle ?? {};
  if (fd === undefined) throw new Error('Node keeps the descriptor of a datagram socket elsewhere');
  const error = await t.throwsAsync(sendFile(fd, path), { instanceOf: TransferError });
  t.is(error?.bytes, 0);
  t.is(typeof error?.code, 'string');
  t.is(datagrams.address().address, '127.0.0.1');
  datagrams.close();
});

test('copied to a stream: the progress is told, and a file that shrinks is an error with the exact count', async (t) => {
  const sink = new PassThrough({ highWaterMark: 4 * MiB });
  const told: number[] = [];
  t.is((await sendFile(sink, path, { onProgress: (bytes) => told.push(bytes) })).bytes, content.length);
  t.is(told.at(-1), content.length);
  t.true(told.length > 1 && told.every((bytes, n) => n === 0 || bytes > (told[n - 1] as number)));

  const shrinking = writeFile(join(directory, 'shrinking'), content);
  const chunks: Buffer[] = [];
  const slow = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      if (chunks.length === 0) truncateSync(shrinking, 100 * KiB);
      chunks.push(chunk);
      setImmediate(callback);
    },
  });
  const error = await t.throwsAsync(sendFile(slow, shrinking), { instanceOf: TransferError });
  t.like(error, { code: 'ERR_FILE_TRUNCATED', bytes: Buffer.concat(chunks).length });
  t.true(slow.destroyed, 'nobody is to take it for whole');
});

test('aborted while it is copied: a plain stream can be written to, a message is torn', async (t) => {
  const controller = new AbortController();
  const chunks: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      chunks.push(chunk);
      if (chunks.length === 1) controller.abort();
      setImmediate(callback);
    },
  });
  const error = await t.throwsAsync(sendFile(sink, path, { signal: controller.signal }), {
    instanceOf: TransferError,
    code: 'ABORT_ERR',
  });
  t.false(sink.destroyed);
  sink.end('after');
  await once(sink, 'finish');
  const received = Buffer.concat(chunks);
  t.true(received.subarray(0, -5).equals(content.subarray(0, received.length - 5)));
  t.is(error?.bytes, received.length - 5, 'what it had taken, and no more');
  t.is(received.subarray(-5).toString(), 'after');

  await withHttpServer(
    (_request, message) => {
      message.strictContentLength = true; // copied
      message.setHeader('Content-Length', content.length);
      const abort = new AbortController();
      sendFile(message, path, { signal: abort.signal, onProgress: () => abort.abort() }).catch(() => {});
    },
    async (port) => {
      await t.throwsAsync(get(port), { code: 'ECONNRESET' });
    },
  );
});

kernelTest('a stream that was paused and is then piped goes by the kernel, whole', async (t) => {
  await withSockets('unix', async (server, client) => {
    const stream = createSendfileStream(path);
    stream.pause();
    const bytes = collect(client);
    stream.pipe(server);
    t.true((await bytes).equals(content));
    t.is(stream.method, 'sendfile');
  });
});

kernelTest('a read that somebody asked for while the kernel was sending is made up for afterwards', async (t) => {
  const big = writeFile(join(directory, 'held-back'), pattern(24 * MiB));
  for (const add of ['on', 'addListener'] as const) {
    await withSockets('tcp', async (server, client) => {
      const stream = createSendfileStream(big);
      stream.pipe(server);
      await until(() => stream.bytesSent > 0);
      t.is(stream.read(0), null);
      let seen = 0;
      stream[add]('data', (chunk: string | Buffer) => {
        seen += chunk.length;
      });
      t.true((await collect(client)).equals(pattern(24 * MiB)), add);
      t.true(seen > 0 && seen < 24 * MiB);
    });
  }
});

kernelTest("fallback 'never' fails where a second pipe would make it a copy", async (t) => {
  const big = writeFile(join(directory, 'never'), pattern(24 * MiB));
  await withSockets('tcp', async (server) => {
    const stream = createSendfileStream(big, { fallback: 'never' });
    stream.pipe(server, { end: false });
    await until(() => stream.bytesSent > 0);
    const failed = once(stream, 'error');
    stream.pipe(new PassThrough());
    const [error] = (await failed) as [NodeJS.ErrnoException];
    t.is(error.code, 'ERR_ZEROCOPY_UNAVAILABLE');
    t.regex(error.message, /more than one destination/);
  });
});

kernelTest('left by hand several times in one tick, it stops once, at the byte it tells', async (t) => {
  const big = writeFile(join(directory, 'left'), pattern(24 * MiB));
  for (const leave of [
    (stream: SendfileReadStream, server: Socket) => stream.unpipe(server).destroy(),
    (stream: SendfileReadStream, server: Socket) => stream.destroy().unpipe(server),
    (stream: SendfileReadStream) => stream.pause().destroy(),
  ]) {
    await withSockets('tcp', async (server, client) => {
      const stream = createSendfileStream(big);
      stream.pipe(server);
      await until(() => stream.bytesSent > 0);
      leave(stream, server);
      await until(() => stream.closed);
      server.end('after');
      const bytes = await collect(client);
      t.is(bytes.subarray(-5).toString(), 'after');
      t.true(bytes.subarray(0, -5).equals(pattern(24 * MiB).subarray(0, bytes.length - 5)));
      t.is(stream.bytesRead, bytes.length - 5);
    });
  }
});

kernelTest(
  'autoClose: false: a file that shrinks is an error, the connection is torn, the descriptor stays',
  async (t) => {
    const shrinking = writeFile(join(directory, 'not-closed'), pattern(24 * MiB));
    await withSockets('tcp', async (server, client) => {
      const stream = createSendfileStream(shrinking, { autoClose: false });
      stream.pipe(server);
      await until(() => stream.bytesSent > 0);
      t.is(stream.method, 'sendfile');
      truncateSync(shrinking, 16 * MiB);
      const failed = once(stream, 'error');
      client.on('error', () => {}).resume();
      const [error] = (await failed) as [NodeJS.ErrnoException];
      t.is(error.code, 'ERR_FILE_TRUNCATED');
      t.is(stream.bytesSent, 16 * MiB);
      t.false(stream.destroyed);
      await until(() => server.destroyed);
      stream.destroy();
      await until(() => stream.closed);
    });
  },
);

kernelTest('a small file by a descriptor moves its position, as reading does', async (t) => {
  const small = writeFile(join(directory, 'small'), content.subarray(0, 3000));
  const handle = await open(small);
  await handle.read(Buffer.alloc(10), 0, 10);
  await withHttpServer(
    (_request, message) => {
      createSendfileStream('', { fd: handle.fd, autoClose: false }).pipe(message);
    },
    async (port) => {
      t.true((await get(port)).body.equals(content.subarray(10, 3000)));
    },
  );
  t.is((await handle.read(Buffer.alloc(1), 0, 1)).bytesRead, 0);
  await handle.close();
});

smallTest('a small file that is unpiped once it has been written ends nothing', async (t) => {
  const small = writeFile(join(directory, 'unpiped'), content.subarray(0, 3000));
  await withHttpServer(
    (_request, message) => {
      message.setHeader('Content-Length', 3005);
      const stream = createSendfileStream(small);
      const write = message.write.bind(message);
      stream.pipe(message);
      const onStart = (trace: unknown): void => {
        if ((trace as TransferTrace).detail?.source !== small) return;
        unsubscribe('tracing:zerocopy:transfer:start', onStart);
        process.nextTick(() => {
          stream.unpipe(message);
          write('after');
          message.end();
          stream.destroy();
        });
      };
      subscribe('tracing:zerocopy:transfer:start', onStart);
    },
    async (port) => {
      const { body } = await get(port);
      t.is(body.subarray(-5).toString(), 'after');
      t.true(body.subarray(0, -5).equals(content.subarray(0, 3000)));
    },
  );
});

kernelTest('uploads: aborted before there is a connection; one whose agent fails', async (t) => {
  const request = http.request({
    method: 'POST',
    // Never connected, so never given to the request.
    createConnection: () => undefined as unknown as Socket,
  });
  request.on('error', () => {});
  const controller = new AbortController();
  const sent = sendFile(request, path, { signal: controller.signal });
  setImmediate(() => controller.abort(new Error('enough')));
  const error = await t.throwsAsync(sent, { instanceOf: TransferError });
  t.like(error, { code: 'ABORT_ERR', bytes: 0 });
  request.destroy();

  // The path as a Buffer is opened by the thread pool, which the failure does not wait for.
  for (const file of [path, Buffer.from(path)]) {
    const failing = http.request({
      method: 'POST',
      createConnection: (_options, callback) => {
        const error = Object.assign(new Error('no route'), { code: 'EHOSTUNREACH' });
        setImmediate(callback as (error: Error) => void, error);
        return undefined as unknown as Socket;
      },
    });
    const told = await t.throwsAsync(sendFile(failing, file), { instanceOf: TransferError });
    t.like(told, { code: 'EHOSTUNREACH', bytes: 0 });
  }
});

kernelTest('a socket that fails while the file is being opened: the error is told, and crashes nothing', async (t) => {
  await withSockets('tcp', async (server) => {
    const sent = sendFile(server, Buffer.from(path));
    server.destroy(Object.assign(new Error('of its owner'), { code: 'EOWNER' }));
    t.like(await t.throwsAsync(sent, { instanceOf: TransferError }), { code: 'EOWNER', bytes: 0 });
  });
});

kernelTest('a message that its owner ends, or destroys, at the last byte: a result, or a clear error', async (t) => {
  for (const how of ['end', 'destroy'] as const) {
    let told: unknown;
    await withHttpServer(
      (_request, message) => {
        message.setHeader('Content-Length', content.length);
        const onProgress = (bytes: number): void => {
          if (bytes === content.length) message[how]();
        };
        sendFile(message, path, { onProgress, smallFileSize: 0, endMessage: true }).then(
          (result) => {
            told = result.bytes;
          },
          (error: NodeJS.ErrnoException) => {
            told = error;
          },
        );
      },
      async (port) => {
        const answer = await get(port).catch((error: NodeJS.ErrnoException) => error);
        await until(() => told !== undefined);
        if (how === 'end') {
          t.true('body' in answer && answer.body.equals(content));
          t.is(told, content.length);
        } else if (told instanceof TransferError) t.is(told.bytes, content.length);
        else t.is(told, content.length);
      },
    );
  }
});

smallTest('a small file: the progress is told once; aborted, it is an error, even if it had left', async (t) => {
  const small = writeFile(join(directory, 'small-abort'), content.subarray(0, 3000));
  const told: unknown[] = [];
  await withHttpServer(
    (request, message) => {
      const controller = new AbortController();
      const onProgress = (bytes: number, total?: number): void => void told.push([bytes, total]);
      const sent = sendFile(message, small, { onProgress, signal: controller.signal });
      if (request.url === '/abort') controller.abort();
      sent.catch((error: NodeJS.ErrnoException) => told.push(error.code));
    },
    async (port) => {
      t.true((await get(port)).body.equals(content.subarray(0, 3000)));
      await until(() => told.length > 0);
      t.deepEqual(told.splice(0), [[3000, 3000]]);
      await get(port, { path: '/abort' }).catch(() => {});
      await until(() => told.length > 0);
      t.deepEqual(told, ['ABORT_ERR']);
    },
  );
});

kernelTest(
  'aborted before it begins: nothing of a file is sent, small or large, to a message or elsewhere',
  async (t) => {
    const small = writeFile(join(directory, 'small-aborted'), content.subarray(0, 3000));
    const signal = AbortSignal.abort();
    for (const file of [small, path]) {
      await withHttpServer(
        async (_request, message) => {
          const error = await t.throwsAsync(sendFile(message, file, { signal }), { instanceOf: TransferError });
          t.like(error, { code: 'ABORT_ERR', bytes: 0 });
          message.destroy();
        },
        async (port) => {
          await t.throwsAsync(get(port), { code: 'ECONNRESET' });
        },
      );
      const sink = new PassThrough();
      const error = await t.throwsAsync(sendFile(sink, file, { signal }), { instanceOf: TransferError });
      t.like(error, { code: 'ABORT_ERR', bytes: 0 });
      t.false(sink.destroyed);
      t.is(sink.readableLength, 0);
    }
  },
);

kernelTest('a progress callback that throws fails the transfer with what it threw, however the bytes go', async (t) => {
  const small = writeFile(join(directory, 'small-throws'), content.subarray(0, 3000));
  const onProgress = (): void => {
    throw new Error('of the callback');
  };
  for (const file of [small, path]) {
    await withHttpServer(
      async (_request, message) => {
        const error = await t.throwsAsync(sendFile(message, file, { onProgress }), { instanceOf: TransferError });
        t.is((error?.cause as Error | undefined)?.message, 'of the callback');
        message.destroy();
      },
      async (port) => {
        await get(port).catch(() => {});
      },
    );
    const error = await t.throwsAsync(sendFile(new PassThrough().resume(), file, { onProgress }), {
      instanceOf: TransferError,
    });
    t.is((error?.cause as Error | undefined)?.message, 'of the callback');
  }
});

kernelTest('a stream that is full, and one that somebody ends on the way', async (t) => {
  const full = new PassThrough({ highWaterMark: 16 });
  full.write('more than it likes to hold');
  t.true(full.writableNeedDrain);
  const bytes = collect(full);
  await sendFile(full, path);
  full.end();
  t.true((await bytes).subarray(-content.length).equals(content));

  const chunks: Buffer[] = [];
  const ended = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      chunks.push(chunk);
      if (chunks.length === 2) ended.end();
      setImmediate(callback);
    },
  });
  const error = await t.throwsAsync(sendFile(ended, path), { instanceOf: TransferError });
  t.is(error?.code, 'ERR_STREAM_WRITE_AFTER_END');
  t.true(Buffer.concat(chunks).equals(content.subarray(0, 128 * KiB)));
});

kernelTest('from memory, small and large: one write with the headers, and no call off the loop', async (t) => {
  if (!existsSync('/dev/shm')) {
    t.log('there is no /dev/shm here');
    return t.pass();
  }
  const own = mkdtempSync('/dev/shm/zerocopy-');
  try {
    const small = writeFile(join(own, 'small'), content.subarray(0, 3000));
    const large = writeFile(join(own, 'large'), pattern(8 * MiB));
    await withHttpServer(
      (request, message) => {
        sendFile(message, request.url === '/small' ? small : large).catch((error) => t.fail(String(error)));
      },
      async (port) => {
        t.true((await get(port, { path: '/small' })).body.equals(readFileSync(small)));
        t.true((await get(port, { path: '/large' })).body.equals(readFileSync(large)));
      },
    );
  } finally {
    rmSync(own, { recursive: true });
  }
});

kernelTest('to /dev/full: ENOSPC, however it is opened, and no byte is counted', async (t) => {
  for (const flags of ['w', 'a']) {
    const fd = openSync('/dev/full', flags);
    const error = await t.throwsAsync(sendFile(fd, path), { instanceOf: TransferError });
    t.like(error, { code: 'ENOSPC', bytes: 0 }, flags);
    closeSync(fd);
  }
});

kernelTest('a file that shrinks on its way into another: the count is that of the bytes there', async (t) => {
  const target = join(directory, 'shrunk-target');
  for (const flags of ['w', 'a']) {
    const shrinking = writeFile(join(directory, 'shrinking-to-file'), pattern(16 * MiB));
    writeFile(target, Buffer.alloc(0));
    const fd = openSync(target, flags);
    const onProgress = (): void => truncateSync(shrinking, 5 * MiB);
    const error = await t.throwsAsync(sendFile(fd, shrinking, { onProgress }), { instanceOf: TransferError });
    closeSync(fd);
    t.is(error?.code, 'ERR_FILE_TRUNCATED', flags);
    t.is(readFileSync(target).length, error?.bytes);
    t.true(readFileSync(target).equals(pattern(16 * MiB).subarray(0, error?.bytes)));
  }
});

kernelTest('a connection that is destroyed under a queue of files fails each of them, once', async (t) => {
  const listener = net.createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const client = net.connect((listener.address() as AddressInfo).port, '127.0.0.1');
  const [server] = (await once(listener, 'connection')) as [Socket];
  const big = writeFile(join(directory, 'queue'), pattern(24 * MiB));
  const sent = [sendFile(server, big), sendFile(server, big), sendFile(descriptorOf(server) as number, path)];
  await once(client, 'readable');
  server.destroy();
  const [first, second] = await Promise.allSettled(sent.slice(0, 2));
  for (const outcome of [first, second]) {
    t.is(outcome?.status, 'rejected');
    const { reason } = outcome as PromiseRejectedResult;
    t.true(reason instanceof TransferError && reason.code === 'ECONNRESET', String(reason));
  }
  t.is(((second as PromiseRejectedResult).reason as TransferError).bytes, 0);
  client.destroy();
  listener.close();
  await Promise.allSettled(sent);
});
