import { once } from 'node:events';
import { createReadStream, ReadStream, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  collect,
  KiB,
  kernelTest,
  pattern,
  record,
  temporaryDirectory,
  until,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(300 * KiB);
const path = writeFile(join(directory, 'file'), content);

type Make = typeof createReadStream;
const both: readonly [string, Make][] = [
  ['node', createReadStream],
  ['zerocopy', createSendfileStream as unknown as Make],
];

test('it is an fs.ReadStream with the same properties', async (t) => {
  const ours = createSendfileStream(path, { start: 3, end: 9, highWaterMark: 5 });
  const own = createReadStream(path, { start: 3, end: 9, highWaterMark: 5 });
  t.true(ours instanceof ReadStream);
  for (const stream of [ours, own])
    t.is(Buffer.from(await collect(stream)).toString('hex'), content.subarray(3, 10).toString('hex'));
  for (const key of [
    'path',
    'bytesRead',
    'pending',
    'readableHighWaterMark',
    'flags',
    'mode',
    'start',
    'end',
  ] as const) {
    t.deepEqual((ours as never)[key], (own as never)[key], key);
  }
  t.is(ours.method, 'copy');
  t.is(ours.bytesSent, 7);
  t.is(ours.fallbackReason, 'the stream is read in user space');
});

for (const [name, start, end] of [
  ['all of it', undefined, undefined],
  ['from the middle', 1000, undefined],
  ['one byte', 77, 77],
  ['over the end', 299 * KiB, 1e9],
  ['beyond the end', 400 * KiB, undefined],
] as const) {
  test(`read in user space, ${name}: the same bytes and events as fs.createReadStream`, async (t) => {
    const options = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) };
    const logs = await Promise.all(
      both.map(async ([, make]) => {
        const log: string[] = [];
        const stream = make(path, options);
        record(log, 'source', stream, ['open', 'ready', 'end', 'close', 'error']);
        const bytes = await collect(stream);
        await until(() => stream.closed);
        return { log, bytes };
      }),
    );
    t.deepEqual(logs[1], logs[0]);
  });

  for (const kind of ['tcp', 'unix'] as const) {
    kernelTest(`into a ${kind} socket, ${name}: the same bytes as fs.createReadStream`, async (t) => {
      for (const [label, make] of both) {
        await withSockets(kind, async (server, client) => {
          const options = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) };
          const stream = make(path, options);
          const [bytes] = await Promise.all([collect(client), pipeline(stream, server)]);
          t.true(bytes.equals(content.subarray(start ?? 0, (end ?? Infinity) + 1)), label);
          if (label === 'zerocopy') {
            const { method, bytesSent } = stream as unknown as ReturnType<typeof createSendfileStream>;
            t.is(method, bytes.length === 0 ? 'copy' : 'sendfile');
            t.is(bytesSent, bytes.length);
            t.is(server.bytesWritten, bytes.length);
          }
          t.is(stream.bytesRead, bytes.length);
        });
      }
    });
  }
}

kernelTest('piped into a socket: the same events, in the same order', async (t) => {
  const logs: string[][] = [];
  for (const [, make] of both) {
    await withSockets('tcp', async (server, client) => {
      const log: string[] = [];
      const stream = make(path);
      record(log, 'source', stream, ['open', 'ready', 'end', 'close', 'error']);
      record(log, 'socket', server, ['pipe', 'unpipe', 'finish', 'error']);
      stream.pipe(server);
      await collect(client);
      await until(() => stream.closed && server.writableFinished);
      logs.push(log);
    });
  }
  t.deepEqual(new Set(logs[1]), new Set(logs[0]));
  const order = (log: string[] | undefined, events: string[]): string[] =>
    (log ?? []).filter((event) => events.includes(event));
  for (const events of [
    ['socket pipe', 'source open', 'source ready', 'source end', 'source close'],
    ['source end', 'socket finish', 'socket unpipe'],
  ]) {
    t.deepEqual(order(logs[1], events), order(logs[0], events));
  }
});

kernelTest('paths as Buffer and URL, descriptors and FileHandles, with and without a start', async (t) => {
  const handle = await open(path);
  const second = await open(path);
  const third = await open(path);
  await third.read(Buffer.alloc(10), 0, 10); // moves its own position
  const sources: [string, ReturnType<typeof createSendfileStream>, number][] = [
    ['Buffer', createSendfileStream(Buffer.from(path)), 0],
    ['URL', createSendfileStream(pathToFileURL(path)), 0],
    ['descriptor', createSendfileStream('', { fd: handle.fd, start: 5, autoClose: false }), 5],
    ['FileHandle', createSendfileStream('', { fd: second, start: 7 }), 7],
    ['its own position', createSendfileStream('', { fd: third.fd, autoClose: false }), 10],
  ];
  for (const [name, stream, start] of sources) {
    await withSockets('tcp', async (server, client) => {
      const [bytes] = await Promise.all([collect(client), pipeline(stream, server)]);
      t.true(bytes.equals(content.subarray(start)), name);
      t.is(stream.method, 'sendfile', name);
    });
  }
  t.is((await third.read(Buffer.alloc(1), 0, 1)).bytesRead, 0, 'the position moved with what was sent');
  await handle.read(Buffer.alloc(1), 0, 1, 0);
  await handle.close();
  await third.close();
});

