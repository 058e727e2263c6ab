/** The streams beside those of node:fs: the same bytes, events, properties and errors. */

import { tracingChannel } from 'node:diagnostics_channel';
import fs, { appendFileSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { createDirectReadStream, createDirectWriteStream } from '@zerocopy/direct-io';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import test from 'ava';
import fc from 'fast-check';
import {
  directIo,
  fresh,
  isLongRun,
  KiB,
  MiB,
  makeFile,
  methodOf,
  openDescriptors,
  pattern,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
const [method, reason] = await methodOf(makeFile(directory, 'some'), 'r+');
const { test: directTest } = testsWhere('direct I/O in the temporary directory', {
  available: method === 'direct',
  reason,
});
const { test: kernelTest } = testsWhere('files with O_DIRECT', directIo);
const runs = isLongRun ? 300 : 40;

const EVENTS = ['open', 'ready', 'end', 'finish', 'error', 'close'];

/** What a stream tells, in order. */
function eventsOf(stream: Readable | Writable): string[] {
  const events: string[] = [];
  for (const name of EVENTS) {
    stream.on(name, (argument?: NodeJS.ErrnoException) => {
      events.push(name === 'error' ? `error ${argument?.code} ${argument?.syscall}` : name);
    });
  }
  return events;
}

interface Told {
  readonly content: Buffer;
  readonly events: readonly string[];
  readonly bytesRead: number;
  readonly path: unknown;
  readonly largest: number;
}

async function readBy(stream: fs.ReadStream): Promise<Told> {
  const events = eventsOf(stream);
  const chunks: Buffer[] = [];
  stream.on('data', (chunk) => chunks.push(Buffer.from(chunk)));
  await finished(stream).catch(() => {});
  await until(() => stream.closed || stream.errored !== null || !stream.destroyed);
  const largest = Math.max(0, ...chunks.map(({ length }) => length));
  return { content: Buffer.concat(chunks), events, bytesRead: stream.bytesRead, path: stream.path, largest };
}

const content = pattern(300 * KiB + 77);
const source = makeFile(directory, content);

test('any range in chunks of any size: the bytes, events and properties of fs.createReadStream', async (t) => {
  const offset = fc.oneof(fc.nat({ max: content.length + 10_000 }), fc.constantFrom(0, 511, 512, 4096, 65_536));
  await fc.assert(
    fc.asyncProperty(
      fc.option(offset, { nil: undefined }),
      fc.option(offset, { nil: undefined }),
      fc.constantFrom(undefined, 1000, 4096, 10_000, 65_536, MiB),
      fc.constantFrom(undefined, 1, 2, 5),
      async (one, other, highWaterMark, queueDepth) => {
        const [start, end] = one !== undefined && other !== undefined && one > other ? [other, one] : [one, other];
        const options = { start, end, ...(highWaterMark === undefined ? {} : { highWaterMark }) };
        const [ours, theirs] = await Promise.all([
          readBy(createDirectReadStream(source, { ...options, ...(queueDepth === undefined ? {} : { queueDepth }) })),
          readBy(fs.createReadStream(source, options)),
        ]);
        t.true(ours.content.equals(theirs.content), JSON.stringify(options));
        t.deepEqual(
          [ours.events, ours.bytesRead, ours.path],
          [theirs.events, theirs.bytesRead, theirs.path],
          JSON.stringify(options),
        );
        t.true(ours.largest <= (highWaterMark ?? MiB));
      },
    ),
    { numRuns: runs },
  );
});

test('chunks of any size: the file, events and properties of fs.createWriteStream', async (t) => {
  const size = fc.oneof(fc.nat({ max: 20_000 }), fc.constantFrom(4096, 65_536, 300_000));
  await fc.assert(
    fc.asyncProperty(
      fc.array(size, { maxLength: 20 }),
      fc.constantFrom(undefined, 0, 100, 4096, 5000),
      fc.constantFrom(undefined, 1, 16_384),
      fc.boolean(),
      async (sizes, start, highWaterMark, cork) => {
        const write = async (stream: fs.WriteStream): Promise<unknown[]> => {
          const events = eventsOf(stream);
          const counts: number[] = [];
          if (cork) stream.cork();
          for (const [n, length] of sizes.entries()) {
            stream.write(pattern(length, n * 1000), () => counts.push(stream.bytesWritten));
          }
          stream.end();
          await finished(stream);
          await until(() => stream.closed);
          return [events, stream.bytesWritten, counts.length, stream.path === undefined];
        };
        const options = { flags: start === undefined ? 'w' : 'r+', start, ...(highWaterMark ? { highWaterMark } : {}) };
        const [ours, theirs] = [makeFile(directory, content), makeFile(directory, content)];
        const told = [
          await write(createDirectWriteStream(ours, options as never)),
          await write(fs.createWriteStream(theirs, options as never)),
        ];
        t.deepEqual(told[0], told[1]);
        t.true(readFileSync(ours).equals(readFileSync(theirs)));
        fs.rmSync(ours);
        fs.rmSync(theirs);
      },
    ),
    { numRuns: runs / 2 },
  );
});

directTest('they go directly, and say so; from one into the other the bytes stay the same', async (t) => {
  const big = pattern(5 * MiB + 123);
  const path = makeFile(directory, big);
  const target = fresh(directory);
  const [from, to] = [createDirectReadStream(path), createDirectWriteStream(target, { datasync: 'end' })];
  t.is(from.method, undefined);
  await pipeline(from, to);
  t.deepEqual(
    [from.method, to.method, from.fallbackReason, to.fallbackReason],
    ['direct', 'direct', undefined, undefined],
  );
  t.is(to.bytesWritten, big.length);
  t.true(readFileSync(target).equals(big));
});

directTest('a file that grows, or is cut, while it is read', async (t) => {
  const path = makeFile(directory, pattern(MiB));
  const stream = createDirectReadStream(path, { highWaterMark: 64 * KiB });
  let bytes = 0;
  let grown = false;
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    if (!grown) appendFileSync(path, pattern(100_001, MiB));
    grown = true;
  }
  t.is(stream.method, 'direct');
  t.is(bytes, MiB + 100_001);
  const cut = createDirectReadStream(path, { highWaterMark: 64 * KiB });
  const chunks: Buffer[] = [];
  for await (const chunk of cut) {
    chunks.push(chunk as Buffer);
    if (chunks.length === 1) truncateSync(path, 700_000);
  }
  const read = Buffer.concat(chunks);
  t.true(read.length >= 700_000 && read.length <= MiB);
  t.true(read.subarray(0, 700_000).equals(pattern(700_000)));
});

test('a chunk keeps its bytes for as long as it is kept', async (t) => {
  const big = pattern(3 * MiB);
  const kept: Buffer[] = [];
  for await (const chunk of createDirectReadStream(makeFile(directory, big), { highWaterMark: 16 * KiB })) {
    kept.push(chunk as Buffer);
  }
  t.true(Buffer.concat(kept).equals(big));
});

kernelTest('where it cannot be direct: Node’s own stream, with the reason; or an error', async (t) => {
  const fd = openSync(source, 'r');
  const handle = await open(source);
  const cases = [
    [createDirectReadStream(source, { fs: { ...fs } as never }), /fs of its own/],
    [createDirectReadStream('', { fd, autoClose: false }), /own position/],
    [createDirectReadStream('', { fd: handle, autoClose: false }), /own position/],
    [createDirectReadStream('/proc/self/status'), /procfs|disabled/],
    [createDirectReadStream(source, { highWaterMark: 100 }), /highWaterMark|memory/],
  ] as const;
  for (const [stream, expected] of cases) {
    let bytes = 0;
    for await (const chunk of stream) bytes += (chunk as Buffer).length;
    t.true(bytes > 0);
    t.is(stream.method, 'copy');
    t.regex(stream.fallbackReason ?? '', expected);
  }
  await handle.close();
  fs.closeSync(fd);
  const appended = makeFile(directory, 'a');
  const appending = createDirectWriteStream(appended, { flags: 'a' });
  appending.end('b');
  await finished(appending);
  t.is(appending.method, 'copy');
  t.is(readFileSync(appended, 'utf8'), 'ab');
  const never = createDirectReadStream('/proc/self/status', { fallback: 'never' });
  await t.throwsAsync(finished(never.resume()), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
  const neverWrite = createDirectWriteStream(appended, { flags: 'a', fallback: 'never' });
  neverWrite.write('c');
  await t.throwsAsync(finished(neverWrite), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
  t.is(readFileSync(appended, 'utf8'), 'ab');
});

directTest('a descriptor and a FileHandle that are lent, with a start; they stay open and as they were', async (t) => {
  const fd = openSync(source, 'r');
  const stream = createDirectReadStream('', { fd, start: 100, autoClose: false });
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  t.is(stream.method, 'direct');
  t.true(Buffer.concat(chunks).equals(content.subarray(100)));
  const unaligned = Buffer.alloc(7);
  t.is(fs.readSync(fd, unaligned, 0, 7, 3), 7, 'it is not O_DIRECT now');
  fs.closeSync(fd);
  const handle = await open(fresh(directory), 'w+');
  const writer = createDirectWriteStream('', { fd: handle, start: 4096 });
  writer.end(pattern(100_000));
  await finished(writer);
  t.is(writer.method, 'direct');
});

test('errors are those of node:fs, and options are checked', async (t) => {
  for (const make of [
    [() => createDirectReadStream(join(directory, 'none')), () => fs.createReadStream(join(directory, 'none'))],
    [() => createDirectReadStream(directory), () => fs.createReadStream(directory)],
  ] as const) {
    const [ours, theirs] = await Promise.all(make.map((one) => readBy(one())));
    t.deepEqual(ours?.events, theirs?.events);
  }
  const [ours, theirs] = await Promise.all(
    [createDirectWriteStream, fs.createWriteStream].map(async (create) => {
      const stream = (create as typeof fs.createWriteStream)(join(directory, 'none', 'x'));
      const events = eventsOf(stream);
      stream.write('x');
      await finished(stream).catch(() => {});
      return events;
    }),
  );
  t.deepEqual(ours, theirs);
  t.throws(() => createDirectReadStream(source, { fallback: 'x' as never }), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(() => createDirectReadStream(source, { queueDepth: 0 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => createDirectReadStream(source, { start: -1 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => createDirectReadStream(source, 5 as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => createDirectWriteStream(source, { datasync: 'x' as never }), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(() => createDirectWriteStream(5 as never), { code: 'ERR_INVALID_ARG_TYPE' });
});

test.serial('aborted, or destroyed, at any moment: nothing stays open', async (t) => {
  const before = openDescriptors();
  for (let n = 0; n < (isLongRun ? 300 : 40); n++) {
    const controller = new AbortController();
    const { signal } = controller;
    const reader = createDirectReadStream(source, { highWaterMark: 8 * KiB, queueDepth: 4, signal });
    const writer = createDirectWriteStream(fresh(directory), { highWaterMark: 8 * KiB });
    const done = pipeline(reader, writer);
    const stop = n % 2 === 0 ? () => controller.abort() : () => writer.destroy();
    if (n === 0) stop();
    else if (n < 10) setImmediate(stop);
    else setTimeout(stop, n / 20);
    await done.catch(({ code }: NodeJS.ErrnoException) =>
      t.regex(code ?? '', /ABORT_ERR|ERR_STREAM_PREMATURE_CLOSE|ERR_STREAM_DESTROYED/),
    );
  }
  await until(() => openDescriptors() <= before, 'the descriptors closed');
  t.pass();
});

test.serial('each stream is published once, however it ends', async (t) => {
  const events: [string, TransferTrace][] = [];
  const subscribers = {
    start: (trace: unknown) => void events.push(['start', { ...(trace as TransferTrace) }]),
    end() {},
    asyncStart() {},
    asyncEnd: (trace: unknown) => void events.push(['asyncEnd', { ...(trace as TransferTrace) }]),
    error: (trace: unknown) => void events.push(['error', { ...(trace as TransferTrace) }]),
  };
  const channel = tracingChannel(TRANSFER_CHANNEL);
  channel.subscribe(subscribers as never);
  try {
    const target = fresh(directory);
    await pipeline(createDirectReadStream(source), createDirectWriteStream(target));
    t.deepEqual(
      events.map(([name]) => name),
      ['start', 'asyncEnd'],
      'the two are one transfer',
    );
    t.like(events[1]?.[1], { bytes: content.length, method, source: 'file', destination: 'file' });
    events.length = 0;
    const broken = createDirectReadStream(source, { highWaterMark: 4096 });
    broken.once('data', () => broken.destroy());
    await finished(broken).catch(() => {});
    await until(() => broken.closed);
    t.deepEqual(
      events.map(([name]) => name),
      ['start', 'error', 'asyncEnd'],
    );
  } finally {
    channel.unsubscribe(subscribers as never);
  }
});
