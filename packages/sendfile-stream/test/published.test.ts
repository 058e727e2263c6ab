/** Every transfer is published once, whatever its size and method; and its callbacks run in the caller's async context. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { PassThrough, pipeline } from 'node:stream';
import type { TransferTrace } from '@zerocopy/core-syscalls';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  get,
  KiB,
  kernelSerial,
  MiB,
  pattern,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const channel = tracingChannel<string, TransferTrace>('zerocopy:transfer');

/** What is published of `path` meanwhile: the names of the events, and the trace. */
async function published(
  path: string,
  run: () => Promise<unknown>,
): Promise<{ events: string[]; trace: TransferTrace }> {
  const events: string[] = [];
  let trace: TransferTrace | undefined;
  const on = (event: string) => (message: unknown) => {
    if ((message as TransferTrace).detail?.source !== path) return;
    events.push(event);
    trace = message as TransferTrace;
  };
  const subscribers = {
    start: on('start'),
    end: () => {},
    asyncStart: () => {},
    asyncEnd: on('asyncEnd'),
    error: on('error'),
  };
  channel.subscribe(subscribers as never);
  try {
    await run();
    await until(() => events.includes('asyncEnd'), 'the end is published');
  } finally {
    channel.unsubscribe(subscribers as never);
  }
  return { events, trace: trace as TransferTrace };
}

type Send = (response: ServerResponse, path: string) => Promise<unknown>;
const piped: Send = (response, path) =>
  new Promise((resolve) => pipeline(createSendfileStream(path), response, resolve));
const copiedPipe: Send = (response, path) =>
  new Promise((resolve) =>
    pipeline(
      createSendfileStream(path).on('data', () => {}),
      response,
      resolve,
    ),
  );

for (const [name, size, send, method] of [
  ['a small file, by sendFile', 3 * KiB, (response, path) => sendFile(response, path), 'copy'],
  ['a small file, by the stream', 3 * KiB, piped, 'copy'],
  ['a large file, by sendFile', 300 * KiB, (response, path) => sendFile(response, path), 'sendfile'],
  ['a large file, by the stream', 300 * KiB, piped, 'sendfile'],
  ['a stream that Node copies', 300 * KiB, copiedPipe, 'copy'],
] as readonly [string, number, Send, string][]) {
  kernelSerial(`${name}: published once, with its bytes, its method and its ends`, async (t) => {
    const path = writeFile(join(directory, `${size}-${name}`), pattern(size));
    await withHttpServer(
      (_request, response) => void send(response, path),
      async (port) => {
        const { events, trace } = await published(path, () => get(port));
        t.deepEqual(events, ['start', 'asyncEnd']);
        t.like(trace, { bytes: size, method, source: 'file', destination: 'http' });
        t.is(typeof trace.fallbackReason, method === 'copy' ? 'string' : 'undefined');
      },
    );
  });
}

test.serial('a copy to any other stream: published once; one that fails, too', async (t) => {
  const path = writeFile(join(directory, 'any'), pattern(200_000));
  const sink = new PassThrough();
  sink.resume();
  const good = await published(path, () => sendFile(sink, path));
  t.deepEqual(good.events, ['start', 'asyncEnd']);
  t.like(good.trace, { bytes: 200_000, method: 'copy', destination: 'stream' });
  const bad = await published(path, () =>
    sendFile(
      new PassThrough().on('data', function (this: PassThrough) {
        this.destroy(new Error('enough'));
      }),
      path,
    ).catch(() => {}),
  );
  t.deepEqual(bad.events, ['start', 'error', 'asyncEnd']);
});

for (const how of ['stream', 'sendFile', 'copied'] as const) {
  kernelSerial(`a client that aborts a download (${how}): an error that says so, with the count`, async (t) => {
    const path = writeFile(join(directory, `aborted-${how}`), pattern(32 * MiB));
    await withHttpServer(
      (_request, response) => {
        if (how === 'sendFile') sendFile(response, path).catch(() => {});
        else void (how === 'stream' ? piped : copiedPipe)(response, path);
      },
      async (port) => {
        const { events, trace } = await published(path, async () => {
          const socket = net.connect(port, '127.0.0.1');
          socket.on('error', () => {});
          socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
          await new Promise((resolve) => socket.once('readable', resolve));
          await new Promise((resolve) => setTimeout(resolve, 20));
          socket.destroy();
        });
        t.deepEqual(events, ['start', 'error', 'asyncEnd']);
        const { code, bytes } = trace.error as { code?: string; bytes?: number };
        t.regex(code ?? '', /^(ECONNRESET|EPIPE)$/);
        t.true((bytes ?? -1) > 0 && (bytes ?? 0) < 32 * MiB);
        t.is(trace.bytes, bytes);
      },
    );
  });
}

kernelSerial('a store that is bound to the start of the channel is in force in onProgress', async (t) => {
  const store = new AsyncLocalStorage<string>();
  channel.start.bindStore(store as never, (trace) => `of ${(trace as TransferTrace).length}` as never);
  const path = writeFile(join(directory, 'bound'), pattern(100_000));
  const seen: unknown[] = [];
  try {
    await withSockets('tcp', async (server, client) => {
      client.resume();
      await sendFile(server, path, { onProgress: () => seen.push(store.getStore()) });
    });
  } finally {
    channel.start.unbindStore(store as never);
  }
  t.true(seen.length > 0 && seen.every((value) => value === 'of 100000'), String(seen));
});

kernelSerial("callbacks, 'end', 'close' and promises run in the async context of their own caller", async (t) => {
  const store = new AsyncLocalStorage<number>();
  const wrong: string[] = [];
  const check = (id: number, what: string): void => {
    if (store.getStore() !== id) wrong.push(`${what} of ${id} ran in ${store.getStore()}`);
  };
  await Promise.all(
    Array.from({ length: 8 }, (_, id) =>
      withSockets('tcp', async (server, client) => {
        const path = writeFile(join(directory, `context-${id}`), pattern(3 * MiB));
        client.resume();
        await store.run(id, async () => {
          await sendFile(server, path, { onProgress: () => check(id, 'onProgress') });
          check(id, 'the promise');
          const stream = createSendfileStream(path);
          stream.on('progress', () => check(id, 'progress'));
          stream.on('end', () => check(id, 'end'));
          stream.on('close', () => check(id, 'close'));
          await new Promise<void>((resolve) => {
            pipeline(stream, server, () => {
              check(id, 'the callback of pipeline');
              resolve();
            });
          });
        });
      }),
    ),
  );
  t.deepEqual(wrong, []);
});
