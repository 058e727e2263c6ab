/** The memory of chunks: used again when it is released, or when nobody but a direct write stream has seen it. */
import fs, { readFileSync, statSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { addressOf } from '@zerocopy/core-syscalls/native';
import { createDirectReadStream, createDirectWriteStream } from '@zerocopy/direct-io';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import test from 'ava';
import fc from 'fast-check';
import {
  fixture,
  fresh,
  isLongRun,
  KiB,
  MiB,
  makeFile,
  methodOf,
  pattern,
  runProgram,
  temporaryDirectory,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3 * MiB + 777);
const path = makeFile(directory, content);
const [method, reason] = await methodOf(path, 'r+');
const { test: directTest } = testsWhere('direct I/O in the temporary directory', {
  available: method === 'direct',
  reason,
});
const CHUNK = 64 * KiB;
const runs = isLongRun ? 200 : 25;

directTest('chunks that are released: the same bytes, in memory that is used again', async (t) => {
  const stream = createDirectReadStream(path, { highWaterMark: CHUNK });
  const addresses = new Set<number>();
  let at = 0;
  for await (const chunk of stream) {
    const bytes = chunk as Buffer;
    t.true(bytes.equals(content.subarray(at, at + bytes.length)));
    at += bytes.length;
    addresses.add(addressOf(bytes));
    t.true(stream.release(bytes.subarray(10, 20)), 'a part of it tells as well');
    t.is(bytes.length, 0, 'who still has it sees no bytes, and none of another chunk');
    t.false(stream.release(bytes));
  }
  t.is(at, content.length);
  t.true(addresses.size < content.length / CHUNK, `${addresses.size} addresses`);
});

directTest('what is no chunk, or cannot be taken back, is left alone; what is kept keeps its bytes', async (t) => {
  const stream = createDirectReadStream(path, { highWaterMark: CHUNK });
  const foreign = Buffer.from('foreign');
  t.false(stream.release(foreign));
  const kept: Buffer[] = [];
  let n = 0;
  for await (const chunk of stream) {
    if (n++ % 2 === 0) kept.push(chunk as Buffer);
    else {
      const copy = Buffer.from(chunk as Buffer);
      stream.release(chunk as Buffer);
      kept.push(copy);
    }
  }
  t.false(stream.release(foreign));
  t.is(foreign.toString(), 'foreign');
  t.true(Buffer.concat(kept).equals(content));
  const another = createDirectReadStream(path);
  for await (const chunk of another) t.false(stream.release(chunk as Buffer), 'a chunk of another stream');
  const transferred = kept[0] as Buffer;
  structuredClone(transferred.buffer, { transfer: [transferred.buffer as ArrayBuffer] });
  t.false(stream.release(transferred));
});

directTest('an empty stream, a stream that is closed, and one with an encoding', async (t) => {
  const stream = createDirectReadStream(path, { highWaterMark: CHUNK, encoding: 'latin1' });
  const texts: string[] = [];
  for await (const text of stream) texts.push(text as string);
  t.is(texts.join(''), content.toString('latin1'));
  t.false(stream.release(Buffer.alloc(1)));
  t.false(
    createDirectReadStream(makeFile(directory, ''))
      .on('error', () => {})
      .release(Buffer.alloc(1)),
  );
});

type Step = 'pause' | 'listen' | 'pipe twice' | 'unpipe' | 'encoding' | 'cork' | 'foreign write' | 'nothing';
const STEPS: readonly Step[] = ['pause', 'listen', 'pipe twice', 'unpipe', 'cork', 'foreign write', 'nothing'];

test('what is released is a Buffer or Uint8Array, whether the stream is direct or not', async (t) => {
  for (const file of [path, '/proc/self/status']) {
    const stream = createDirectReadStream(file, { highWaterMark: CHUNK });
    for await (const _ of stream) {
      for (const wrong of ['text', undefined, new ArrayBuffer(1)]) {
        const error = t.throws(() => stream.release(wrong as unknown as Buffer), { instanceOf: TypeError });
        t.like(error, { code: 'ERR_INVALID_ARG_TYPE' });
      }
    }
  }
});

directTest('from one into the other, whatever is done to the pipe: as with node:fs', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(4 * KiB, CHUNK, MiB),
      fc.array(fc.tuple(fc.constantFrom(...STEPS), fc.nat({ max: 12 })), { maxLength: 4 }),
      fc.integer({ min: 0, max: 9000 }),
      async (highWaterMark, steps, start) => {
        const target = fresh(directory);
        const source = createDirectReadStream(path, { highWaterMark, start });
        const writer = createDirectWriteStream(target);
        const seen: Buffer[] = [];
        const other = new PassThrough().on('data', (chunk: Buffer) => seen.push(chunk));
        let foreign = 0;
        let resumes = 0;
        source.pipe(writer);
        const ended = finished(writer);
        for (const [step, turns] of steps) {
          for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
          if (writer.writableEnded) break;
          if (step === 'pause') {
            source.pause();
            resumes++;
            setImmediate(() => {
              resumes--;
              source.resume();
            });
          } else if (step === 'listen') source.on('data', (chunk) => chunk.length);
          else if (step === 'pipe twice') source.unpipe(other).pipe(other, { end: false });
          else if (step === 'unpipe' && source.listenerCount('data') === 1 && resumes === 0) {
            source.unpipe(writer); // with another listener what comes now would be that one's alone; resumed, nobody's
            await new Promise((resolve) => setImmediate(resolve));
            source.pipe(writer);
          } else if (step === 'cork') {
            writer.cork();
            setImmediate(() => writer.uncork());
          } else if (step === 'foreign write') {
            writer.write('!'.repeat(5));
            foreign += 5;
          }
        }
        await ended;
        const written = readFileSync(target);
        const expected = content.subarray(start);
        t.is(written.length, expected.length + foreign);
        if (foreign === 0) t.true(written.equals(expected));
        t.is(writer.bytesWritten, written.length);
        t.is(source.bytesRead, expected.length);
        // What the second pipe has got are chunks of the file, whose bytes nothing has changed since.
        for (const chunk of seen) t.true(expected.includes(chunk));
        fs.rmSync(target);
      },
    ),
    { numRuns: runs },
  );
});

