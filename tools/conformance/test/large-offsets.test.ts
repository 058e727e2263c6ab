/** Beyond 2^31 and 2^32 (kernel-rules: large-offsets): the right bytes at the right offset; and numbers that are no offsets. */
import { closeSync, createReadStream, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { libcStatus, syscalls } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { createMmapReadStream, mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { proxy, splice, tee } from '@zerocopy/splice-pipe';
import { pattern } from '@zerocopy/testing/bytes';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { arrival, withPair } from '@zerocopy/testing/sockets';
import test, { type TestFn } from 'ava';

const directory = temporaryDirectory(undefined, 'large');
const path = join(directory, 'large');
const SIZE = 5 * 2 ** 30;
const AROUND = 100_000;
const BOUNDARIES = { '2^31': 2 ** 31, '2^32': 2 ** 32, 'the end': SIZE - AROUND } as const;
const content = pattern(2 * AROUND);
const file = openSync(path, 'w');
ftruncateSync(file, SIZE);
for (const boundary of Object.values(BOUNDARIES)) writeSync(file, content, 0, content.length, boundary - AROUND);
closeSync(file);

const toSocket = (use: (socket: import('node:net').Socket) => Promise<unknown>): Promise<Buffer> =>
  withPair('tcp', async ({ server, client }) => {
    const received = arrival(client);
    await use(server);
    server.end();
    return received;
  });

const kernelTest = (libcStatus().available ? test : test.skip) as TestFn;

for (const [name, boundary] of Object.entries(BOUNDARIES)) {
  const start = boundary - AROUND;
  const length = content.length;
  const end = start + length - 1;

  test(`around ${name}: sendFile, createSendfileStream, createMmapReadStream, mapFile`, async (t) => {
    const ways: Readonly<Record<string, Promise<Buffer>>> = {
      sendFile: toSocket((socket) => sendFile(socket, path, { start, end, smallFileSize: 0 })),
      createSendfileStream: toSocket(
        (socket) =>
          new Promise((resolve) => {
            const stream = createSendfileStream(path, { start, end });
            stream.once('end', () => resolve(undefined));
            stream.pipe(socket, { end: false });
          }),
      ),
      createMmapReadStream: arrival(createMmapReadStream(path, { start, end })),
      mapFile: mapFile(path, { offset: start, length }).then(async (mapped) => {
        const bytes = Buffer.from(mapped.buffer);
        await mapped.close();
        return bytes;
      }),
    };
    for (const [way, bytes] of Object.entries(ways)) t.true((await bytes).equals(content), way);
  });

  kernelTest(`around ${name}: splice with a length, from a number at its own position`, async (t) => {
    const fd = openSync(path, 'r');
    t.is(syscalls.lseek(fd, start, 0), start);
    const bytes = await toSocket((socket) => splice(fd, socket, { length }));
    t.true(bytes.equals(content));
    closeSync(fd);
  });
}

test('copyFile of 5 GiB, most of it holes: the bytes, the size, and the holes', async (t) => {
  const copy = join(directory, 'copy');
  const { bytes } = await copyFile(path, copy, { reflink: 'never' });
  t.is(bytes, SIZE);
  const { size, blocks } = statSync(copy);
  t.is(size, SIZE);
  t.true(blocks * 512 < 2 ** 26, 'the holes are holes');
  const fd = openSync(copy, 'r');
  for (const boundary of Object.values(BOUNDARIES)) {
    const buffer = Buffer.alloc(content.length);
    readSync(fd, buffer, 0, buffer.length, boundary - AROUND);
    t.true(buffer.equals(content));
  }
  closeSync(fd);
});

/** None of them is a count or an offset: koffi would make 0 of Infinity and NaN, and cut a fraction off. */
const NO_OFFSETS: readonly unknown[] = [-1, 1.5, 2 ** 53, Number.NaN, Number.NEGATIVE_INFINITY, 1n, '1', null, {}, []];

test('what is no offset or count is refused before anything is opened or moved', async (t) => {
  const missing = join(directory, 'not there');
  const never = (error: unknown): string => String((error as NodeJS.ErrnoException).code);
  await withPair('tcp', async ({ server }) => {
    for (const value of NO_OFFSETS) {
      const bad = value as number;
      const refused: Readonly<Record<string, () => unknown>> = {
        'sendFile start': () => sendFile(server, missing, { start: bad }),
        'sendFile end': () => sendFile(server, missing, { end: bad }),
        'sendFile smallFileSize': () => sendFile(server, missing, { smallFileSize: bad }),
        'createSendfileStream smallFileSize': () => createSendfileStream(missing, { smallFileSize: bad }),
        'splice length': () => splice(server, server, { length: bad }),
        'tee length': () => tee(server, [server], { length: bad }),
        'mapFile offset': () => mapFile(missing, { offset: bad }),
        'mapFile length': () => mapFile(missing, { length: bad }),
        'SharedBufferPool bufferSize': () => new SharedBufferPool({ bufferSize: bad, count: 1 }),
        'SharedBufferPool count': () => new SharedBufferPool({ bufferSize: 1, count: bad }),
        'SharedBufferPool.open': () => SharedBufferPool.open(bad),
      };
      for (const [name, call] of Object.entries(refused)) {
        const code = await Promise.resolve()
          .then(call)
          .then(() => 'accepted', never);
        t.regex(code, /^ERR_(INVALID_ARG_TYPE|INVALID_ARG_VALUE|OUT_OF_RANGE)$/, `${name}: ${String(value)}`);
      }
      // Node's own: the same as its stream says.
      for (const option of ['start', 'end', 'highWaterMark']) {
        const outcome = (create: (path: string, options: object) => import('node:stream').Readable): string => {
          try {
            create(path, { [option]: value }).destroy();
            return 'accepted';
          } catch (error) {
            return never(error);
          }
        };
        const node = outcome(createReadStream as never);
        t.is(outcome(createSendfileStream as never), node, `createSendfileStream ${option}: ${String(value)}`);
        t.is(outcome(createMmapReadStream as never), node, `createMmapReadStream ${option}: ${String(value)}`);
      }
    }
    for (const value of [-1, Number.NaN, 2 ** 31, '1', 1n]) {
      const idleTimeout = value as number;
      t.regex(await proxy(server, server, { idleTimeout }).then(() => 'accepted', never), /^ERR_/, String(value));
    }
  });
});

test('-0, and the largest there are, are what they are', async (t) => {
  t.is((await toSocket((socket) => sendFile(socket, path, { start: -0, end: 9, smallFileSize: 0 }))).length, 10);
  const bytes = await toSocket((socket) =>
    sendFile(socket, path, { start: SIZE - 10, end: Number.MAX_SAFE_INTEGER, smallFileSize: 0 }),
  );
  t.is(bytes.length, 10);
  await withPair('unix', async (from) => {
    from.client.end('all of it');
    const received = await toSocket((socket) => splice(from.server, socket, { length: Number.MAX_SAFE_INTEGER }));
    t.is(received.toString(), 'all of it');
  });
});
