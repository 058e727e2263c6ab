/**
 * The cases of Node's own tests of fs.createReadStream (test/parallel/test-fs-read-stream*.js and
 * test-fs-stream-*.js), run against both: whatever Node does, ours must do.
 */
import fs, { closeSync, createReadStream, openSync, type ReadStream, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import test from 'ava';
import { openDescriptors, record, temporaryDirectory, until, writeFile } from './harness.js';

const directory = temporaryDirectory();
const text = writeFile(join(directory, 'text'), Buffer.from(`xyz\n${'ünïcödé €𝄞 '.repeat(9000)}`));
const digits = writeFile(join(directory, 'digits'), Buffer.from('0123456789'));
const empty = writeFile(join(directory, 'empty'), Buffer.alloc(0));

/** With what @types/node does not tell. */
type FileStream = ReadStream & { fd: number | null; flags: string; mode: number };
type Make = (path: string | Buffer | URL, options?: unknown) => FileStream;
type Log = unknown[];
type Case = (make: Make, log: Log) => Promise<void> | void;

const EVENTS = ['open', 'ready', 'end', 'close', 'error', 'pause', 'resume'];
const closed = (stream: Readable): Promise<void> => until(() => stream.closed, 'closed');
const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException | null)?.code ?? String(error);

/** Everything that can be seen of reading `stream` to its end. */
async function drain(stream: ReadStream, log: Log): Promise<void> {
  record(log as string[], '', stream, EVENTS);
  stream.on('data', (chunk) => log.push(chunk.length, chunk.toString().slice(0, 30)));
  await closed(stream);
  log.push(stream.bytesRead, stream.path, stream.pending, stream.destroyed, stream.readableEnded);
}

