/** createSpliceWriteStream against fs.createWriteStream: whatever Node's does, ours must do. */
import fs, {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  openSync,
  readFileSync,
  type WriteStream,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream, type SpliceWriteStream } from '@zerocopy/splice-pipe';
import test from 'ava';
import {
  type Kind,
  kernelSerial,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  pause,
  temporaryDirectory,
  until,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();
let names = 0;

type Make = (path: string, options?: unknown) => WriteStream & { fd: number | null; flags: string; mode: number };
type Log = unknown[];
type Case = (make: Make, log: Log, path: string) => Promise<void> | void;

const EVENTS = ['open', 'ready', 'finish', 'close', 'error', 'pipe', 'unpipe'];
const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException | null)?.code ?? String(error);
const closed = (stream: WriteStream): Promise<void> => until(() => stream.closed, 'closed');

function follow(stream: WriteStream, log: Log, events: readonly string[] = [...EVENTS, 'drain']): void {
  for (const event of events) {
    stream.on(event, (value: unknown) => log.push(event, value instanceof Error ? [codeOf(value), value.message] : ''));
  }
}

async function outcome(stream: WriteStream, log: Log, path: string): Promise<void> {
  await closed(stream);
  log.push(stream.bytesWritten, stream.pending, stream.destroyed, stream.writableFinished, stream.writableEnded);
  log.push(existsSync(path) ? readFileSync(path, 'latin1') : 'no file');
}

