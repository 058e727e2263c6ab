/** The one wrap of Readable.prototype.pipe: what it leaves as it is, who decides, and how it is taken away. */
import { once } from 'node:events';
import { createReadStream, createWriteStream, readFileSync, type WriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Duplex, PassThrough, pipeline, Readable, Writable } from 'node:stream';
import { pipeline as promised } from 'node:stream/promises';
import { install, stats } from '@zerocopy/pipeline';
import test from 'ava';
import {
  fresh,
  get,
  kernelTest,
  MiB,
  makeFile,
  pattern,
  since,
  temporaryDirectory,
  withHttpServer,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(300_000);
const path = makeFile(directory, content);

async function copied(pipe: (to: ReturnType<typeof createWriteStream>) => unknown): Promise<Buffer> {
  const to = fresh(directory);
  const destination = createWriteStream(to);
  pipe(destination);
  await once(destination, 'close');
  return readFileSync(to);
}

test.serial('what is wrapped looks as before', (t) => {
  const before = Object.getOwnPropertyDescriptor(Readable.prototype, 'pipe');
  const uninstall = install();
  const after = Object.getOwnPropertyDescriptor(Readable.prototype, 'pipe');
  uninstall();
  uninstall();
  t.is(after?.value.length, before?.value.length);
  t.is(after?.value.name, before?.value.name);
  for (const flag of ['writable', 'enumerable', 'configurable'] as const) t.is(after?.[flag], before?.[flag]);
  t.is(Readable.prototype.pipe, Duplex.prototype.pipe);
  const [source, destination] = [new PassThrough(), new PassThrough()];
  t.is(source.pipe(destination), destination);
  t.throws(() => Reflect.apply(Readable.prototype.pipe, source, []), { instanceOf: TypeError });
});

kernelTest('all ways of Node from one stream into another pass here', async (t) => {
  const uninstall = install();
  class Own extends Readable {}
  const ways: Record<string, (to: ReturnType<typeof createWriteStream>) => unknown> = {
    pipe: (to) => createReadStream(path).pipe(to),
    pipeline: (to) => pipeline(createReadStream(path), to, () => {}),
    promised: (to) => promised(createReadStream(path), to),
    'with a signal': (to) => promised(createReadStream(path), to, { signal: new AbortController().signal }),
    'a FileHandle': async (to) => (await open(path)).createReadStream().pipe(to),
    'a method taken before': (to) => Reflect.apply(Own.prototype.pipe, createReadStream(path), [to]),
  };
  try {
    for (const [name, way] of Object.entries(ways)) {
      const before = stats();
      t.true((await copied(way)).equals(content), name);
      t.deepEqual(
        since(before),
        { kinds: { 'file->file': 1 }, declined: {}, handedBack: {}, bytes: content.length },
        name,
      );
    }
  } finally {
    uninstall();
  }
  const before = stats();
  t.true((await copied((to) => createReadStream(path).pipe(to))).equals(content));
  t.is(since(before).bytes, 0, 'uninstalled');
});

kernelTest('what is left out: a kind, few bytes, a filter, a stream that has opted out', async (t) => {
  const left = async (options: Parameters<typeof install>[0], prepare?: (source: Readable) => void) => {
    const uninstall = install(options);
    const before = stats();
    try {
      const bytes = await copied((to) => {
        const source = createReadStream(path);
        prepare?.(source);
        source.pipe(to);
      });
      t.true(bytes.equals(content));
    } finally {
      uninstall();
    }
    const { kinds, declined } = since(before);
    t.deepEqual(kinds, {});
    return Object.keys(declined);
  };
  t.deepEqual(await left({ kinds: ['file->http'] }), []);
  t.deepEqual(await left({ kinds: [] }), []);
  t.deepEqual(await left({ minBytes: { 'file->file': 300_001 } }), ['fewer than 300001 bytes are left to Node']);
  t.deepEqual(await left({ filter: () => false }), ['the filter has left it out']);
  const optOut = (source: Readable): void => {
    Object.assign(source, { [Symbol.for('zerocopy.pipe')]: false });
  };
  t.deepEqual(await left({}, optOut), ['the stream has been opted out']);
  const throwing = (): boolean => {
    throw new Error('mine');
  };
  t.deepEqual(await left({ filter: throwing }), ['the look at it failed: mine']);
});

kernelTest('of two that are installed the first decides, and the other after it is gone', async (t) => {
  const asked: string[] = [];
  const first = install({
    filter: () => {
      asked.push('first');
      return false;
    },
  });
  const second = install({
    filter: () => {
      asked.push('second');
      return true;
    },
  });
  try {
    await copied((to) => createReadStream(path).pipe(to));
    first();
    const before = stats();
    await copied((to) => createReadStream(path).pipe(to));
    t.deepEqual(since(before).kinds, { 'file->file': 1 });
  } finally {
    first();
    second();
  }
  t.deepEqual(asked, ['first', 'second']);
});

kernelTest('unpiped by the filter: all of a body is there for the next destination', async (t) => {
  const body = pattern(3 * MiB);
  const [left, stored] = [fresh(directory), fresh(directory)];
  const uninstall = install({
    filter: (source, destination) => {
      if ((destination as WriteStream).path === left) source.unpipe(destination);
      return true;
    },
  });
  t.teardown(uninstall);
  await withHttpServer(
    (request, response) => {
      const first = createWriteStream(left);
      request.pipe(first);
      first.once('open', () => {
        first.end();
        request.pipe(createWriteStream(stored)).once('finish', () => response.end('stored'));
      });
    },
    async (port) => {
      const before = stats();
      const headers = { 'Content-Length': body.length };
      t.is((await get(port, { method: 'PUT', headers }, body)).body.toString(), 'stored');
      t.is(since(before).declined['it has been unpiped'], 1);
    },
  );
  t.is(readFileSync(left).length, 0);
  t.true(readFileSync(stored).equals(body));
});

test.serial('options are checked', (t) => {
  const wrong = (options: unknown, code: string): void => {
    t.is((t.throws(() => install(options as Parameters<typeof install>[0])) as NodeJS.ErrnoException).code, code);
  };
  wrong(null, 'ERR_INVALID_ARG_TYPE');
  wrong({ kinds: 'all' }, 'ERR_INVALID_ARG_TYPE');
  wrong({ kinds: ['file->moon'] }, 'ERR_INVALID_ARG_VALUE');
  wrong({ minBytes: 3 }, 'ERR_INVALID_ARG_TYPE');
  wrong({ minBytes: { moon: 3 } }, 'ERR_INVALID_ARG_VALUE');
  wrong({ minBytes: { 'file->file': -1 } }, 'ERR_OUT_OF_RANGE');
  wrong({ minBytes: { 'file->file': '1' } }, 'ERR_INVALID_ARG_TYPE');
  wrong({ filter: true }, 'ERR_INVALID_ARG_TYPE');
});

kernelTest('what the kernel cannot move is left to Node, with the reason', async (t) => {
  const uninstall = install();
  try {
    const before = stats();
    const through = new PassThrough();
    createReadStream(path).pipe(through).resume();
    await once(through, 'end');
    const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
    createReadStream(path).pipe(sink);
    await once(sink, 'close');
    const encoded = await copied((to) => createReadStream(path, { encoding: 'latin1' }).pipe(to));
    t.true(encoded.length > content.length);
    const { declined, kinds } = since(before);
    t.deepEqual(kinds, {});
    t.deepEqual(declined, {
      'the destination is no file, socket or HTTP/1 message but PassThrough': 1,
      'the destination is no file, socket or HTTP/1 message but Writable': 1,
      'the stream has an encoding': 1,
    });
  } finally {
    uninstall();
  }
});
