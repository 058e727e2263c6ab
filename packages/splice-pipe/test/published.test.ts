/** What is published of a transfer: once for each, with its end, and in the caller's async context. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import type { TransferTrace } from '@zerocopy/core-syscalls';
import { proxy, splice, tee } from '@zerocopy/splice-pipe';
import type { ExecutionContext } from 'ava';
import { kernelSerial, pattern, pause, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();

/** What is published while `use` runs: of each transfer once, its start and its end, in this order. */
async function published(t: ExecutionContext, use: () => Promise<unknown>): Promise<TransferTrace[]> {
  const started: TransferTrace[] = [];
  const failed: TransferTrace[] = [];
  const ended: TransferTrace[] = [];
  const listeners = { start: started, error: failed, asyncEnd: ended };
  const subscribed = Object.entries(listeners).map(([event, list]) => {
    const listener = (trace: unknown): void => void list.push(trace as TransferTrace);
    channel(`tracing:zerocopy:transfer:${event}`).subscribe(listener);
    return () => channel(`tracing:zerocopy:transfer:${event}`).unsubscribe(listener);
  });
  try {
    await use();
    await until(() => ended.length === started.length, 'every transfer has ended');
  } finally {
    for (const unsubscribe of subscribed) unsubscribe();
  }
  t.is(new Set(ended).size, ended.length, 'each is published once');
  t.deepEqual(
    failed,
    ended.filter(({ error }) => error !== undefined),
  );
  return ended;
}

const quietly = (promise: Promise<unknown>): Promise<unknown> => promise.catch(() => {});

kernelSerial('a peer that goes away is an error that says so, with the bytes that had gone', async (t) => {
  const goneWays: Record<string, (source: Socket, sink: Socket, client: Socket, reader: Socket) => Promise<unknown>> = {
    async 'the destination resets'(source, sink, client, reader) {
      const moving = quietly(splice(source, sink));
      client.write(pattern(100_000));
      await pause(20);
      reader.resetAndDestroy();
      client.write(pattern(4_000_000));
      await moving;
    },
    async 'the destination is destroyed'(source, sink) {
      const moving = quietly(splice(source, sink));
      await pause(10);
      sink.destroy();
      await moving;
    },
    async 'the source resets'(source, sink, client) {
      const moving = quietly(splice(source, sink));
      client.write('some');
      await pause(20);
      client.resetAndDestroy();
      await moving;
    },
    async 'the source is destroyed'(source, sink) {
      const moving = quietly(splice(source, sink));
      await pause(10);
      source.destroy();
      await moving;
    },
    async 'copied, the destination resets'(_source, sink, _client, reader) {
      const moving = quietly(splice(Readable.from([Buffer.alloc(64_000_000)], { objectMode: false }), sink));
      await pause(10);
      reader.resetAndDestroy();
      await moving;
    },
    async 'a proxied side resets'(source, sink, client) {
      const moving = quietly(proxy(source, sink));
      client.write('some');
      await pause(20);
      client.resetAndDestroy();
      await moving;
    },
    async 'all destinations of a tee'(source, sink) {
      const moving = quietly(tee(source, [sink]));
      await pause(10);
      sink.destroy();
      await moving;
    },
  };
  for (const [way, move] of Object.entries(goneWays)) {
    await withPair('tcp', directory, async ({ server: source, client }) => {
      await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
        for (const socket of [source, client, sink, reader]) socket.on('error', () => {});
        const traces = await published(t, () => move(source, sink, client, reader));
        t.is(traces.length, way === 'a proxied side resets' ? 2 : 1, way);
        for (const { error } of traces) {
          const { code } = (error ?? { code: 'none' }) as { code: string };
          t.true(['ECONNRESET', 'EPIPE', 'ERR_ALL_DESTINATIONS_FAILED'].includes(code), `${way}: ${code}`);
        }
      });
    });
  }
});

kernelSerial('an upload that breaks off is published as a failure, spliced and copied', async (t) => {
  for (const size of [1_000_000, 3000]) {
    for (const end of ['end', 'reset'] as const) {
      const file = await open(join(directory, 'upload'), 'w');
      const traces = await published(t, async () => {
        let done: (error: unknown) => void = () => {};
        const failed = new Promise((resolve) => {
          done = resolve;
        });
        const server = http.createServer((request) => void splice(request, file).then(done, done));
        server.listen(0, '127.0.0.1');
        await once(server, 'listening');
        const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
        client.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
        client.write(Buffer.alloc(1000));
        await pause(30);
        if (end === 'reset') client.resetAndDestroy();
        else client.end();
        t.is(((await failed) as { code: string }).code, 'ECONNRESET', `${size} ${end}`);
        client.destroy();
        server.close();
      });
      await file.close();
      t.is(traces.length, 1);
      t.like(traces[0], {
        source: 'http',
        destination: 'file',
        bytes: 1000,
        error: { code: 'ECONNRESET', bytes: 1000 },
      });
    }
  }
});

