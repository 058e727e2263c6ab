/** A file that is cut short while it is spliced: an error where what it had was asked for, and its end where nobody asked. */
import { truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http, { type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type SpliceDestination, type SpliceOptions, splice } from '@zerocopy/splice-pipe';
import { descriptorTargets } from '@zerocopy/testing/holdings';
import { kernelSerial, kernelTest, MiB, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();
const SIZE = 64 * MiB;
const LEFT = 300_000;

/** What `splice` of a file says whose end is taken away by the first report of progress. */
async function cut(
  name: string,
  destination: SpliceDestination,
  options: SpliceOptions,
  change: (path: string) => void = (path) => truncateSync(path, LEFT),
): Promise<{ code?: string; bytes: number }> {
  const path = join(directory, name);
  writeFileSync(path, '');
  truncateSync(path, SIZE);
  const file = await open(path, 'r');
  let isCut = false;
  const onProgress = (): void => {
    if (!isCut) change(path);
    isCut = true;
  };
  try {
    return await splice(file, destination, { ...options, onProgress }).then(
      ({ bytes }) => ({ bytes }),
      ({ code, bytes }) => ({ code, bytes }),
    );
  } finally {
    await file.close();
  }
}

async function withSocket<T>(use: (socket: Socket) => Promise<T>): Promise<T> {
  return withPair('tcp', directory, ({ server, client }) => {
    client.resume();
    return use(server);
  });
}

async function withResponse<T>(use: (response: ServerResponse) => Promise<T>): Promise<T> {
  const server = http.createServer();
  const answered = new Promise<T>((resolve, reject) => {
    server.on('request', (_request, response) => {
      void use(response)
        .then(resolve, reject)
        .finally(() => response.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const request = http.get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  request.on('response', (message) => message.on('error', () => {}).resume()).on('error', () => {});
  try {
    return await answered;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** How many descriptors there are of the files of this test. */
const openFiles = (): number => [...descriptorTargets().values()].filter((path) => path.startsWith(directory)).length;

const TRUNCATED = 'ERR_FILE_TRUNCATED';

kernelSerial('cut short, with a length: ERR_FILE_TRUNCATED; without: its end', async (t) => {
  const before = openFiles();
  const asked = await withSocket((socket) => cut('asked', socket, { length: SIZE }));
  t.is(asked.code, TRUNCATED);
  t.true(asked.bytes < SIZE, String(asked.bytes));
  const more = await withSocket((socket) => cut('more', socket, { length: 2 * SIZE }));
  t.is(more.code, TRUNCATED, 'what it had was asked for');
  const all = await withSocket((socket) => cut('all', socket, {}));
  t.is(all.code, undefined);
  t.true(all.bytes < SIZE, String(all.bytes));
  t.deepEqual(openFiles(), before);
});

kernelTest('cut short, into a response with a Content-Length: ERR_FILE_TRUNCATED; chunked: its end', async (t) => {
  const announced = await withResponse((response) => {
    response.setHeader('Content-Length', SIZE);
    return cut('announced', response, {});
  });
  t.is(announced.code, TRUNCATED);
  t.true(announced.bytes < SIZE, String(announced.bytes));
  const chunked = await withResponse((response) => cut('chunked', response, {}));
  t.is(chunked.code, undefined);
});

kernelTest('cut short, copied: the same', async (t) => {
  const copied = new PassThrough().resume();
  const asked = await cut('copied', copied, { length: SIZE });
  t.is(asked.code, TRUNCATED);
  t.true(asked.bytes < SIZE, String(asked.bytes));
  t.is((await cut('copied-all', new PassThrough().resume(), {})).code, undefined);
});

kernelTest('a file that is shorter than the length from the beginning, or grows, is no failure', async (t) => {
  const short = await withSocket((socket) => cut('short', socket, { length: SIZE + 5 }, () => {}));
  t.deepEqual(short, { bytes: SIZE });
  const grown = await withSocket((socket) =>
    cut('grown', socket, { length: SIZE + 5 }, (path) => truncateSync(path, SIZE + 7)),
  );
  t.deepEqual(grown, { bytes: SIZE + 5 });
  const lying = await open('/proc/self/status');
  await withSocket(async (socket) => t.true((await splice(lying, socket, { length: MiB })).bytes > 0));
  await lying.close();
});

kernelTest('two that read from one descriptor share what there is: neither has been cut short', async (t) => {
  const path = join(directory, 'shared');
  writeFileSync(path, '');
  truncateSync(path, SIZE);
  const file = await open(path, 'r');
  await withSocket((one) =>
    withSocket(async (other) => {
      const both = [one, other].map((socket) => splice(file, socket, { length: SIZE }));
      const bytes = (await Promise.all(both)).map((result) => result.bytes);
      t.true(Math.min(...bytes) < SIZE, String(bytes));
    }),
  );
  await file.close();
});