test('errors are those of fs.createReadStream, thrown and emitted', async (t) => {
  for (const options of [
    { start: -1 },
    { start: 1.5 },
    { start: 5, end: 4 },
    { end: 'x' },
    { fd: -1 },
    { encoding: 'nonsense' },
    { highWaterMark: -1 },
    { signal: 'no' },
  ]) {
    const [own, ours] = both.map(([, make]) => {
      try {
        make(path, options as never);
        return undefined;
      } catch (error) {
        return {
          name: (error as Error).name,
          code: (error as NodeJS.ErrnoException).code,
          message: (error as Error).message,
        };
      }
    });
    t.truthy(own);
    t.deepEqual(ours, own);
  }
  for (const missing of [join(directory, 'missing'), directory]) {
    const logs = await Promise.all(
      both.map(async ([, make]) => {
        const log: string[] = [];
        const stream = make(missing);
        record(log, 'source', stream, ['open', 'error', 'close']);
        stream.resume();
        await until(() => stream.closed);
        return log;
      }),
    );
    t.deepEqual(logs[1], logs[0]);
  }
  t.throws(() => createSendfileStream(path, { fallback: 'maybe' as never }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /'fallback' must be one of 'auto', 'never'\. Received 'maybe'/,
  });
});

kernelTest('a file that is not there fails a pipeline into a socket as with Node', async (t) => {
  for (const [label, make] of both) {
    await withSockets('tcp', async (server) => {
      await t.throwsAsync(pipeline(make(join(directory, 'missing')), server), { code: 'ENOENT' }, label);
      t.true(server.destroyed, label);
    });
  }
});

test('with a Transform, a data listener, for await or an encoding it is an ordinary Readable and says so', async (t) => {
  const through = createSendfileStream(path);
  const chunks: Buffer[] = [];
  await pipeline(
    through,
    new Transform({ transform: (chunk, _encoding, callback) => callback(null, chunk) }),
    new Writable({
      write(chunk, _encoding, callback) {
        chunks.push(chunk);
        callback();
      },
    }),
  );
  t.true(Buffer.concat(chunks).equals(content));
  t.is(through.method, 'copy');
  t.regex(
    through.fallbackReason ?? '',
    /not a socket but a Transform|disabled by ZEROCOPY_DISABLE|^koffi cannot be loaded/,
  );

  const listened = createSendfileStream(path, { encoding: 'latin1' });
  let text = '';
  listened.on('data', (chunk) => {
    text += chunk;
  });
  await once(listened, 'end');
  t.is(text, content.toString('latin1'));
});

kernelTest(
  'a data listener, before or in the middle, sees every byte that leaves after it, and no byte is lost',
  async (t) => {
    for (const when of ['before', 'middle'] as const) {
      await withSockets('tcp', async (server, client) => {
        const big = writeFile(join(directory, `big-${when}`), pattern(24 * 1024 * KiB));
        const stream = createSendfileStream(big);
        let seen = 0;
        const listen = (): void => {
          stream.on('data', (chunk: string | Buffer) => {
            seen += chunk.length;
          });
        };
        if (when === 'before') listen();
        stream.pipe(server);
        if (when === 'middle') {
          // nobody reads yet, so it stands in the middle
          await until(() => stream.bytesSent > 0);
          t.is(stream.method, 'sendfile');
          listen();
        }
        const bytes = await collect(client);
        t.true(bytes.equals(pattern(24 * 1024 * KiB)));
        t.is(stream.method, 'copy');
        t.regex(stream.fallbackReason ?? '', /'data' listener/);
        t.true(when === 'before' ? seen === bytes.length : seen > 0 && seen < bytes.length);
      });
    }
  },
);

kernelTest('unpipe stops at a byte from which another pipe goes on', async (t) => {
  const size = 24 * 1024 * KiB;
  const big = writeFile(join(directory, 'unpipe'), pattern(size));
  await withSockets('tcp', async (server, client) => {
    const stream = createSendfileStream(big);
    stream.pipe(server, { end: false });
    await until(() => stream.bytesSent > 0);
    const unpiped = once(server, 'unpipe');
    stream.unpipe(server);
    await unpiped;
    const first = stream.bytesRead;
    t.true(first > 0 && first < size);
    stream.pipe(server);
    t.true((await collect(client)).equals(pattern(size)));
  });
});