directTest(
  'a destination that fails, and a source that is destroyed, in the midst: no more is read or written',
  async (t) => {
    for (const who of ['source', 'destination'] as const) {
      const target = fresh(directory);
      const [source, writer] = [
        createDirectReadStream(path, { highWaterMark: CHUNK }),
        createDirectWriteStream(target),
      ];
      const piped = pipeline(source, writer);
      while (source.bytesRead === 0) await new Promise((resolve) => setImmediate(resolve));
      (who === 'source' ? source : writer).destroy(new Error('enough'));
      await t.throwsAsync(piped, { message: 'enough' });
      for (const stream of [source, writer]) if (!stream.closed) await finished(stream).catch(() => {});
      const written = readFileSync(target);
      t.true(written.equals(content.subarray(0, written.length)));
      t.is(statSync(target).size, written.length);
    }
  },
);

directTest('a write that is wrapped sees every chunk', async (t) => {
  const target = fresh(directory);
  const writer = createDirectWriteStream(target);
  const kept: Buffer[] = [];
  const { write } = writer;
  writer.write = function wrapped(this: typeof writer, ...args: unknown[]) {
    kept.push(args[0] as Buffer);
    return Reflect.apply(write, this, args) as boolean;
  } as typeof writer.write;
  const source = createDirectReadStream(path, { highWaterMark: CHUNK });
  await pipeline(source, writer);
  // Node 26.12 and later go past a wrapped write for most of the chunks of a pipe: fs's own, too.
  const seesAll = !('pipeOnData' in (source as unknown as { _readableState: object })._readableState);
  if (seesAll) t.true(Buffer.concat(kept).equals(content), 'and its chunks keep their bytes');
  else for (const chunk of kept) t.true(content.includes(chunk), 'and its chunks keep their bytes');
  t.true(readFileSync(target).equals(content));
});

const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
const { test: mallocTest } = testsWhere('malloc of glibc', {
  available: method === 'direct' && glibcVersionRuntime !== undefined,
  reason: reason ?? 'another C library',
});

mallocTest('malloc keeps the memory of chunks that are collected, unless it has been told what to keep', async (t) => {
  const large = pattern(20 * MiB);
  const file = makeFile(directory, large);
  for (const [env, fromHeap, bytes] of [
    [{}, true, large.length],
    [{ READ: 'no' }, false, 0],
    [{ ROOM: 'no' }, false, large.length],
    [{ MALLOC_MMAP_THRESHOLD_: '1048576' }, false, large.length],
  ] as const) {
    const { stdout, stderr } = await runProgram(process.execPath, [fixture('malloc'), file], {
      ...process.env,
      ...env,
    });
    t.is(stderr, '');
    t.deepEqual(JSON.parse(stdout), { fromHeap, bytes });
  }
});
