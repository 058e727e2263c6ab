/** Urgent data (MSG_OOB): splice(2) answers 0 at its mark, though more follows (kernel-rules: urgent-mark). */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { descriptorOf, syscalls } from '@zerocopy/core-syscalls';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import { collect, kernelTest, pattern, pause, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();
const MSG_OOB = 1;

/** Ordinary bytes between urgent ones, and the end; all of it sent at once. */
type Script = readonly (number | 'urgent')[];
const scripts: Record<string, Script> = {
  'in the middle': [200_000, 'urgent', 70_000],
  first: ['urgent', 70_000],
  last: [70_000, 'urgent'],
  'between single bytes': [1, 'urgent', 1, 'urgent', 1],
  'several times': [10, 'urgent', 60_000, 'urgent', 1, 'urgent', 'urgent', 4096, 'urgent', 100_000],
};

const total = (script: Script): number => script.reduce<number>((sum, part) => sum + (part === 'urgent' ? 0 : part), 0);
const expected = (script: Script): Buffer => pattern(total(script));

/**
 * Whether `received` are the ordinary bytes. Of several urgent ones TCP knows the last only: when it comes before one ahead
 * of it has been reached, the kernel makes that an ordinary byte in its place. The last one is never among the bytes.
 */
function isWhole(script: Script, received: Buffer): boolean {
  const bytes = expected(script);
  let [at, taken] = [0, 0];
  for (const [index, part] of script.entries()) {
    if (part === 'urgent') {
      const ordinary = script.indexOf('urgent', index + 1) >= 0 && received[taken] === 0x21;
      if (ordinary && bytes[at] !== 0x21) taken++;
    } else if (received.subarray(taken, taken + part).equals(bytes.subarray(at, at + part))) {
      at += part;
      taken += part;
    } else return false;
  }
  return taken === received.length;
}

/** Sends by the system call itself: Node has no urgent data. */
async function play(client: Socket, script: Script, from = 0): Promise<void> {
  const bytes = expected(script);
  let at = 0;
  const send = async (chunk: Buffer, flags: number): Promise<void> => {
    for (let sent = 0; sent < chunk.length; ) {
      const result = syscalls.send(descriptorOf(client) as number, chunk.subarray(sent), chunk.length - sent, flags);
      if (result > 0) sent += result;
      else await pause(1);
    }
  };
  for (const part of script) {
    if (part === 'urgent') await send(Buffer.from('!'), MSG_OOB);
    else {
      await send(bytes.subarray(at, at + part), 0);
      at += part;
    }
  }
  if (from === 0) client.end();
}

for (const [name, script] of Object.entries(scripts)) {
  for (const when of ['before', 'while'] as const) {
    const title = `urgent data ${name}, sent ${when} it starts`;

    kernelTest(`${title}: splice to a file and to a socket, tee, a read stream, as Node's pipe`, async (t) => {
      const ways: Record<string, (source: Socket, sink: Socket) => Promise<number>> = {
        'to a file': async (source) => {
          const file = await open(join(directory, `${name}-${when}`), 'w');
          const { bytes } = await splice(source, file);
          await file.close();
          t.true(isWhole(script, readFileSync(join(directory, `${name}-${when}`))));
          return bytes;
        },
        'to a socket': async (source, sink) => (await splice(source, sink)).bytes,
        tee: async (source, sink) => (await tee(source, [sink])).bytes,
        'a read stream': async (source, sink) => {
          const stream = createSpliceReadStream(source);
          await pipeline(stream, sink, { end: false });
          return stream.bytesMoved;
        },
        pipe: async (source, sink) => {
          await pipeline(source, sink, { end: false });
          return source.bytesRead;
        },
      };
      for (const [way, move] of Object.entries(ways)) {
        await withPair('tcp', directory, async ({ server: source, client }) => {
          await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
            const received = collect(reader);
            source.pause();
            const played = when === 'before' ? await play(client, script) : undefined;
            if (when === 'before') await pause(20);
            const moving = move(source, sink);
            if (when === 'while') {
              await pause(5);
              await play(client, script);
            }
            await played;
            const moved = await moving;
            sink.end();
            const bytes = await received;
            if (way !== 'to a file') {
              t.is(moved, bytes.length, way);
              t.true(isWhole(script, bytes), way);
            }
          });
        });
      }
    });

    kernelTest(`${title}: a proxy, in both directions`, async (t) => {
      await withPair('tcp', directory, async ({ server: a, client }) => {
        await withPair('tcp', directory, async ({ server: b, client: upstream }) => {
          a.pause();
          b.pause();
          const received = [collect(client), collect(upstream)];
          if (when === 'before') {
            await Promise.all([play(client, script), play(upstream, script)]);
            await pause(20);
          }
          const proxied = proxy(a, b);
          if (when === 'while') await Promise.all([play(client, script), play(upstream, script)]);
          const { forward, backward } = await proxied;
          const [back, there] = (await Promise.all(received)) as [Buffer, Buffer];
          t.deepEqual([forward.bytes, backward.bytes], [there.length, back.length]);
          for (const bytes of [back, there]) t.true(isWhole(script, bytes));
        });
      });
    });
  }
}

kernelTest('urgent data in the middle of an upload: the body is whole, and the connection goes on', async (t) => {
  const script: Script = [400_000, 'urgent', 300_001];
  const bytes = expected(script);
  const target = join(directory, 'upload');
  const ways: Record<string, (request: http.IncomingMessage) => Promise<unknown>> = {
    stream: (request) => pipeline(request, createSpliceWriteStream(target)),
    async splice(request) {
      const file = await open(target, 'w');
      await splice(request, file);
      await file.close();
    },
  };
  for (const [way, receive] of Object.entries(ways)) {
    writeFileSync(target, '');
    const server = http.createServer(async (request, response) => {
      if (request.method === 'PUT') await receive(request);
      response.end(`${request.method} done`);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(client, 'connect');
    let answer = '';
    client.on('data', (chunk: Buffer) => {
      answer += chunk;
    });
    client.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    await pause(20);
    await play(client, script, 1);
    client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await once(client, 'close');
    t.true(answer.includes('PUT done') && answer.includes('GET done'), way);
    t.true(readFileSync(target).equals(bytes), way);
    server.close();
  }
});
