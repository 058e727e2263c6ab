/** `pipeline` beside Node's own: the same callbacks, events, errors and listeners. */
import { createHook } from 'node:async_hooks';
import { once } from 'node:events';
import { createReadStream, createWriteStream, readFileSync, readSync, renameSync, rmSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline as nodePipeline, PassThrough, type Readable, type Writable } from 'node:stream';
import { pipeline as nodePromised } from 'node:stream/promises';
import { isDeepStrictEqual, promisify } from 'node:util';
import { pipeline, stats } from '@zerocopy/pipeline';
import { pipeline as promised } from '@zerocopy/pipeline/promises';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  arrival,
  fresh,
  get,
  kernelTest,
  makeFile,
  pattern,
  since,
  temporaryDirectory,
  turn,
  until,
  withHttpServer,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(400_000);
const large = makeFile(directory, content);
const small = makeFile(directory, content.subarray(0, 1000));
/** More than a socket takes in one turn: what is done in the next comes in the middle. */
const huge = makeFile(directory, pattern(16_000_000));

type Pipeline = typeof nodePipeline;
type Act = (source: Readable, destination: Writable) => void;

/** What can be done to the two streams of a pipeline, and when. */
const acts: Readonly<Record<string, Act>> = {
  nothing: () => {},
  'destroys the source': (source) => source.destroy(),
  'destroys the source with an error': (source) => source.destroy(new Error('of the source')),
  'destroys the destination': (_, destination) => destination.destroy(),
  'destroys the destination with an error': (_, destination) => destination.destroy(new Error('of the destination')),
  'ends the destination': (_, destination) => destination.end(),
  unpipes: (source, destination) => {
    source.unpipe(destination);
    source.destroy();
  },
  'destroys both': (source, destination) => {
    // The same for both: whichever of the two is closed first by the thread pool is the one that is told.
    source.destroy(new Error('of both'));
    destination.destroy(new Error('of both'));
  },
  'destroys both, the other first': (source, destination) => {
    destination.destroy(new Error('of both'));
    source.destroy(new Error('of both'));
  },
  'an error event of its own': (source) => {
    source.emit('error', new Error('emitted'));
    source.destroy();
  },
};

const moments: Readonly<Record<string, (act: () => void) => void>> = {
  'at once': (act) => act(),
  'in the next tick': (act) => process.nextTick(act),
  'in the next turn': (act) => setImmediate(act),
};

const described = (error: Error | null | undefined): unknown =>
  error && [error.name, (error as NodeJS.ErrnoException).code, error.message, error.stack?.split('\n')[0]];

type Counts = Readonly<Record<string, number>>;

const listenersOf = (stream: Readable | Writable): Counts =>
  Object.fromEntries(stream.eventNames().map((event) => [String(event), stream.listenerCount(event)]));

/** All that can be seen of one pipeline, in the order of each stream. */
async function seen(
  joining: Pipeline,
  counts: Counts[][],
  {
    source,
    destination,
    act,
    when,
  }: { source: Readable; destination: Writable; act: Act; when: (act: () => void) => void },
): Promise<unknown> {
  const events: Record<string, string[]> = { source: [], destination: [] };
  for (const event of ['end', 'error', 'close']) source.on(event, () => events.source?.push(event));
  for (const event of ['finish', 'error', 'close', 'pipe', 'unpipe'])
    destination.on(event, () => events.destination?.push(event));
  const calls: unknown[] = [];
  const returned = joining(source, destination, (...args: unknown[]) => {
    calls.push([args.length, described(args[0] as Error), args[1]]);
  });
  counts.push([listenersOf(source), listenersOf(destination)]);
  when(() => act(source, destination));
  await until(() => calls.length > 0 && source.closed && destination.closed, 'its end');
  await turn();
  return {
    events,
    calls,
    returned: returned === destination,
    left: [source.errored, destination.errored].map(described),
  };
}