const cases: Record<string, Case> = {
  'written and ended': async (make, log, path) => {
    const stream = make(path);
    follow(stream, log);
    log.push(
      stream.write('one '),
      stream.write(Buffer.from('two ')),
      stream.end('three') === stream,
      stream.path === path,
    );
    await outcome(stream, log, path);
  },
  'nothing at all': async (make, log, path) => {
    const stream = make(path);
    follow(stream, log);
    stream.end();
    await outcome(stream, log, path);
  },
  'empty writes': async (make, log, path) => {
    const stream = make(path);
    follow(stream, log);
    stream.write('', () => log.push('written'));
    stream.write(Buffer.alloc(0), () => log.push('written too'));
    stream.end(Buffer.alloc(0), () => log.push('ended'));
    await outcome(stream, log, path);
  },
  encodings: async (make, log, path) => {
    for (const options of ['latin1', { encoding: 'utf16le' }, undefined]) {
      const stream = make(path, options);
      stream.write('ünï');
      stream.write('aGk=', 'base64');
      if (options === undefined) stream.setDefaultEncoding('hex').write('616263');
      stream.end();
      await outcome(stream, log, path);
    }
  },
  'corked, and past the high-water mark': async (make, log, path) => {
    const stream = make(path, { highWaterMark: 10 });
    follow(stream, log);
    stream.cork();
    for (let n = 0; n < 5; n++) log.push(stream.write(`part ${n};`), stream.writableLength, stream.writableNeedDrain);
    stream.uncork();
    await until(() => !stream.writableNeedDrain);
    stream.end();
    await outcome(stream, log, path);
  },
  'start, and flags': async (make, log, path) => {
    for (const options of [
      { start: 3, flags: 'r+' },
      { flags: 'a' },
      { start: 0, flags: 'r+' },
      { start: 2 },
      { flags: 'wx' },
    ]) {
      if (!existsSync(path)) writeFileSync(path, '0123456789');
      const stream = make(path, options);
      follow(stream, log);
      log.push(stream.flags, stream.mode);
      stream.end('ab');
      await outcome(stream, log, path);
    }
  },
  'options that are none': async (make, log, path) => {
    for (const options of [
      { start: '1' },
      { start: -1 },
      { start: 1.5 },
      { start: Number.POSITIVE_INFINITY },
      { fd: 'x' },
      { fd: -1 },
      { fs: {} },
      { fs: { open: 1 } },
      { encoding: 'none' },
      { highWaterMark: -1 },
      { signal: 1 },
      { flags: 'zz' },
      { flush: 'yes' },
      'none',
      1,
      true,
      () => {},
    ]) {
      try {
        const stream = make(path, options);
        stream.on('error', (error) => log.push(codeOf(error)));
        await closed(stream.destroy());
        log.push('made');
      } catch (error) {
        log.push(codeOf(error), (error as Error).message);
      }
    }
    for (const bad of [1, null, undefined, {}, [], new URL('http://x/')]) {
      try {
        make(bad as string);
        log.push('made');
      } catch (error) {
        log.push(codeOf(error), (error as Error).message);
      }
    }
  },
  'options are inherited, null and undefined': async (make, log, path) => {
    writeFileSync(path, '0123456789');
    for (const options of [Object.create({ start: 2, flags: 'r+' }), null, undefined]) {
      const stream = make(path, options);
      stream.end('x');
      await outcome(stream, log, path);
    }
  },
  'a directory that is not there': async (make, log, path) => {
    const stream = make(join(path, 'none', 'file').replace(/case-\d+/, 'case'));
    follow(stream, log);
    stream.write('lost', (error) => log.push('written', codeOf(error)));
    stream.end(() => log.push('ended'));
    await closed(stream);
  },
  'destroyed before it is open, after, twice, with an error': async (make, log, path) => {
    const early = make(path);
    follow(early, log);
    early.destroy();
    await outcome(early, log, path);
    const late = make(path);
    follow(late, log);
    await until(() => !late.pending);
    late.destroy(new Error('mine')).destroy();
    await outcome(late, log, path);
  },
  'close with callbacks, twice': async (make, log, path) => {
    const stream = make(path);
    follow(stream, log);
    stream.write('abc');
    stream.close((error) => log.push('closed', codeOf(error)));
    stream.close((error) => log.push('closed again', codeOf(error)));
    await outcome(stream, log, path);
  },
  'written to after its end': async (make, log, path) => {
    const stream = make(path);
    follow(stream, log);
    stream.end('abc');
    stream.write('late', (error) => log.push(codeOf(error)));
    await outcome(stream, log, path);
  },
  'autoClose and emitClose off': async (make, log, path) => {
    const kept = make(path, { autoClose: false });
    follow(kept, log);
    kept.end('abc');
    await until(() => kept.writableFinished);
    await pause(10);
    log.push(kept.destroyed, typeof kept.fd);
    closeSync(kept.fd as number);
    const silent = make(path, { emitClose: false });
    follow(silent, log);
    silent.end('abc');
    await until(() => silent.destroyed);
    await pause(10);
  },
  'a descriptor, with its own position and with a start': async (make, log, path) => {
    writeFileSync(path, '0123456789');
    for (const options of [{}, { start: 6 }, { autoClose: false }]) {
      const fd = openSync(path, 'r+');
      fs.writeSync(fd, 'ab');
      const stream = make('', { fd, ...options });
      follow(stream, log);
      stream.end('xy');
      if ('autoClose' in options) {
        await until(() => stream.writableFinished);
        closeSync(fd);
      } else await closed(stream);
      log.push(readFileSync(path, 'latin1'), stream.bytesWritten);
    }
  },
  'a FileHandle': async (make, log, path) => {
    const handle = await open(path, 'w');
    let handleClosed = false;
    (handle as unknown as NodeJS.EventEmitter).on('close', () => {
      handleClosed = true;
    });
    const stream = make('', { fd: handle });
    follow(stream, log);
    stream.end('by handle');
    await outcome(stream, log, path);
    log.push(handleClosed);
  },
  'a signal: aborted while writing, and before': async (make, log, path) => {
    const controller = new AbortController();
    const stream = make(path, { signal: controller.signal });
    follow(stream, log);
    stream.write('abc');
    controller.abort();
    await closed(stream);
    const before = make(path, { signal: AbortSignal.abort() });
    follow(before, log);
    await closed(before);
  },
  'an fs of its own': async (make, log, path) => {
    const calls: string[] = [];
    const counted =
      (name: 'open' | 'write' | 'close') =>
      (...args: unknown[]): unknown => {
        calls.push(name);
        return Reflect.apply(fs[name], fs, args);
      };
    const own = { open: counted('open'), write: counted('write'), close: counted('close') };
    const stream = make(path, { fs: own });
    follow(stream, log);
    stream.end('through');
    await outcome(stream, log, path);
    log.push(...calls);
  },
  'piped from a file, a generator and a PassThrough': async (make, log, path) => {
    writeFileSync(`${path}-source`, pattern(200_000));
    for (const source of [createReadStream(`${path}-source`), Readable.from(['a', 'b', 'c']), new PassThrough()]) {
      const stream = make(path);
      follow(stream, log);
      source.pipe(stream);
      if (source instanceof PassThrough) source.end('passed');
      await closed(stream);
      log.push(readFileSync(path).length);
    }
  },
  'its place among classes': (make, log, path) => {
    const stream = make(path);
    log.push(stream instanceof fs.WriteStream, typeof stream.close, stream.writableHighWaterMark);
    stream.destroy();
    return closed(stream);
  },
};

