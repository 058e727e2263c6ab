/** Listeners and subscribers that act in the middle of a pipe: as with Node's own streams, or an error; never a torn success. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createWriteStream, readFileSync, type WriteStream } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, pipeline as pipelineWithCallback, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createSpliceReadStream, createSpliceWriteStream, type SpliceWriteStream } from '@zerocopy/splice-pipe';
import {
  collect,
  gather,
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
const fresh = (): string => join(directory, `acted-${names++}`);
const BODY = pattern(2 * MiB);

type Make = (path: string) => WriteStream;
const makers: Make[] = [createSpliceWriteStream, createWriteStream];

/** Serves uploads, whose clients send half of the body, and the other half when they are told to. */
async function serving(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  use: (send: (body: Buffer) => { readonly socket: Socket; rest(): void; answered: Promise<string> }) => Promise<void>,
): Promise<void> {
  const failures: unknown[] = [];
  const server = http.createServer((request, response) => {
    handle(request, response).catch((error) => {
      failures.push(error);
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets: Socket[] = [];
  try {
    await use((body) => {
      const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
      sockets.push(socket);
      socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body.subarray(0, body.length / 2));
      return {
        socket,
        rest: () => void socket.write(body.subarray(body.length / 2)),
        answered: collect(socket).then(String, () => ''),
      };
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  }
  if (failures.length > 0) throw failures[0];
}

/** What a subscriber of the start, or a listener, does to an upload; and whether all of the body is then elsewhere, or here. */
const acts: Record<string, (request: IncomingMessage, file: WriteStream) => void> = {
  unpipe: (request, file) => request.unpipe(file),
  'unpipe all': (request) => request.unpipe(),
  'unpipe and pipe again': (request, file) => request.unpipe(file).pipe(file),
  'pause, and resume in the next turn': (request) => {
    request.pause();
    setImmediate(() => request.resume());
  },
  'a second pipe': (request) => request.pipe(new PassThrough()).resume(),
  "a 'data' listener": (request) => request.on('data', () => {}),
  'the connection paused and resumed': (request) => request.socket.pause().resume(),
  'a write': (_request, file) => file.write('|'),
  cork: (_request, file) => {
    file.cork();
    setTimeout(() => file.uncork(), 20);
  },
};

const moments = ['the start published', 'progress', 'open', 'pipe'] as const;

for (const moment of moments) {
  kernelSerial(`what acts at '${moment}': every byte is in the file, or can still be read`, async (t) => {
    for (const [name, act] of Object.entries(acts)) {
      if (moment === 'pipe' && name.startsWith('unpipe')) continue; // Node's pipe lets it flow all the same, to nobody
      let acted = false;
      let current: { request: IncomingMessage; file: WriteStream } | undefined;
      const once1 = (): void => {
        if (acted || current === undefined) return;
        acted = true;
        act(current.request, current.file);
      };
      const start = channel('tracing:zerocopy:transfer:start');
      if (moment === 'the start published') start.subscribe(once1);
      const path = fresh();
      const rest: Buffer[] = [];
      await serving(
        async (request, response) => {
          const file = createSpliceWriteStream(path);
          current = { request, file };
          if (moment !== 'the start published') file.on(moment, once1);
          request.pipe(file);
          await until(() => acted, `${name}: acted`);
          await pause(20);
          // Unpiped, the rest is the caller's.
          if (name.startsWith('unpipe') && !name.includes('again')) {
            await until(() => file.writableLength === 0);
            request.on('data', (chunk: Buffer) => rest.push(chunk)).resume();
            await until(() => request.complete && request.readableEnded, `${name}: the rest`);
            file.end();
          }
          await until(() => file.closed, `${name}: the file closed`);
          response.end('done');
        },
        async (send) => {
          const { rest: sendRest, answered } = send(BODY);
          await pause(30);
          sendRest();
          t.regex(await answered, /done$/, name);
        },
      );
      start.unsubscribe(once1);
      const written = readFileSync(path);
      const all = Buffer.concat([written, ...rest]);
      const bar = name === 'a write' ? all.findIndex((byte, at) => byte !== BODY[at]) : -1;
      const body = bar < 0 ? all : Buffer.concat([all.subarray(0, bar), all.subarray(bar + 1)]);
      t.is(body.length, name === 'a write' && bar < 0 ? BODY.length + 1 : BODY.length, `${moment}: ${name}`);
      t.true(body.subarray(0, BODY.length).equals(BODY), `${moment}: ${name}`);
    }
  });
}

kernelTest(
  'an encoding that is set after the pipe is what the file gets, from a request and from a socket',
  async (t) => {
    for (const kind of ['request', 'socket'] as const) {
      const seen: string[] = [];
      for (const make of makers) {
        const path = fresh();
        if (kind === 'request') {
          await serving(
            async (request, response) => {
              const file = make(path);
              request.pipe(file);
              request.setEncoding('hex');
              await once(file, 'close');
              response.end('done');
            },
            async (send) => {
              const { rest, answered } = send(BODY);
              rest();
              await answered;
            },
          );
        } else {
          await withPair('tcp', directory, async ({ server, client }) => {
            const file = make(path);
            server.pipe(file);
            server.setEncoding('hex');
            client.end(BODY);
            await once(file, 'close');
          });
        }
        seen.push(readFileSync(path, 'latin1'));
      }
      t.is(seen[0]?.length, BODY.length * 2, kind);
      t.is(seen[0], seen[1], kind);
    }
  },
);

kernelTest(
  'an encoding that is set after the pipe, or in its middle, is what the destination of a read stream gets',
  async (t) => {
    for (const when of ['at once', 'in the middle'] as const) {
      await withPair('tcp', directory, ({ server: source, client: writer }) =>
        withPair('tcp', directory, async ({ server: destination, client: reader }) => {
          const stream = createSpliceReadStream(source);
          const received = gather(reader);
          stream.pipe(destination);
          if (when === 'at once') stream.setEncoding('hex');
          writer.write(BODY.subarray(0, MiB));
          const before = when === 'at once' ? 2 * MiB : MiB;
          await until(() => received.bytes().length === before, when);
          if (when === 'in the middle') stream.setEncoding('hex');
          writer.end(BODY.subarray(MiB));
          await until(() => received.bytes().length === before + 2 * MiB, when);
          const hex = received.bytes().subarray(before).toString('latin1');
          t.is(hex, BODY.subarray(MiB).toString('hex'), when);
        }),
      );
    }
  },
);

kernelTest('a destination that is corked after the pipe: nothing waits for ever', async (t) => {
  const content = pattern(10_000);
  for (const when of ['in the tick of the pipe', 'later'] as const) {
    const outcomes: unknown[] = [];
    for (const wrap of [createSpliceReadStream, (socket: Socket): Readable => socket]) {
      await withPair('tcp', directory, ({ server: source, client: writer }) =>
        withPair('tcp', directory, async ({ server: destination, client: reader }) => {
          const received = gather(reader);
          wrap(source).pipe(destination);
          if (when === 'later') await pause(20);
          destination.cork();
          writer.end(content);
          await until(() => destination.writableFinished, `${when}: ended`);
          await until(() => received.bytes().length === content.length);
          outcomes.push(received.bytes().equals(content));
        }),
      );
    }
    t.deepEqual(outcomes, [true, true], when);
  }
});

kernelTest(
  'a body that Node has thrown away is an error of the stream, too, and no empty file that looks whole',
  async (t) => {
    let error: NodeJS.ErrnoException | undefined;
    await serving(
      async (request, response) => {
        response.end('early');
        await once(response, 'finish');
        await pause(20);
        error = await pipeline(request, createSpliceWriteStream(fresh())).then(
          () => undefined,
          (reason) => reason,
        );
      },
      async (send) => {
        const { rest } = send(BODY);
        rest();
        await until(() => error !== undefined);
      },
    );
    t.is(error?.code, 'ECONNRESET');
  },
);

interface Told {
  readonly bytes?: number;
  readonly method?: string;
  readonly fallbackReason?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly error?: NodeJS.ErrnoException;
  readonly handedBack?: string;
  readonly detail?: { readonly destination?: unknown };
}

async function told(path: string, use: () => Promise<void>): Promise<{ starts: number; ends: Told[] }> {
  let starts = 0;
  const ends: Told[] = [];
  const mine = (trace: unknown): boolean => (trace as Told).detail?.destination === path;
  const onStart = (trace: unknown): void => {
    if (mine(trace)) starts++;
  };
  const onEnd = (trace: unknown): void => void (mine(trace) && ends.push(trace as Told));
  channel('tracing:zerocopy:transfer:start').subscribe(onStart);
  channel('tracing:zerocopy:transfer:asyncEnd').subscribe(onEnd);
  try {
    await use();
    await until(() => ends.length >= starts && starts > 0, 'published');
  } finally {
    channel('tracing:zerocopy:transfer:start').unsubscribe(onStart);
    channel('tracing:zerocopy:transfer:asyncEnd').unsubscribe(onEnd);
  }
  return { starts, ends };
}

kernelTest(
  'uploads are published once each: small ones, copies, by the kernel, and those that are broken off',
  async (t) => {
    for (const [size, abort] of [
      [1000, false],
      [1000, true],
      [2 * MiB, false],
      [2 * MiB, true],
    ] as const) {
      const path = fresh();
      let file: WriteStream | undefined;
      const { starts, ends } = await told(path, () =>
        serving(
          async (request, response) => {
            file = createSpliceWriteStream(path);
            await pipeline(request, file).catch(() => {});
            response.end('done');
          },
          async (send) => {
            const { rest, answered, socket } = send(pattern(size));
            // What is small is written when it is whole, or breaks off.
            await until(() => file !== undefined && file.bytesWritten + file.writableLength === size / 2);
            if (abort) socket.resetAndDestroy();
            else rest();
            await answered;
          },
        ),
      );
      const [{ bytes, method, source, destination, error, fallbackReason } = {}] = ends;
      const name = `${size} ${abort}`;
      t.deepEqual([starts, ends.length], [1, 1], name);
      t.deepEqual([source, destination], ['http', 'file'], name);
      t.is(method, size === 1000 ? 'copy' : 'splice', name);
      t.is(fallbackReason !== undefined, size === 1000, name);
      t.is(bytes, abort ? size / 2 : size, name);
      t.is(error?.code, abort ? 'ECONNRESET' : undefined, name);
    }
  },
);

kernelSerial(
  'an upload that stalls holds no more than one descriptor besides its connection and its file',
  async (t) => {
    const count = 10;
    let written = 0;
    const files: SpliceWriteStream[] = [];
    await serving(
      async (request, response) => {
        const file = createSpliceWriteStream(fresh());
        files.push(file);
        await pipeline(request, file);
        written++;
        response.end('done');
      },
      async (send) => {
        const before = openDescriptors();
        const clients = Array.from({ length: count }, () => send(BODY));
        await until(() => files.length === count && files.every(({ bytesWritten }) => bytesWritten === MiB));
        await pause(2500); // idle pipes are closed
        // The client of each is in this process.
        t.true(openDescriptors() - before <= count * (3 + 1), `${openDescriptors() - before} for ${count}`);
        for (const { rest } of clients) rest();
        await Promise.all(clients.map(({ answered }) => answered));
      },
    );
    t.is(written, count);
  },
);

kernelTest("callbacks, events and progress of parallel uploads run in their own caller's context", async (t) => {
  const storage = new AsyncLocalStorage<number>();
  const seen: Record<string, (readonly [number, number | undefined])[]> = {};
  const note = (what: string, own: number): void => {
    seen[what] ??= [];
    seen[what].push([own, storage.getStore()]);
  };
  let number = 0;
  await serving(
    async (request, response) => {
      const own = ++number;
      await storage.run(own, async () => {
        const file = createSpliceWriteStream(fresh());
        for (const event of ['progress', 'finish', 'close'] as const) file.on(event, () => note(event, own));
        await new Promise<void>((resolve) => {
          pipelineWithCallback(request, file, () => {
            note('callback', own);
            resolve();
          });
        });
        note('afterwards', own);
      });
      response.end('done');
    },
    async (send) => {
      const clients = Array.from({ length: 8 }, () => send(BODY));
      await pause(20);
      for (const { rest } of clients) rest();
      await Promise.all(clients.map(({ answered }) => answered));
    },
  );
  for (const [what, pairs] of Object.entries(seen)) {
    for (const [own, store] of pairs) t.is(store, own, what);
  }
  t.deepEqual(Object.keys(seen).sort(), ['afterwards', 'callback', 'close', 'finish', 'progress']);
});