kernelSerial(
  'every transfer is published, copies and nothing at all included, with its ends, method and reason',
  async (t) => {
    await withPair('tcp', directory, async ({ server: source, client }) => {
      await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
        reader.resume();
        client.write('abcdefghi');
        const file = await open(join(directory, 'published'), 'w+');
        const traces = await published(t, async () => {
          await splice(source, sink, { length: 4 });
          await splice(source, new PassThrough(), { length: 4 });
          await splice(source, file, { length: 0 });
          await tee(source, [file, sink], { length: 1 });
          await splice(Readable.from([]), sink);
        });
        await file.close();
        t.like(traces[0], { source: 'socket', destination: 'socket', bytes: 4, length: 4 });
        t.like(traces[1], { source: 'socket', destination: 'stream', method: 'copy', bytes: 4 });
        t.regex(traces[1]?.fallbackReason ?? '', /PassThrough/);
        t.like(traces[2], { source: 'socket', destination: 'file', method: 'splice', bytes: 0 });
        t.like(traces[3], { source: 'socket', bytes: 1 });
        t.like(traces[4], { source: 'stream', destination: 'socket', method: 'copy', bytes: 0 });
        t.is(traces.length, 5);
      });
    });
  },
);

kernelSerial('callbacks and promises run in the async context of their caller, many at once', async (t) => {
  const storage = new AsyncLocalStorage<number>();
  const others: string[] = [];
  const check = (what: string, mine: number): void => {
    if (storage.getStore() !== mine) others.push(`${what}: ${storage.getStore()} for ${mine}`);
  };
  const calls: Record<string, (source: Socket, sink: Socket, mine: number) => Promise<unknown>> = {
    splice: (source, sink, mine) => splice(source, sink, { onProgress: () => check('progress', mine) }),
    copy: (source, sink, mine) =>
      splice(source.pipe(new PassThrough()), sink, { onProgress: () => check('progress, copied', mine) }),
    tee: (source, sink, mine) => tee(source, [sink], { onProgress: () => check('progress of tee', mine) }),
    proxy: (source, sink, mine) => proxy(source, sink, { onProgress: () => check('progress of proxy', mine) }),
  };
  for (const [way, call] of Object.entries(calls)) {
    await Promise.all(
      Array.from({ length: 4 }, (_, mine) =>
        withPair('tcp', directory, ({ server: source, client }) =>
          withPair('tcp', directory, async ({ server: sink, client: reader }) => {
            reader.resume();
            if (way === 'proxy') reader.end('back');
            const done = storage.run(mine, async () => {
              await call(source, sink, mine);
              check(way, mine);
            });
            client.resume();
            client.write(pattern(500_000));
            await pause(5);
            client.end();
            await done;
          }),
        ),
      ),
    );
  }
  t.deepEqual(others, []);
});

kernelSerial('a store bound to the start of the channel is in force in callbacks', async (t) => {
  const storage = new AsyncLocalStorage<string>();
  const { start } = tracingChannel('zerocopy:transfer');
  start.bindStore(storage, () => 'bound');
  try {
    await withPair('tcp', directory, async ({ server: source, client }) => {
      await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
        reader.resume();
        client.end(pattern(100_000));
        const stores = new Set<string | undefined>();
        await splice(source, sink, { onProgress: () => void stores.add(storage.getStore()) });
        t.deepEqual([...stores], ['bound']);
      });
    });
  } finally {
    start.unbindStore(storage);
  }
});

kernelSerial(
  'a subscriber that destroys, pauses or closes while it is told of the start: nothing moves on closed numbers',
  async (t) => {
    for (const act of ['source', 'sink', 'abort'] as const) {
      await withPair('tcp', directory, async ({ server: source, client }) => {
        await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
          for (const socket of [source, client, sink, reader]) socket.on('error', () => {});
          client.end(pattern(300_000));
          const controller = new AbortController();
          const listener = (): void => {
            if (act === 'source') source.destroy();
            else if (act === 'sink') sink.destroy();
            else controller.abort();
          };
          const start = channel('tracing:zerocopy:transfer:start');
          start.subscribe(listener);
          try {
            for (const call of [splice(source, sink, { signal: controller.signal })]) {
              await t.throwsAsync(call, { code: act === 'abort' ? 'ABORT_ERR' : 'ECONNRESET' }, act);
            }
          } finally {
            start.unsubscribe(listener);
          }
        });
      });
    }
  },
);
