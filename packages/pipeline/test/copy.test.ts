/** copy(): each kind of source to each kind of destination, ranges, errors, and the file that is on both sides. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import { PassThrough, Readable } from 'node:stream';
import { type CopyOptions, type CopySource, copy } from '@zerocopy/pipeline';
import test from 'ava';
import {
  collect,
  fresh,
  get,
  kernelTest,
  makeFile,
  pattern,
  temporaryDirectory,
  withHttpServer,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(1_200_000);
const path = makeFile(directory, content);

kernelTest('every source into a path, and how it went', async (t) => {
  const handle = await open(path);
  const sources: Record<string, [source: () => CopySource, methods: RegExp]> = {
    'a path': [() => path, /^(reflink|copy_file_range|splice)$/],
    'a FileHandle': [() => handle, /^sendfile$/],
    'a child': [() => spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout, /^splice$/],
    'a Readable': [() => Readable.from([content], { objectMode: false }), /^copy$/],
  };
  for (const [name, [source, methods]] of Object.entries(sources)) {
    const to = fresh(directory);
    const { bytes, method } = await copy(source(), to);
    t.is(bytes, content.length, name);
    t.regex(method, methods, name);
    t.true(readFileSync(to).equals(content), name);
  }
  await handle.close();
});

kernelTest(
  'a path into a socket, a response, a descriptor, a child and a Writable: none of them is ended',
  async (t) => {
    await withPair('tcp', async ({ server, client }) => {
      const received = collect(client);
      t.is((await copy(path, server)).method, 'sendfile');
      server.end('|');
      t.true((await received).equals(Buffer.concat([content, Buffer.from('|')])));
    });
    await withHttpServer(
      (_request, response) => {
        void copy(path, response).then(() => response.end('|'));
      },
      async (port) => {
        const { headers, body } = await get(port);
        t.is(headers['content-length'], undefined);
        t.is(body.length, content.length + 1);
      },
    );
    const to = fresh(directory);
    const fd = openSync(to, 'w');
    t.is((await copy(path, fd)).bytes, content.length);
    closeSync(fd);
    t.true(readFileSync(to).equals(content));
    const child = spawn('wc', ['-c'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const counted = collect(child.stdout);
    await copy(path, child.stdin);
    child.stdin.end();
    t.is(Number(String(await counted)), content.length);
    const through = new PassThrough();
    const passed = collect(through);
    t.is((await copy(path, through)).method, 'copy');
    through.end();
    t.true((await passed).equals(content));
  },
);

kernelTest('the body of a request into a path, and of a response into a socket', async (t) => {
  const to = fresh(directory);
  await withHttpServer(
    async (request, response) => {
      const { bytes, method } = await copy(request, to);
      response.end(`${bytes} ${method}`);
    },
    async (port) => {
      const request = http.request({
        port,
        host: '127.0.0.1',
        method: 'PUT',
        agent: false,
        headers: { 'Content-Length': content.length },
      });
      request.write(content.subarray(0, 1000));
      setTimeout(() => request.end(content.subarray(1000)), 10);
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      t.is(String(await collect(response)), `${content.length} splice`);
    },
  );
  t.true(readFileSync(to).equals(content));
});

kernelTest('ranges: start with end or length, of paths and descriptors', async (t) => {
  const ranges: [CopyOptions, Buffer][] = [
    [{ start: 10 }, content.subarray(10)],
    [{ start: 10, end: 10 }, content.subarray(10, 11)],
    [{ end: 99 }, content.subarray(0, 100)],
    [{ start: 5, length: 7 }, content.subarray(5, 12)],
    [{ length: 900_000 }, content.subarray(0, 900_000)],
    [{ length: 0 }, Buffer.alloc(0)],
    [{ start: 1_100_000, length: 900_000 }, content.subarray(1_100_000)],
  ];
  for (const [options, expected] of ranges) {
    for (const [name, source] of [
      ['path', path],
      ['handle', await open(path)],
    ] as const) {
      const to = makeFile(directory, 'what is there is cut off');
      const { bytes } = await copy(source, to, options);
      t.is(bytes, expected.length, name);
      t.true(readFileSync(to).equals(expected), `${name} ${JSON.stringify(options)}`);
      if (typeof source !== 'string') await source.close();
    }
  }
  const handle = await open(path);
  await handle.read(Buffer.alloc(100), 0, 100, null);
  const to = fresh(directory);
  await copy(handle, to, { length: 50 });
  t.true(readFileSync(to).equals(content.subarray(100, 150)), 'a descriptor goes on where it is');
  await handle.close();
});

kernelTest(
  'the path of the file that is read is refused before anything is cut off, and so is what cannot be read',
  async (t) => {
    const file = makeFile(directory, content);
    const handle = await open(file);
    for (const source of [file, handle]) {
      const error = await t.throwsAsync(copy(source, file, { start: 1 }), { code: 'EINVAL' });
      t.is((error as NodeJS.ErrnoException).path, file);
    }
    await handle.close();
    t.is(statSync(file).size, content.length);
    await t.throwsAsync(copy(fresh(directory), file, { start: 1 }), { code: 'ENOENT' });
    t.is(statSync(file).size, content.length);
    await t.throwsAsync(copy(path, join404(), { start: 1 }), { code: 'ENOENT' });
  },
);

const join404 = (): string => `${fresh(directory)}/there/is/none`;

kernelTest('progress, and an abort, in the middle', async (t) => {
  const large = fresh(directory);
  writeFileSync(large, Buffer.alloc(30_000_000));
  await withPair('tcp', async ({ server }) => {
    const seen: number[] = [];
    const controller = new AbortController();
    const copying = copy(large, server, {
      signal: controller.signal,
      onProgress: (bytes) => {
        seen.push(bytes);
        controller.abort();
      },
    });
    const error = await t.throwsAsync(copying, { name: 'AbortError', code: 'ABORT_ERR' });
    t.true((error as unknown as { bytes: number }).bytes < 30_000_000);
    t.true(seen.length > 0);
  });
  await t.throwsAsync(copy(large, fresh(directory), { signal: AbortSignal.abort() }), { code: 'ABORT_ERR' });
});

test('invalid arguments', async (t) => {
  const wrong = async (code: string, ...args: unknown[]): Promise<void> => {
    await t.throwsAsync(Reflect.apply(copy, undefined, args) as Promise<unknown>, { code });
  };
  const sink = new PassThrough();
  await wrong('ERR_INVALID_ARG_TYPE', {}, sink);
  for (const source of [path, new PassThrough()]) {
    for (const destination of [undefined, {}]) {
      const copying = copy(source, destination as unknown as PassThrough);
      await t.throwsAsync(copying, {
        code: 'ERR_INVALID_ARG_TYPE',
        message: /'destination' must be a path, a Writable/,
      });
    }
  }
  await wrong('ERR_INVALID_ARG_TYPE', path, sink, null);
  await wrong('ERR_INVALID_ARG_VALUE', path, sink, { end: 1, length: 1 });
  await wrong('ERR_INVALID_ARG_VALUE', new PassThrough(), sink, { start: 1 });
  await wrong('ERR_OUT_OF_RANGE', path, sink, { start: 2, end: 1 });
  await wrong('ERR_OUT_OF_RANGE', path, sink, { length: -1 });
  await wrong('ERR_INVALID_ARG_TYPE', path, sink, { signal: 1 });
  await wrong('ERR_INVALID_ARG_TYPE', path, sink, { onProgress: 1 });
});