/** The pairs: made anew for each. */
const pairs: Readonly<Record<string, () => Promise<{ source: Readable; destination: Writable; end(): void }>>> = {
  'a small file into a file': async () => ({
    source: createReadStream(small),
    destination: createWriteStream(fresh(directory)),
    end() {},
  }),
  'a file into a file': async () => ({
    source: createReadStream(large),
    destination: createWriteStream(fresh(directory)),
    end() {},
  }),
  'a file that is not there': async () => ({
    source: createReadStream(join(directory, 'missing')),
    destination: createWriteStream(fresh(directory)),
    end() {},
  }),
  'a file into a directory': async () => ({
    source: createReadStream(large),
    destination: createWriteStream(directory),
    end() {},
  }),
  'a file into a response': async () => {
    const server = http.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => {});
    client.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    client.resume();
    const [, response] = (await once(server, 'request')) as [http.IncomingMessage, http.ServerResponse];
    return {
      source: createReadStream(huge),
      destination: response as unknown as Writable,
      end() {
        client.destroy();
        server.closeAllConnections();
        server.close();
      },
    };
  },
};

/** How often Node is asked for what it does: opening and closing race on the thread pool. */
const RUNS_MAX = 40;

for (const [pair, make] of Object.entries(pairs)) {
  kernelTest(`${pair}: whatever is done to it, as with Node`, async (t) => {
    const own: Counts[][] = [];
    const nodes: Counts[][] = [];
    for (const [act, does] of Object.entries(acts)) {
      for (const [moment, when] of Object.entries(moments)) {
        const run = async (joining: Pipeline): Promise<unknown> => {
          const { source, destination, end } = await make();
          const outcome = await seen(joining, joining === nodePipeline ? nodes : own, {
            source,
            destination,
            act: does,
            when,
          });
          end();
          return outcome;
        };
        let [ours, node] = [await run(pipeline as Pipeline), await run(nodePipeline)];
        for (let runs = 0; runs < RUNS_MAX && !isDeepStrictEqual(node, ours); runs++) {
          if (runs % 10 === 9) ours = await run(pipeline as Pipeline);
          node = await run(nodePipeline);
        }
        t.deepEqual(ours, node, `${act} ${moment}`);
      }
    }
    // Listeners: to no event that Node does not listen to, and to none more often.
    for (const [index, counts] of (own[0] as Counts[]).entries()) {
      const node = nodes[0]?.[index] as Counts;
      for (const [event, count] of Object.entries(counts)) t.true(count <= (node[event] ?? 0), event);
    }
  });
}

kernelTest('the forms of Node: promisified, an array, several streams, generators, options', async (t) => {
  const before = stats();
  const into = async (join: (to: Writable) => Promise<unknown>): Promise<Buffer> => {
    const path = fresh(directory);
    await join(createWriteStream(path));
    return readFileSync(path);
  };
  t.true((await into((to) => promised(createReadStream(large), to))).equals(content));
  t.true((await into((to) => promisify(pipeline)(createReadStream(large), to))).equals(content));
  t.is((pipeline as unknown as Record<symbol, unknown>)[promisify.custom], promised);
  const array = await into(
    (to) =>
      new Promise((resolve) => pipeline([createReadStream(large), to] as unknown as [Readable, Writable], resolve)),
  );
  t.true(array.equals(content));
  t.deepEqual(since(before).kinds, { 'file->file': 3 });
  t.true((await into((to) => promised(createReadStream(large), new PassThrough(), to))).equals(content));
  const upper = async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) yield chunk;
  };
  t.true((await into((to) => promised(createReadStream(large), upper, to))).equals(content));
  const left = createWriteStream(fresh(directory));
  await promised(createReadStream(large), left, { end: false });
  t.false(left.writableEnded);
  left.destroy();
  const controller = new AbortController();
  const aborted = promised(createReadStream(large), createWriteStream(fresh(directory)), { signal: controller.signal });
  controller.abort();
  await t.throwsAsync(aborted, { name: 'AbortError' });
});

test.serial('what Node refuses is refused in the same words', (t) => {
  const attempts: unknown[][] = [
    [],
    [() => {}],
    [createReadStream(small)],
    [createReadStream(small), () => {}],
    [{}, {}, () => {}],
  ];
  for (const attempt of attempts) {
    const [theirs, ours] = [nodePipeline, pipeline].map((join) => {
      try {
        Reflect.apply(join, undefined, attempt);
        return undefined;
      } catch (error) {
        return [(error as NodeJS.ErrnoException).code, (error as Error).message];
      }
    });
    t.deepEqual(ours, theirs);
  }
});

