/** Files of programs that do not know of it: the same replies and events, and the kernel moves them. */
import { once } from 'node:events';
import {
  appendFileSync,
  createReadStream,
  createWriteStream,
  type ReadStream,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import { install, stats } from '@zerocopy/pipeline';
import test from 'ava';
import {
  arrival,
  collect,
  fresh,
  get,
  kernelTest,
  makeFile,
  openDescriptors,
  pattern,
  pause,
  since,
  temporaryDirectory,
  until,
  withHttpServer,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(2_000_003);
const path = makeFile(directory, content);
const uninstall = install();
test.after.always(uninstall);

kernelTest(
  'into a response: of a length, chunked, of HTTP/1.0, a range, HEAD; headers as the program has set them',
  async (t) => {
    const cases: Record<string, { range?: { start: number; end: number }; length?: boolean; method?: string }> = {
      chunked: {},
      'of a length': { length: true },
      'a range': { range: { start: 7, end: 1_000_000 } },
      'a range of a length': { range: { start: 7, end: 1_000_000 }, length: true },
      HEAD: { method: 'HEAD' },
    };
    for (const [name, { range, length, method = 'GET' }] of Object.entries(cases)) {
      const bytes = range === undefined ? content : content.subarray(range.start, range.end + 1);
      const before = stats();
      await withHttpServer(
        (_request, response) => {
          if (length) response.setHeader('Content-Length', bytes.length);
          createReadStream(path, range).pipe(response);
        },
        async (port) => {
          const { headers, body } = await get(port, { method });
          t.true(body.equals(method === 'HEAD' ? Buffer.alloc(0) : bytes), name);
          t.is(headers['content-length'], length ? String(bytes.length) : undefined, name);
        },
      );
      const { kinds, handedBack } = since(before);
      t.deepEqual(kinds, method === 'HEAD' ? {} : { 'file->http': 1 }, name);
      t.deepEqual(handedBack, {}, name);
    }
  },
);

kernelTest('into a socket: what was written before and is written afterwards keeps its place', async (t) => {
  await withPair('tcp', async ({ server, client }) => {
    const before = stats();
    const received = collect(client);
    server.write('before|');
    const source = createReadStream(path);
    source.pipe(server, { end: false });
    await once(source, 'end');
    server.end('|after');
    t.true((await received).equals(Buffer.concat([Buffer.from('before|'), content, Buffer.from('|after')])));
    t.deepEqual(since(before).kinds, { 'file->socket': 1 });
    t.is(source.bytesRead, content.length);
    t.is(server.bytesWritten, content.length + 13);
  });
});

kernelTest('into a file: at positions of their own, and what others write comes in between', async (t) => {
  const before = stats();
  const to = fresh(directory);
  writeFileSync(to, pattern(100, 999));
  const destination = createWriteStream(to, { flags: 'r+', start: 50 });
  const source = createReadStream(path, { start: 3, end: 1_500_000 });
  source.pipe(destination, { end: false });
  await once(source, 'end');
  destination.end('end');
  await once(destination, 'close');
  t.true(
    readFileSync(to).equals(Buffer.concat([pattern(50, 999), content.subarray(3, 1_500_001), Buffer.from('end')])),
  );
  t.is(destination.bytesWritten, 1_499_998 + 3);
  t.deepEqual(since(before).kinds, { 'file->file': 1 });
});

kernelTest('FileHandles go on where they are, and are left where the bytes have ended', async (t) => {
  const before = stats();
  const handle = await open(path);
  try {
    await handle.read(Buffer.alloc(11), 0, 11, null);
    const source = handle.createReadStream({ autoClose: false, end: 1_000_010 });
    await withPair('tcp', async ({ server, client }) => {
      const received = collect(client);
      source.pipe(server);
      t.true((await received).equals(content.subarray(11, 11 + 1_000_011)));
    });
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(5), 0, 5, null);
    t.true(buffer.subarray(0, bytesRead).equals(content.subarray(1_000_022, 1_000_027)));
  } finally {
    await handle.close();
  }
  t.deepEqual(since(before).kinds, { 'file->socket': 1 });
});

kernelTest('a file that grows is followed, and one that gets shorter ends where it ends, as with Node', async (t) => {
  const growing = makeFile(directory, pattern(20_000_000));
  await withPair('tcp', async ({ server, client }) => {
    const source = createReadStream(growing);
    source.pipe(server);
    client.once('data', () => appendFileSync(growing, content));
    const received = await collect(client);
    t.true(received.equals(Buffer.concat([pattern(20_000_000), content])));
  });
  const shrinking = makeFile(directory, pattern(40_000_000));
  await withPair('tcp', async ({ server, client }) => {
    const source = createReadStream(shrinking);
    source.pipe(server);
    await once(client, 'readable');
    truncateSync(shrinking, 30_000_000);
    const received = await collect(client);
    t.true(received.length >= 30_000_000 && received.length < 40_000_000);
    t.true(source.readableEnded);
  });
});

/** Two streams close when the thread pool and the network have them closed: the order is that of each. */
const of = (one: string, events: readonly string[]): string[] => events.filter((event) => event.startsWith(one));

/** What becomes of a source and a response that are disturbed in the middle; `size` is more than any socket holds. */
async function disturbed(act: (source: ReadStream, response: http.ServerResponse) => void): Promise<{
  events: string[];
  received: Buffer;
  own: string[];
}> {
  const large = makeFile(directory, pattern(20_000_000));
  const events: string[] = [];
  const own: string[] = [];
  let over = false;
  let begin = (): void => {};
  const server = http.createServer((_request, response) => {
    const source = createReadStream(large);
    for (const event of ['end', 'error', 'close']) source.on(event, () => events.push(`source ${event}`));
    for (const event of ['finish', 'error', 'close', 'unpipe'])
      response.on(event, () => events.push(`response ${event}`));
    response.setHeader('Content-Length', 20_000_000);
    source.pipe(response);
    source.on('close', () => {
      own.push(...['_read', '_destroy', 'push'].filter((name) => Object.hasOwn(source, name)));
      setTimeout(() => {
        if (response.closed) over = true;
        else {
          response.once('close', () => {
            over = true;
          });
        }
        response.destroy();
      }, 20);
    });
    begin = () => act(source, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as { port: number };
    const request = http.get({ port, host: '127.0.0.1', agent: false });
    request.on('error', () => {});
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.on('error', () => {});
    response.pause();
    await pause(20);
    begin();
    await pause(20);
    const arriving = arrival(response);
    response.resume();
    const received = await arriving;
    await until(() => over, 'both are closed');
    return { events, received, own };
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

kernelTest(
  'a source that is destroyed in the middle, with an error or without: the same events as with Node',
  async (t) => {
    const whole = pattern(20_000_000);
    const acts: Record<string, (source: ReadStream, response: http.ServerResponse) => void> = {
      'the source is destroyed': (source) => source.destroy(),
      'the source is destroyed with an error': (source) => source.destroy(new Error('mine')),
      'it is unpiped, and read on by the program': (source, response) => {
        source.unpipe(response);
        source.destroy();
      },
      'the response is destroyed': (source, response) => {
        response.destroy();
        source.destroy();
      },
    };
    const twins: Record<string, unknown> = {};
    uninstall();
    for (const [name, act] of Object.entries(acts)) twins[name] = (await disturbed(act)).events;
    const again = install();
    try {
      for (const [name, act] of Object.entries(acts)) {
        const before = stats();
        const { events, received, own } = await disturbed(act);
        for (const one of ['source', 'response']) t.deepEqual(of(one, events), of(one, twins[name] as string[]), name);
        t.true(received.length < whole.length && received.equals(whole.subarray(0, received.length)), name);
        t.deepEqual(own, [], name);
        t.deepEqual(since(before).kinds, { 'file->http': 1 }, name);
      }
    } finally {
      again();
    }
  },
);

kernelTest('whoever else listens, pauses or pipes in the middle gets every byte, once', async (t) => {
  const again = install();
  const descriptors = openDescriptors();
  const large = makeFile(directory, pattern(8_000_000));
  try {
    const acts: Record<string, (source: ReadStream) => Promise<Buffer> | undefined> = {
      'a data listener': (source) => {
        source.on('data', () => {});
        return undefined;
      },
      'a pause': (source) => {
        source.pause();
        setTimeout(() => source.resume(), 10);
        return undefined;
      },
      'a second pipe': (source) => {
        source.pipe(createWriteStream(fresh(directory)));
        return undefined;
      },
    };
    for (const [name, act] of Object.entries(acts)) {
      await withPair('tcp', async ({ server, client }) => {
        const source = createReadStream(large);
        source.pipe(server);
        await once(client, 'readable');
        act(source);
        t.true((await collect(client)).equals(pattern(8_000_000)), name);
        await until(() => source.closed);
        t.false(Object.hasOwn(source, '_read') || Object.hasOwn(source, '_destroy'), name);
      });
    }
    await until(() => openDescriptors() <= descriptors, 'no descriptor is left');
    t.pass();
  } finally {
    again();
  }
});