const cases: Record<string, Case> = {
  'to the end': (make, log) => drain(make(text), log),
  empty: (make, log) => drain(make(empty), log),
  'by an encoding, as an option, as a string, and set': async (make, log) => {
    for (const stream of [
      make(text, { encoding: 'utf8', highWaterMark: 7 }),
      make(text, 'utf8'),
      make(text).setEncoding('utf8'),
    ]) {
      let all = '';
      stream.on('data', (chunk) => {
        all += chunk as string;
      });
      await closed(stream);
      log.push(all.length, all.at(-2));
    }
  },
  'options are inherited': (make, log) =>
    drain(make(digits, Object.create({ start: 2, end: 5, encoding: 'latin1' })), log),
  'null and undefined options': async (make, log) => {
    await drain(make(digits, null), log);
    await drain(make(digits, undefined), log);
  },
  ranges: async (make, log) => {
    for (const range of [
      { start: 2 },
      { end: 3 },
      { start: 4, end: 4 },
      { start: 9, end: 20 },
      { start: 10 },
      { end: 0 },
      { start: 0, end: Number.POSITIVE_INFINITY },
    ]) {
      await drain(make(digits, range), log);
    }
  },
  'options that are none': async (make, log) => {
    for (const options of [
      { start: 2, end: 1 },
      { start: '1' },
      { end: '1' },
      { start: -1 },
      { start: 1.5 },
      { end: Number.NaN },
      { start: 2 ** 53 },
      { start: Number.POSITIVE_INFINITY },
      { fd: 'x' },
      { fd: -1 },
      { fs: {} },
      { fs: { open: 1 } },
      { encoding: 'none' },
      { highWaterMark: -1 },
      { signal: 1 },
      'none',
      1,
      true,
      () => {},
    ]) {
      try {
        await closed(make(digits, options).destroy());
        log.push('made');
      } catch (error) {
        log.push(codeOf(error), (error as Error).name);
      }
    }
    for (const path of [1, null, undefined, {}, [], new URL('http://x/')]) {
      try {
        await closed(make(path as string).destroy());
        log.push('made');
      } catch (error) {
        log.push(codeOf(error), (error as Error).message);
      }
    }
  },
  'pause and resume': async (make, log) => {
    const stream = make(text, { highWaterMark: 20_000 });
    let paused = false;
    record(log as string[], '', stream, ['open', 'ready', 'end', 'close', 'error']);
    stream.on('data', (chunk) => {
      log.push(chunk.length, paused);
      paused = true;
      stream.pause();
      setTimeout(() => {
        paused = false;
        stream.resume();
      }, 2);
    });
    await closed(stream);
  },
  'paused before anything': async (make, log) => {
    const stream = make(digits);
    stream.pause();
    log.push(stream.isPaused());
    stream.resume();
    await drain(stream, log);
  },
  'a missing file': (make, log) => drain(make(join(directory, 'missing')), log),
  'destroyed before it is open': async (make, log) => {
    const stream = make(digits);
    record(log as string[], '', stream, EVENTS);
    stream.destroy();
    await closed(stream);
    log.push(stream.fd);
  },
  'destroyed once open, twice, with an error': async (make, log) => {
    const stream = make(text);
    record(log as string[], '', stream, EVENTS);
    stream.once('open', () => {
      stream.destroy(new Error('first'));
      stream.destroy(new Error('second'));
    });
    await closed(stream);
    log.push(stream.errored?.message, stream.fd);
  },
  'close with callbacks, twice': async (make, log) => {
    const stream = make(digits);
    record(log as string[], '', stream, EVENTS);
    await new Promise<void>((resolve) => {
      stream.close((error) => log.push('first', codeOf(error)));
      stream.close((error) => {
        log.push('second', codeOf(error));
        resolve();
      });
    });
    await closed(stream);
  },
  'autoClose false': async (make, log) => {
    const stream = make(digits, { autoClose: false });
    record(log as string[], '', stream, EVENTS);
    stream.resume();
    await until(() => stream.readableEnded);
    await new Promise((resolve) => setTimeout(resolve, 10));
    log.push(stream.destroyed, typeof stream.fd);
    stream.destroy();
    await closed(stream);
  },
  'autoClose false, and an error': async (make, log) => {
    const stream = make(directory, { autoClose: false });
    record(log as string[], '', stream, EVENTS);
    stream.resume();
    await until(() => log.includes(' error EISDIR'));
    await new Promise((resolve) => setTimeout(resolve, 10));
    log.push(stream.destroyed);
    stream.destroy();
    await closed(stream);
  },
  'emitClose false': async (make, log) => {
    const stream = make(digits, { emitClose: false });
    record(log as string[], '', stream, EVENTS);
    stream.resume();
    await until(() => stream.destroyed);
    await new Promise((resolve) => setTimeout(resolve, 10));
  },
  'a descriptor, with its own position and with a start': async (make, log) => {
    for (const options of [{}, { start: 3 }, { start: 3, end: 5 }, { end: 5 }]) {
      const fd = openSync(digits, 'r');
      fs.readSync(fd, Buffer.alloc(2));
      await drain(make('', { fd, ...options }), log);
      log.push(codeOf(await new Promise((resolve) => fs.fstat(fd, (error) => resolve(error)))));
    }
  },
  'a descriptor that is closed under it': async (make, log) => {
    const fd = openSync(digits, 'r');
    closeSync(fd);
    await drain(make('', { fd }), log);
  },
  'a FileHandle: read, closed with the stream, and closing it': async (make, log) => {
    const handle = await open(digits);
    await drain(make('', { fd: handle }), log);
    log.push(handle.fd);
    const other = await open(text);
    const stream = make('', { fd: other, highWaterMark: 100 });
    record(log as string[], '', stream, EVENTS);
    stream.once('data', () => other.close());
    await closed(stream);
    const third = await open(digits);
    try {
      make('', { fd: third, fs });
    } catch (error) {
      log.push(codeOf(error));
    }
    await third.close();
  },
  'a file that grows while it is read': async (make, log) => {
    const path = writeFile(join(directory, `growing-${Math.random()}`), Buffer.from('one'));
    const stream = make(path, { highWaterMark: 3 });
    let grown = false;
    stream.on('data', (chunk) => {
      log.push(chunk.toString());
      if (grown) return;
      grown = true;
      const fd = openSync(path, 'a');
      writeSync(fd, 'two');
      closeSync(fd);
    });
    await closed(stream);
    log.push(stream.bytesRead);
  },
  'an fs of its own': async (make, log) => {
    const calls: string[] = [];
    const own = {
      open: (...args: Parameters<typeof fs.open>) => {
        calls.push('open');
        return fs.open(...args);
      },
      read: (...args: Parameters<typeof fs.read>) => {
        calls.push('read');
        return fs.read(...args);
      },
      close: (...args: Parameters<typeof fs.close>) => {
        calls.push('close');
        return fs.close(...args);
      },
    };
    await drain(make(digits, { fs: own }), log);
    const sink = new PassThrough();
    sink.resume();
    make(digits, { fs: own }).pipe(sink);
    await until(() => sink.readableEnded && calls.filter((name) => name === 'close').length === 2);
    log.push(...calls);
  },
  'reads that fail': async (make, log) => {
    const own = {
      ...fs,
      read: (...args: unknown[]) => {
        const callback = args.at(-1) as (error: Error) => void;
        process.nextTick(callback, Object.assign(new Error('bad sector'), { code: 'EIO' }));
      },
    };
    await drain(make(digits, { fs: own }), log);
  },
  'a signal: aborted while reading, and after': async (make, log) => {
    const controller = new AbortController();
    const stream = make(text, { signal: controller.signal, highWaterMark: 100 });
    record(log as string[], '', stream, EVENTS);
    stream.once('data', () => controller.abort());
    await closed(stream);
    log.push(stream.errored?.name);
    const late = new AbortController();
    const done = make(digits, { signal: late.signal });
    await drain(done, log);
    late.abort();
    log.push(done.errored);
  },
  'for await, broken off': async (make, log) => {
    const stream = make(text, { highWaterMark: 10 });
    for await (const chunk of stream) {
      log.push((chunk as Buffer).length);
      if (log.length === 3) break;
    }
    log.push(stream.destroyed);
    await closed(stream);
  },
  'the readable event, and read(n)': async (make, log) => {
    const stream = make(digits, { highWaterMark: 4 });
    stream.on('readable', () => {
      for (let chunk = stream.read(3) as Buffer | null; chunk !== null; chunk = stream.read(3) as Buffer | null) {
        log.push(chunk.toString());
      }
      const rest = stream.read() as Buffer | null;
      if (rest !== null) log.push(rest.toString());
    });
    await closed(stream);
    log.sort();
  },
  'through the operators and adapters of Readable': async (make, log) => {
    log.push(
      await make(digits)
        .map((chunk: Buffer) => chunk.toString())
        .toArray(),
    );
    log.push(await make(digits, { highWaterMark: 2 }).take(2).toArray());
    log.push(await make(digits).compose(new PassThrough()).toArray());
    const web = Readable.toWeb(make(digits)) as unknown as AsyncIterable<Uint8Array>;
    for await (const chunk of web) log.push(Buffer.from(chunk).toString());
  },
  'two pipes, one taken away': async (make, log) => {
    const stream = make(text, { highWaterMark: 1000 });
    const [first, second] = [new PassThrough(), new PassThrough()];
    let [one, two] = [0, 0];
    first.on('data', (chunk: Buffer) => {
      one += chunk.length;
      if (one === 5000) stream.unpipe(first);
    });
    second.on('data', (chunk: Buffer) => {
      two += chunk.length;
    });
    stream.pipe(first);
    stream.pipe(second);
    await closed(stream);
    await until(() => second.readableEnded);
    log.push(one, two, first.writableEnded);
  },
  'a subclass with an open of its own (graceful-fs)': async (make, log) => {
    const stream = make(digits);
    const prototype = Object.getPrototypeOf(stream) as { open?: unknown };
    log.push(typeof prototype.open);
    await drain(stream, log);
  },
  'its place among classes': async (make, log) => {
    const stream = make(digits);
    log.push(stream instanceof fs.ReadStream, stream.flags, stream.mode, stream.readableHighWaterMark);
    log.push(stream.readableFlowing, stream.readableObjectMode, stream.bytesRead, stream.pending);
    stream.destroy();
    await closed(stream);
  },
};