kernelTest('streams that have ended, failed or been destroyed before: as with Node', async (t) => {
  const spoiled: Record<string, (source: Readable, destination: Writable) => Promise<void>> = {
    'the source is destroyed': async (source) => void source.destroy(),
    'the source has ended': async (source) => {
      source.resume();
      await once(source, 'end');
    },
    'the destination has ended': async (_, destination) => {
      destination.end();
      await once(destination, 'finish');
    },
    'the destination is destroyed': async (_, destination) => void destination.destroy(),
  };
  for (const [name, spoil] of Object.entries(spoiled)) {
    const outcomes: unknown[] = [];
    for (const join of [nodePromised, promised]) {
      const [source, destination] = [createReadStream(small), createWriteStream(fresh(directory))];
      source.on('error', () => {});
      destination.on('error', () => {});
      await spoil(source, destination);
      outcomes.push(await join(source, destination).then(() => 'done', described));
    }
    t.deepEqual(outcomes[1], outcomes[0], name);
  }
});

kernelTest('without the hook: a request into a file, a file into a response', async (t) => {
  const body = pattern(2_000_000);
  const path = fresh(directory);
  const before = stats();
  await withHttpServer(
    (request, response) => {
      pipeline(request, createWriteStream(path), () => pipeline(createReadStream(path), response, () => {}));
    },
    async (port) => {
      const request = http.request({
        port,
        host: '127.0.0.1',
        method: 'PUT',
        agent: false,
        headers: { 'Content-Length': body.length },
      });
      request.write(body.subarray(0, 10_000));
      setTimeout(() => request.end(body.subarray(10_000)), 20);
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      t.true((await arrival(response)).equals(body));
    },
  );
  t.deepEqual(since(before).kinds, { 'body->file': 1, 'file->http': 1 });
});

kernelTest(
  'a stream of this project moves its bytes itself, and is not counted as one that is left to Node',
  async (t) => {
    const before = stats();
    const source = createSendfileStream(large);
    await withHttpServer(
      (_, response) => void pipeline(source, response, () => {}),
      async (port) => {
        const [response] = (await once(http.get({ port, host: '127.0.0.1', agent: false }), 'response')) as [
          http.IncomingMessage,
        ];
        t.true((await arrival(response)).equals(content));
      },
    );
    t.is(source.method, 'sendfile');
    t.deepEqual(since(before).declined, {});
  },
);

kernelTest(
  'a file that is asked for again is opened by the one that is kept: from its beginning, and what is at the path by then',
  async (t) => {
    const path = makeFile(directory, content.subarray(0, 2000));
    const heads: Buffer[] = [];
    await withHttpServer(
      ({ url }, response) => {
        const source = createReadStream(path);
        // Whoever moves the position of the descriptor moves it of this stream's own.
        if (url === '/head') {
          source.once('open', (fd: number) => {
            const head = Buffer.alloc(500);
            readSync(fd, head);
            heads.push(head);
          });
        }
        pipeline(source, response, () => {});
      },
      async (port) => {
        for (let n = 0; n < 3; n++) t.true((await get(port)).body.equals(content.subarray(0, 2000)));
        const rests = await Promise.all([get(port, { path: '/head' }), get(port), get(port, { path: '/head' })]);
        t.deepEqual(
          rests.map(({ body }) => body.length),
          [1500, 2000, 1500],
        );
        t.true(heads.length === 2 && heads.every((head) => head.equals(content.subarray(0, 500))));
        renameSync(makeFile(directory, content.subarray(3000, 6000)), path);
        t.true((await get(port)).body.equals(content.subarray(3000, 6000)));
        rmSync(path);
        await t.throwsAsync(get(port), { code: 'ECONNRESET' });
      },
    );
  },
);

/** Calls that node:fs makes on the thread pool while `run` does. */
async function poolCalls(run: () => Promise<unknown>): Promise<number> {
  let calls = 0;
  const hook = createHook({
    init(_id, type) {
      if (type === 'FSREQCALLBACK') calls++;
    },
  });
  hook.enable();
  await run();
  hook.disable();
  return calls;
}

for (const size of [1000, 100_000]) {
  kernelTest(
    `a warm file of ${size} bytes that is asked for again goes out without the thread pool, its end too`,
    async (t) => {
      const path = makeFile(directory, content.subarray(0, size));
      await withHttpServer(
        (_, response) => {
          response.setHeader('Content-Length', size);
          pipeline(createReadStream(path), response, () => {});
        },
        async (port) => {
          for (let n = 0; n < 3; n++) await get(port); // looked at, kept, and asked for again
          t.is(await poolCalls(async () => t.true((await get(port)).body.equals(content.subarray(0, size)))), 0);
        },
      );
    },
  );
}