for (const [name, run] of Object.entries(cases)) {
  test(`as fs.createWriteStream: ${name}`, async (t) => {
    const logs: Log[] = [];
    for (const make of [createSpliceWriteStream, createWriteStream]) {
      const path = join(directory, `case-${names++}`);
      const log: Log = [];
      await run(make as unknown as Make, log, path);
      logs.push(JSON.parse(JSON.stringify(log).replaceAll(path, 'PATH')) as Log);
    }
    t.deepEqual(logs[0], logs[1]);
    t.true((logs[0]?.length ?? 0) > 0);
  });
}

/** Piped from a socket; what can be seen of it from outside. */
async function fromSocket(
  make: Make,
  kind: Kind,
  use: (sockets: { source: Socket; writer: Socket; file: WriteStream; log: Log; path: string }) => Promise<void>,
  options?: unknown,
): Promise<Log> {
  const path = join(directory, `socket-${names++}`);
  const log: Log = [];
  await withPair(kind, directory, async ({ server: source, client: writer }) => {
    writer.on('error', () => {});
    for (const event of ['end', 'close', 'error']) source.on(event, () => log.push(`source ${event}`));
    const file = make(path, options);
    follow(file, log, EVENTS); // how often it drains is a matter of chunks
    await until(() => !file.pending || file.destroyed); // opening races with what the socket brings
    await use({ source, writer, file, log, path });
  });
  return JSON.parse(JSON.stringify(log).replaceAll(path, 'PATH')) as Log;
}

const both = async (
  kind: Kind,
  use: Parameters<typeof fromSocket>[2],
  options?: unknown,
): Promise<readonly [Log, Log]> => [
  await fromSocket(createSpliceWriteStream as unknown as Make, kind, use, options),
  await fromSocket(createWriteStream as unknown as Make, kind, use, options),
];

const ours = (file: WriteStream): SpliceWriteStream | undefined =>
  'method' in file ? (file as SpliceWriteStream) : undefined;

kernelTest('piped from a socket: the same events in the same order, and the bytes by splice', async (t) => {
  const content = pattern(3 * MiB);
  for (const kind of ['tcp', 'unix'] as const) {
    for (const how of ['pipe', 'pipeline'] as const) {
      const [one, other] = await both(kind, async ({ source, writer, file, log, path }) => {
        writer.end(content);
        if (how === 'pipe') source.pipe(file);
        else await pipeline(source, file);
        await closed(file);
        t.true(readFileSync(path).equals(content));
        log.push(file.bytesWritten, source.bytesRead, source.readableEnded);
        t.is(ours(file)?.method ?? 'splice', 'splice');
      });
      t.deepEqual(one, other);
    }
  }
});

