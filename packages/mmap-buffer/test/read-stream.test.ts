/** createMmapReadStream beside fs.createReadStream: same bytes, same events in the same order, same errors. */

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream, fstatSync, openSync, type ReadStream, readFileSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, gunzipSync } from 'node:zlib';
import { feature } from '@zerocopy/core-syscalls';
import { createMmapReadStream, type MmapReadStreamOptions } from '@zerocopy/mmap-buffer';
import test from 'ava';
import {
  collectGarbage,
  elsewhere,
  KiB,
  MiB,
  makeFile,
  mapTest,
  pattern,
  sha256,
  temporaryDirectory,
  turn,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(5 * MiB + 123);
const path = makeFile(directory, content);

type Make = (path: string, options?: MmapReadStreamOptions) => ReadStream;
const ours = createMmapReadStream as unknown as Make;
const node = createReadStream as unknown as Make;

interface Told {
  readonly events: string[];
  readonly bytes: Buffer;
  readonly bytesRead: number;
  readonly error: string | undefined;
}

/** Everything a stream says of itself, chunks counted as one. */
async function listen(stream: ReadStream, disturb?: (stream: ReadStream, chunks: number) => void): Promise<Told> {
  const events: string[] = [];
  const chunks: Buffer[] = [];
  let error: string | undefined;
  for (const event of ['open', 'ready', 'end', 'pause', 'resume'] as const) stream.on(event, () => events.push(event));
  stream.on('error', (reason: NodeJS.ErrnoException) => {
    error = `${reason.name} ${reason.code} ${reason.message}`;
    events.push('error');
  });
  stream.on('data', (chunk: Buffer | string) => {
    if (events.at(-1) !== 'data') events.push('data');
    chunks.push(Buffer.from(chunk));
    disturb?.(stream, chunks.length);
  });
  await new Promise((resolve) => stream.on('close', () => resolve(events.push('close'))));
  return { events, bytes: Buffer.concat(chunks), bytesRead: stream.bytesRead, error };
}

const ranges: MmapReadStreamOptions[] = [
  {},
  { start: 0 },
  { start: 1 },
  { start: 4095, end: 4096 },
  { start: 2 * MiB - 1, end: 2 * MiB },
  { end: 0 },
  { start: content.length - 1 },
  { start: content.length },
  { start: content.length + 10 },
  { start: 3, end: 10 * content.length },
  { start: 100, end: 3 * MiB },
  { highWaterMark: 1000, end: 100_000 },
  { highWaterMark: 64 * KiB },
];

mapTest('ranges, sizes of chunks and encodings: as Node, and mapped', async (t) => {
  for (const options of [
    ...ranges,
    { encoding: 'latin1', end: 5000 },
    { encoding: 'utf8', end: 5000 },
  ] as MmapReadStreamOptions[]) {
    const label = JSON.stringify(options);
    const stream = createMmapReadStream(path, options);
    const [told, expected] = [await listen(stream as unknown as ReadStream), await listen(node(path, options))];
    t.is(sha256(told.bytes), sha256(expected.bytes), label);
    t.deepEqual(told.events, expected.events, label);
    t.is(told.bytesRead, expected.bytesRead, label);
    const small = expected.bytesRead <= 64 * KiB;
    t.is(stream.method, small ? 'copy' : 'mmap', label);
    t.is(stream.fallbackReason, small ? 'so few bytes cost less to read' : undefined);
    const insisted = createMmapReadStream(path, { ...options, fallback: 'never' });
    t.is(sha256((await listen(insisted as unknown as ReadStream)).bytes), sha256(expected.bytes), label);
    t.is(insisted.method, 'mmap', label);
  }
});

test('what is wrong is wrong as it is for Node', async (t) => {
  const cases: [string, MmapReadStreamOptions][] = [
    [join(directory, 'missing'), {}],
    [directory, {}],
    [path, { fd: 9999, start: 0 }],
    [path, { signal: AbortSignal.abort() }],
  ];
  for (const [name, options] of cases) {
    const [told, expected] = [await listen(ours(name, options)), await listen(node(name, options))];
    t.deepEqual(told.events, expected.events, name);
    t.is(told.error, expected.error, name);
  }
  for (const options of [
    { start: -1 },
    { start: 5, end: 1 },
    { start: '1' },
    { end: Number.NaN },
    5,
    { fd: 'x' },
    { fs: {} },
  ]) {
    const thrown = (make: Make): unknown => {
      try {
        make(path, options as MmapReadStreamOptions).destroy();
        return undefined;
      } catch (error) {
        const { name, code, message } = error as NodeJS.ErrnoException;
        return { name, code, message };
      }
    };
    t.deepEqual(thrown(ours), thrown(node), JSON.stringify(options));
  }
  t.throws(() => createMmapReadStream(path, { fallback: 'maybe' as 'auto' }), { code: 'ERR_INVALID_ARG_VALUE' });
});

mapTest('paused, resumed, destroyed and aborted at any chunk: the same events, and the bytes so far', async (t) => {
  const disturbances: ((stream: ReadStream, chunks: number) => void)[] = [
    (stream, chunks) => {
      if (chunks === 2) stream.destroy();
    },
    (stream, chunks) => {
      if (chunks === 3) stream.destroy(Object.assign(new Error('enough'), { code: 'E_ENOUGH' }));
    },
    (stream, chunks) => {
      if (chunks % 5 !== 0) return;
      stream.pause();
      setImmediate(() => stream.resume());
    },
  ];
  const options = { highWaterMark: 64 * KiB };
  for (const disturb of disturbances) {
    const [told, expected] = [await listen(ours(path, options), disturb), await listen(node(path, options), disturb)];
    t.deepEqual(told.events, expected.events);
    t.is(told.error, expected.error);
    t.is(told.bytes.length, expected.bytes.length, String(disturb));
    t.true(told.bytes.equals(expected.bytes));
  }
  for (const make of [ours, node]) {
    const controller = new AbortController();
    const { error } = await listen(make(path, { ...options, signal: controller.signal }), (_, chunks) => {
      if (chunks === 2) controller.abort();
    });
    t.is(error, 'AbortError ABORT_ERR The operation was aborted');
  }
});

mapTest('in pipelines: into a response, a gzip, a slow Writable, for await', async (t) => {
  const server = http.createServer((_, response) => {
    pipeline(createMmapReadStream(path), response).catch(() => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const request = http.get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const body: Buffer[] = [];
  for await (const chunk of response) body.push(chunk as Buffer);
  t.is(sha256(Buffer.concat(body)), sha256(content));
  server.close();

  const zipped: Buffer[] = [];
  await pipeline(createMmapReadStream(path), createGzip({ level: 1 }), async (source) => {
    for await (const chunk of source) zipped.push(chunk as Buffer);
  });
  t.true(gunzipSync(Buffer.concat(zipped)).equals(content));

  const slow: Buffer[] = [];
  const writable = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _, callback) {
      slow.push(chunk); // held: it must stay what it is
      setImmediate(callback);
    },
  });
  await pipeline(createMmapReadStream(path, { highWaterMark: 50_001 }), writable);
  await collectGarbage();
  t.true(Buffer.concat(slow).equals(content));

  const chunks: Buffer[] = [];
  for await (const chunk of createMmapReadStream(path)) chunks.push(chunk as Buffer);
  t.true(Buffer.concat(chunks).equals(content));
});

mapTest('a chunk is a view, writable and its own; it outlives the stream', async (t) => {
  const file = makeFile(directory, content);
  const stream = createMmapReadStream(file);
  const [chunk] = (await once(stream, 'data')) as [Buffer];
  stream.destroy();
  await once(stream, 'close');
  await collectGarbage();
  t.true(chunk.equals(content.subarray(0, chunk.length)));
  chunk.fill(0xaa);
  t.true(readFileSync(file).equals(content), 'what is stored into it stays here');
  const [again] = (await once(createMmapReadStream(file), 'data')) as [Buffer];
  t.is(again[0], content[0]);
  t.is(chunk[0], 0xaa);
});

mapTest('a descriptor, a FileHandle, autoClose and emitClose: as Node', async (t) => {
  for (const make of [ours, node]) {
    const fd = openSync(path, 'r');
    const stream = make('', { fd, start: 10, end: 19, autoClose: false });
    const [ten] = (await once(stream, 'data')) as [Buffer];
    t.true(ten.equals(content.subarray(10, 20)));
    await turn();
    t.false(stream.destroyed);
    t.is(fstatSync(fd).size, content.length, 'still open');
    const rest = make('', { fd });
    const told = await listen(rest);
    t.is(told.bytes.length, content.length);
    const handle = await open(path);
    t.true((await listen(make('', { fd: handle, start: 5, end: 8 }))).bytes.equals(content.subarray(5, 9)));
    t.is(handle.fd, -1);
  }
  const positioned = createMmapReadStream('', { fd: openSync(path, 'r') });
  await listen(positioned as unknown as ReadStream);
  t.is(positioned.method, 'copy');
  t.regex(positioned.fallbackReason ?? '', /own position/);
});

test('what cannot be mapped is read, and says why; or fails, if that was asked for', async (t) => {
  for (const [name, reason] of [
    ['/proc/version', /empty/],
    ['/dev/null', /no regular file/],
  ] as const) {
    const stream = createMmapReadStream(name);
    const told = await listen(stream as unknown as ReadStream);
    t.true(told.bytes.equals(readFileSync(name)));
    t.is(stream.method, 'copy');
    const missing = feature('mmap').reason ?? feature('sigbusTrap').reason;
    if (missing === undefined) t.regex(stream.fallbackReason ?? '', reason);
    else t.is(stream.fallbackReason, missing);
    const { error } = await listen(createMmapReadStream(name, { fallback: 'never' }) as unknown as ReadStream);
    t.regex(error ?? '', /ERR_ZEROCOPY_UNAVAILABLE/);
  }
});

mapTest('extended while it is read: to the end there is when it is reached, as Node', async (t) => {
  for (const make of [ours, node]) {
    const file = makeFile(directory, content);
    let done = false;
    const told = await listen(make(file), (stream, chunks) => {
      if (chunks !== 2 || done) return;
      done = true;
      stream.pause();
      void elsewhere(file, "fs.appendFileSync(path, 'and more')").then(() => stream.resume());
    });
    t.is(told.bytes.length, content.length + 8);
  }
});

mapTest('cut short while it is read: an error, and not zeros; in a pipeline too', async (t) => {
  const file = makeFile(directory, content);
  let cut = false;
  const told = await listen(ours(file), (stream, chunks) => {
    if (chunks !== 2 || cut) return;
    cut = true;
    stream.pause();
    truncateSync(file, 1000);
    setImmediate(() => stream.resume());
  });
  t.regex(told.error ?? '', /ERR_FILE_TRUNCATED/);
  t.deepEqual(told.events.slice(-2), ['error', 'close']);

  const other = makeFile(directory, content);
  const seen: Buffer[] = [];
  const sink = new Writable({
    async write(chunk: Buffer, _, callback) {
      if (seen.length === 3) truncateSync(other, 0);
      seen.push(Buffer.from(chunk));
      await turn();
      callback();
    },
  });
  await t.throwsAsync(pipeline(createMmapReadStream(other), sink), { code: 'ERR_FILE_TRUNCATED' });
  t.true(sink.destroyed);
});

mapTest('more windows held than can be guarded: the rest is copied, and the same', async (t) => {
  const file = makeFile(directory, content.subarray(0, 100_000));
  const held: Buffer[] = [];
  for (let done = 0; done < 4200; done++) {
    for await (const chunk of createMmapReadStream(file, { fallback: 'never' })) held.push(chunk as Buffer);
  }
  t.is(held.length, 4200);
  t.true(held.every((chunk) => chunk.length === 100_000 && chunk[99_999] === content[99_999]));
  held.length = 0;
  await collectGarbage();
});

test('cut short while it is read, and not mapped: the same error, in this process and with everything turned off', async (t) => {
  const file = makeFile(directory, content.subarray(0, 60 * KiB));
  let chunks = 0;
  const sink = new Writable({
    write(_chunk, _, callback) {
      if (++chunks === 3) truncateSync(file, 4000);
      callback();
    },
  });
  const small = createMmapReadStream(file, { highWaterMark: 1000 });
  await t.throwsAsync(pipeline(small, sink), { code: 'ERR_FILE_TRUNCATED' });
  t.is(small.method, 'copy');

  const large = makeFile(directory, content);
  const code = `import { truncateSync } from 'node:fs';
    import { createMmapReadStream } from '@zerocopy/mmap-buffer';
    const stream = createMmapReadStream(${JSON.stringify(large)});
    stream.once('data', () => truncateSync(${JSON.stringify(large)}, 1000));
    stream.on('end', () => console.log('ended'));
    stream.on('error', (error) => console.log(stream.method, error.code));`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    cwd: import.meta.dirname,
    env: { ...process.env, ZEROCOPY_DISABLE: 'all' },
    encoding: 'utf8',
  });
  t.is(stdout, 'copy ERR_FILE_TRUNCATED\n');
});

test.serial(
  'cut short, and its lent descriptor closed by its owner before the end is told: an error of the stream',
  async (t) => {
    const file = makeFile(directory, content.subarray(0, 60 * KiB));
    const fd = openSync(file, 'r');
    const stream = createMmapReadStream('', { fd, start: 0, autoClose: false, highWaterMark: 1000 });
    let chunks = 0;
    stream.on('data', () => {
      if (++chunks === 3) truncateSync(file, 4000);
      // The read that finds the end is under way by then; it has come to it while nothing else runs, and is told afterwards.
      if (chunks === 4) {
        setImmediate(() => {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
          closeSync(fd);
        });
      }
    });
    const ended = once(stream, 'end').then(() => undefined);
    const [error] = ((await Promise.race([once(stream, 'error'), ended])) ?? []) as [NodeJS.ErrnoException?];
    t.regex(error?.code ?? 'ended', /^(ERR_FILE_TRUNCATED|EBADF)$/);
  },
);