kernelTest('two destinations both get everything', async (t) => {
  await withSockets('tcp', async (first, firstPeer) => {
    await withSockets('unix', async (second, secondPeer) => {
      const stream = createSendfileStream(path);
      stream.pipe(first);
      stream.pipe(second);
      const [a, b] = await Promise.all([collect(firstPeer), collect(secondPeer)]);
      t.true(a.equals(content));
      t.true(b.equals(content));
      t.regex(stream.fallbackReason ?? '', /more than one destination/);
    });
  });
});

kernelTest('destroying the source in the middle closes it, and the socket stays usable', async (t) => {
  const big = writeFile(join(directory, 'destroy'), pattern(24 * 1024 * KiB));
  await withSockets('tcp', async (server, client) => {
    const stream = createSendfileStream(big);
    stream.pipe(server);
    await until(() => stream.bytesSent > 0);
    stream.destroy();
    await once(stream, 'close');
    server.end('after');
    const bytes = await collect(client);
    t.is(bytes.subarray(-5).toString(), 'after');
    t.true(bytes.subarray(0, -5).equals(pattern(24 * 1024 * KiB).subarray(0, bytes.length - 5)));
    t.is(bytes.length - 5, stream.bytesSent);
  });
});

kernelTest("an abort signal ends a pipeline as it ends Node's", async (t) => {
  const big = writeFile(join(directory, 'abort'), pattern(24 * 1024 * KiB));
  for (const [label, make] of both) {
    await withSockets('tcp', async (server) => {
      const controller = new AbortController();
      const stream = make(big, { signal: controller.signal } as never);
      const done = pipeline(stream, server);
      await until(() => stream.bytesRead > 0);
      controller.abort();
      const error = await t.throwsAsync(done, { name: 'AbortError' }, label);
      t.is((error as NodeJS.ErrnoException).code, 'ABORT_ERR', label);
      t.true(server.destroyed, label);
    });
  }
});

kernelTest("the peer's reset fails the pipeline as with Node, and the file is closed", async (t) => {
  const big = writeFile(join(directory, 'reset'), pattern(24 * 1024 * KiB));
  for (const [label, make] of both) {
    await withSockets('tcp', async (server, client) => {
      const stream = make(big);
      const done = pipeline(stream, server);
      client.once('data', () => client.resetAndDestroy());
      const error = (await t.throwsAsync(done)) as NodeJS.ErrnoException;
      t.true(['ECONNRESET', 'EPIPE'].includes(error.code ?? ''), `${label} ${error.code}`);
      await until(() => stream.closed);
      t.true(server.destroyed);
    });
  }
});

kernelTest('progress events say how far it is, in bytes', async (t) => {
  await withSockets('tcp', async (server, client) => {
    const stream = createSendfileStream(path);
    const told: number[] = [];
    stream.on('progress', (bytes: number, total: number) => {
      t.is(total, content.length);
      told.push(bytes);
    });
    await Promise.all([collect(client), pipeline(stream, server)]);
    t.is(told.at(-1), content.length);
    t.deepEqual(
      [...told].sort((a, b) => a - b),
      told,
    );
  });
});

kernelTest("fallback 'never' fails with the reason instead of copying", async (t) => {
  const stream = createSendfileStream(path, { fallback: 'never' });
  const sink = new Writable({ write: (_chunk, _encoding, callback) => callback() });
  await t.throwsAsync(pipeline(stream, sink), {
    code: 'ERR_ZEROCOPY_UNAVAILABLE',
    message: /not a socket but a Writable/,
  });
  await t.throwsAsync(collect(createSendfileStream(path, { fallback: 'never' })), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
});

kernelTest('files without a size of their own are read, not sent (kernel-rules: st-size-lies)', async (t) => {
  writeFileSync(join(directory, 'empty'), '');
  for (const source of ['/proc/self/status', '/sys/kernel/mm/transparent_hugepage/enabled', join(directory, 'empty')]) {
    await withSockets('tcp', async (server, client) => {
      const expected = await collect(createReadStream(source)).catch(() => undefined);
      if (expected === undefined) {
        t.log(`${source} cannot be read here`);
        return;
      }
      const stream = createSendfileStream(source);
      const [bytes] = await Promise.all([collect(client), pipeline(stream, server)]);
      t.is(stream.method, 'copy', source);
      t.is(bytes.length > 0, expected.length > 0, source);
    });
  }
});