kernelTest('nothing, and what had been read before, come as with fs.createWriteStream', async (t) => {
  for (const size of [0, 10, 30_000]) {
    const [one, other] = await both('tcp', async ({ source, writer, file, log, path }) => {
      writer.end(pattern(size));
      source.read(0);
      await until(() => (size === 0 ? source.readableEnded : source.readableLength === size));
      source.pipe(file);
      await closed(file);
      log.push(readFileSync(path).equals(pattern(size)), file.bytesWritten);
    });
    t.deepEqual(one, other);
  }
});

kernelTest('piped into before it is open: nothing is lost', async (t) => {
  for (const size of [0, 10, 2 * MiB]) {
    await withPair('tcp', directory, async ({ server, client }) => {
      client.end(pattern(size));
      const path = join(directory, `early-${size}`);
      await pipeline(server, createSpliceWriteStream(path));
      t.true(readFileSync(path).equals(pattern(size)));
    });
  }
});

kernelSerial('left while a call is under way on another thread: it never writes into the next file', async (t) => {
  const content = pattern(4 * MiB);
  const one = async (n: number): Promise<void> => {
    await withPair('unix', directory, async ({ server, client }) => {
      client.on('error', () => {}).end(content);
      const path = join(directory, `left-${n}`);
      const file = createSpliceWriteStream(path);
      server.pipe(file);
      await until(() => file.bytesWritten > 0);
      for (let turns = n % 5; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      server.unpipe(file);
      if (n % 2 === 0) file.end();
      else file.destroy();
      await closed(file);
      // Likely to get the number that has just been closed.
      const next = join(directory, `next-${n}`);
      const fd = openSync(next, 'w');
      await pause(5);
      closeSync(fd);
      t.is(readFileSync(next).length, 0);
      const written = readFileSync(path);
      t.is(written.length, file.bytesWritten);
      t.true(written.equals(content.subarray(0, written.length)));
    });
  };
  for (let n = 0; n < 120; n += 12) await Promise.all(Array.from({ length: 12 }, (_, index) => one(n + index)));
});

kernelTest('end: false, then another source, in order', async (t) => {
  const [one, other] = await both('tcp', async ({ source, writer, file, log, path }) => {
    file.write('first ');
    writer.end('second ');
    source.pipe(file, { end: false });
    await until(() => source.readableEnded);
    await until(() => file.bytesWritten === 13);
    file.end('third');
    await closed(file);
    log.push(readFileSync(path, 'latin1'), file.bytesWritten);
  });
  t.deepEqual(one, other);
  t.true(one.includes('first second third'));
});

kernelTest('unpiped in the middle: what follows stays in the socket, and nothing is lost', async (t) => {
  const content = pattern(8 * MiB);
  await fromSocket(createSpliceWriteStream as unknown as Make, 'tcp', async ({ source, writer, file, path }) => {
    writer.end(content);
    source.pipe(file);
    await until(() => file.bytesWritten > MiB);
    source.unpipe(file);
    await new Promise<void>((resolve) => file.end(resolve));
    const rest: Buffer[] = [];
    source.on('data', (chunk: Buffer) => rest.push(chunk)).resume();
    await until(() => source.readableEnded);
    t.true(Buffer.concat([readFileSync(path), ...rest]).equals(content));
  });
});

kernelTest('written to while it is piped into: both arrive whole, and nothing twice', async (t) => {
  const content = pattern(6 * MiB);
  await fromSocket(createSpliceWriteStream as unknown as Make, 'unix', async ({ source, writer, file, path }) => {
    source.pipe(file);
    writer.write(content.subarray(0, 3 * MiB));
    await until(() => file.bytesWritten === 3 * MiB);
    file.write('|');
    writer.end(content.subarray(3 * MiB));
    await closed(file);
    const all = readFileSync(path);
    t.is(all.length, content.length + 1);
    t.is(all[3 * MiB], '|'.charCodeAt(0));
    t.true(Buffer.concat([all.subarray(0, 3 * MiB), all.subarray(3 * MiB + 1)]).equals(content));
  });
});

kernelTest('start, flags and a descriptor, piped from a socket', async (t) => {
  for (const options of [{ start: 4 }, { flags: 'a' }, { flags: 'r+', start: 1 }]) {
    const [one, other] = await both(
      'tcp',
      async ({ source, writer, file, log, path }) => {
        writer.end('spliced');
        source.pipe(file);
        await closed(file);
        log.push(existsSync(path) ? readFileSync(path, 'latin1') : 'none', file.bytesWritten);
      },
      options,
    );
    t.deepEqual(one, other, JSON.stringify(options));
  }
});

kernelTest(
  'the file is destroyed, the socket is destroyed, the peer resets: as with fs.createWriteStream',
  async (t) => {
    for (const how of ['file', 'file with an error', 'socket', 'peer'] as const) {
      const [one, other] = await both('tcp', async ({ source, writer, file, log }) => {
        writer.write(pattern(MiB));
        const done = pipeline(source, file).catch((error: unknown) =>
          log.push(codeOf(error), (error as Error).message),
        );
        await until(() => file.bytesWritten === MiB);
        if (how === 'file') file.destroy();
        else if (how === 'file with an error') file.destroy(new Error('mine'));
        else if (how === 'socket') source.destroy();
        else writer.resetAndDestroy();
        await done;
        await closed(file);
        await until(() => log.includes('source close')); // told a moment after `closed`
        log.push(source.destroyed, file.destroyed);
      });
      // One is closed by the loop, the other by a thread: which is first is up to the machine, in Node's as in ours.
      const apart = (log: Log): Log => log.filter((entry) => entry !== 'source close');
      t.deepEqual(apart(one), apart(other), how);
    }
  },
);

kernelTest("fallback 'never' says why it cannot; 'auto' copies, and tells", async (t) => {
  for (const fallback of ['never', 'auto'] as const) {
    const path = join(directory, `fallback-${fallback}`);
    const file = createSpliceWriteStream(path, { fallback });
    const error = await pipeline(Readable.from(['abc']), file).then(
      () => undefined,
      (reason: NodeJS.ErrnoException) => reason,
    );
    if (fallback === 'never') {
      t.is(error?.code, 'ERR_ZEROCOPY_UNAVAILABLE');
      t.regex(error?.message ?? '', /not a socket/);
    } else {
      t.is(error, undefined);
      t.is(file.method, 'copy');
      t.regex(file.fallbackReason ?? '', /not a socket/);
    }
  }
  t.throws(() => createSpliceWriteStream(join(directory, 'x'), { fallback: 'maybe' as 'auto' }), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
});

kernelTest('progress is told while bytes pass below', async (t) => {
  const seen: number[] = [];
  await fromSocket(createSpliceWriteStream as unknown as Make, 'tcp', async ({ source, writer, file }) => {
    file.on('progress', (bytes: number) => seen.push(bytes));
    writer.end(pattern(4 * MiB));
    source.pipe(file);
    await closed(file);
  });
  t.is(seen.at(-1), 4 * MiB);
  t.deepEqual(
    seen,
    [...new Set(seen)].sort((a, b) => a - b),
  );
});

test.serial('hundreds of streams, destroyed at every moment, leave no descriptor', async (t) => {
  const before = openDescriptors();
  for (let n = 0; n < 200; n++) {
    await fromSocket(createSpliceWriteStream as unknown as Make, 'unix', async ({ source, writer, file }) => {
      source.on('error', () => {});
      source.pipe(file);
      writer.write(Buffer.alloc(300_000));
      for (let turns = n % 8; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      if (n % 2 === 0) file.destroy();
      else source.destroy();
      file.destroy();
      await closed(file);
    });
  }
  await until(() => openDescriptors() <= before + 66, 'descriptors back, but for idle pipes');
  await until(() => openDescriptors() <= before, 'idle pipes closed');
  t.pass();
});
