/** What becomes of a body that is read below its parser when other code touches the connection, or acts in the middle. */
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream, splice } from '@zerocopy/splice-pipe';
import {
  kernelSerial,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  pause,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
let files = 0;
const fresh = (): string => join(directory, `touched-${files++}`);

/** Serves one request, whose body comes slowly: half of it, what `middle` does, and then the other half. */
async function upload(
  body: Buffer,
  serve: (request: IncomingMessage, response: ServerResponse, half: Promise<void>) => Promise<unknown>,
  mayStall = false,
): Promise<string> {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  let atHalf = (): void => {};
  const half = new Promise<void>((resolve) => {
    atHalf = resolve;
  });
  let failure: unknown;
  server.on('request', (request, response) => {
    serve(request, response, half).then(
      () => response.end('done'),
      (error) => {
        failure = error;
        response.destroy();
      },
    );
  });
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  let answer = '';
  socket.on('data', (part) => {
    answer += part;
  });
  socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
  socket.write(body.subarray(0, body.length / 2));
  await pause(40);
  atHalf();
  await pause(60);
  socket.write(body.subarray(body.length / 2));
  const over = (): boolean => answer.includes('done') || failure !== undefined || socket.destroyed;
  try {
    if (mayStall) for (let turn = 0; turn < 30 && !over(); turn++) await pause(50);
    else await until(over);
  } finally {
    socket.destroy();
    server.closeAllConnections();
    server.close();
  }
  if (failure !== undefined && !mayStall) throw failure;
  return answer;
}

/** Each touch, and how it is undone, where Node's own upload would wait for that. */
const touches: Record<string, (socket: Socket) => Promise<unknown> | unknown> = {
  'paused, and resumed later': async (socket) => {
    socket.pause();
    await pause(30);
    socket.resume();
  },
  resumed: (socket) => socket.resume(),
  'read by hand': (socket) => socket.read(0),
};

/**
 * node:http gives a connection that gets one of these to its listener, and forgets that it has stopped reading for a file
 * that could not keep up: an upload into Node's own stream stands still then, too.
 */
for (const event of ['data', 'readable'] as const) {
  kernelTest(`a '${event}' listener on the connection: no success with fewer bytes, and none is made up`, async (t) => {
    const body = Buffer.alloc(4 * MiB, 7);
    const path = fresh();
    const heard: Buffer[] = [];
    await upload(
      body,
      async (request, _response, half) => {
        const written = pipeline(request, createSpliceWriteStream(path));
        await half;
        const { socket } = request;
        if (event === 'data') socket.on('data', (part: Buffer) => heard.push(Buffer.from(part)));
        else socket.on('readable', () => {});
        await written;
        t.true(readFileSync(path).equals(body));
      },
      true,
    );
    t.true(Buffer.concat(heard).every((byte) => byte === 7));
  });
}

for (const [name, touch] of Object.entries(touches)) {
  kernelTest(`the connection is touched (${name}): the stream gets the whole body`, async (t) => {
    const body = pattern(4 * MiB);
    const path = fresh();
    await upload(body, async (request, _response, half) => {
      const written = pipeline(request, createSpliceWriteStream(path));
      await half;
      await touch(request.socket);
      await written;
      t.true(request.complete);
    });
    t.true(readFileSync(path).equals(body));
  });

  kernelTest(`the connection is touched (${name}): splice() moves the whole body`, async (t) => {
    const body = pattern(4 * MiB);
    const path = fresh();
    await upload(body, async (request, _response, half) => {
      const file = await open(path, 'w');
      const moved = splice(request, file);
      await half;
      await touch(request.socket);
      t.is((await moved).bytes, body.length);
      await file.close();
    });
    t.true(readFileSync(path).equals(body));
  });
}

kernelTest('a body that Node has thrown away is an error, and no copy of nothing', async (t) => {
  const body = pattern(2 * MiB);
  const path = fresh();
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const outcome = once(server, 'request').then(async ([request, response]) => {
    (response as ServerResponse).end('early');
    await once(response, 'finish');
    await pause(30);
    const file = await open(path, 'w');
    try {
      return await splice(request as IncomingMessage, file);
    } finally {
      await file.close();
    }
  });
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
  socket.write(body);
  await t.throwsAsync(outcome, { code: 'ECONNRESET' });
  socket.destroy();
});

for (const act of ['destroy', 'pause', 'unpipe', 'end'] as const) {
  kernelSerial(`a subscriber of the start that acts (${act}): no other file is written to`, async (t) => {
    const body = pattern(3 * MiB);
    const path = fresh();
    const before = openDescriptors();
    let file: ReturnType<typeof createSpliceWriteStream> | undefined;
    let request: IncomingMessage | undefined;
    const start = channel('tracing:zerocopy:transfer:start');
    let acted = 0;
    const subscriber = (): void => {
      if (acted++ > 0 || file === undefined || request === undefined) return;
      if (act === 'destroy') file.destroy();
      else if (act === 'end') file.end();
      else if (act === 'pause') request.pause();
      else request.unpipe(file);
      // Numbers that were closed are used again by these.
      for (let n = 0; n < 4; n++)
        victims.push(createWriteStream(join(directory, `victim-${act}-${n}`), { flags: 'w' }));
      if (act === 'pause') setTimeout(() => request?.resume(), 20);
    };
    const victims: ReturnType<typeof createWriteStream>[] = [];
    start.subscribe(subscriber);
    try {
      await upload(body, async (incoming) => {
        request = incoming;
        file = createSpliceWriteStream(path);
        incoming.pipe(file);
        file.on('error', () => {});
        if (act === 'pause') return once(file, 'close');
        await until(() => acted > 0);
        await pause(30);
        incoming.resume();
        return undefined;
      });
    } finally {
      start.unsubscribe(subscriber);
    }
    t.true(acted > 0);
    for (const victim of victims) {
      if (victim.pending) await once(victim, 'open');
      victim.destroy();
      await once(victim, 'close');
      t.is(readFileSync(String(victim.path)).length, 0);
    }
    if (act === 'pause') t.true(readFileSync(path).equals(body));
    await until(() => openDescriptors() <= before + 2);
  });
}

kernelTest('an upload that its client aborts is published as an error, with what had come', async (t) => {
  const ends: { error?: NodeJS.ErrnoException; bytes?: number; destination?: string }[] = [];
  const onEnd = (trace: unknown): void => void ends.push(trace as never);
  const path = fresh();
  channel('tracing:zerocopy:transfer:asyncEnd').subscribe(onEnd);
  t.teardown(() => channel('tracing:zerocopy:transfer:asyncEnd').unsubscribe(onEnd));
  const server = http.createServer((request) => {
    pipeline(request, createSpliceWriteStream(path)).catch(() => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${4 * MiB}\r\n\r\n`);
  socket.write(pattern(MiB));
  await until(() => existsSync(path) && readFileSync(path).length > 0);
  await pause(20);
  socket.resetAndDestroy();
  const mine = (): typeof ends =>
    ends.filter((end) => (end as { detail?: { destination?: string } }).detail?.destination === path);
  await until(() => mine().length > 0);
  await pause(20);
  t.is(mine().length, 1);
  t.is(mine()[0]?.error?.code, 'ECONNRESET');
  t.true((mine()[0]?.bytes ?? 0) > 0);
});