for (const [name, run] of Object.entries(cases)) {
  test.serial(`as fs.createReadStream: ${name}`, async (t) => {
    const before = openDescriptors();
    const logs: Log[] = [];
    for (const make of [createReadStream as unknown as Make, createSendfileStream as unknown as Make]) {
      const log: Log = [];
      await run(make, log);
      logs.push(log);
    }
    t.true((logs[0]?.length ?? 0) > 0);
    t.deepEqual(logs[1], logs[0]);
    await until(() => openDescriptors() <= before, 'descriptors closed');
  });
}

const callsUnderWay = (): boolean => process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'));

test.serial('as fs.createReadStream: a signal that has been aborted; but we leave no descriptor open', async (t) => {
  const logs: Log[] = [];
  for (const make of [createReadStream as unknown as Make, createSendfileStream as unknown as Make]) {
    const log: Log = [];
    const before = openDescriptors();
    await drain(make(digits, { signal: AbortSignal.abort() }), log);
    logs.push(log);
    // Of both: what Node's own opens too late, and leaves open, is not ours.
    await until(() => !callsUnderWay(), 'the file has been opened');
    if (logs.length === 2) await until(() => openDescriptors() <= before, 'the descriptor closed');
  }
  t.deepEqual(logs[1], logs[0]);
});
