/** A socket whose bytes are called back (`onread`) has none for anybody else. */
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import { gather, kernelTest, pattern, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
const bytes = pattern(300_000);

/** A connection whose bytes are counted by a callback; they come as soon as it is connected. */
async function withOnread(use: (socket: Socket, got: () => number) => Promise<void>): Promise<void> {
  const server = net.createServer((accepted) => accepted.on('error', () => {}).end(bytes));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  let got = 0;
  const callback = (read: number): boolean => {
    got += read;
    return true;
  };
  const { port } = server.address() as AddressInfo;
  const socket = net.connect({ port, host: '127.0.0.1', onread: { buffer: Buffer.alloc(16_384), callback } });
  await once(socket, 'connect');
  try {
    await use(socket, () => got);
  } finally {
    socket.destroy();
    server.close();
  }
}

kernelTest('splice, tee and proxy refuse it, with the reason: the callback gets every byte', async (t) => {
  const ways: Record<string, (socket: Socket, other: Socket) => Promise<unknown>> = {
    'splice to a socket': (socket, other) => splice(socket, other),
    async 'splice to a file'(socket) {
      const file = await open(join(directory, 'file'), 'w');
      try {
        return await splice(socket, file);
      } finally {
        await file.close();
      }
    },
    'splice, no fallback': (socket, other) => splice(socket, other, { fallback: 'never' }),
    tee: (socket, other) => tee(socket, [other]),
    'proxy, as a': (socket, other) => proxy(socket, other),
    'proxy, as b': (socket, other) => proxy(other, socket),
  };
  for (const [way, use] of Object.entries(ways)) {
    await withOnread(async (socket, got) => {
      await withPair('tcp', directory, async ({ server: other, client: reader }) => {
        const received = gather(reader);
        await t.throwsAsync(use(socket, other), { code: 'ERR_INVALID_ARG_TYPE', message: /onread/ }, way);
        t.false(other.destroyed, way);
        await until(() => got() === bytes.length);
        t.is(received.bytes().length, 0, way);
      });
    });
  }
});

kernelTest('a stream over it, or piped from it, is as Node: it ends, and the callback got every byte', async (t) => {
  await withOnread(async (socket, got) => {
    await withPair('tcp', directory, async ({ server: other }) => {
      const stream = createSpliceReadStream(socket);
      stream.pipe(other, { end: false });
      await once(stream, 'end');
      t.is(got(), bytes.length);
      t.is(stream.method, 'copy');
      t.regex(stream.fallbackReason ?? '', /onread/);
    });
  });
  await withOnread(async (socket, got) => {
    const stream = createSpliceWriteStream(join(directory, 'piped'));
    socket.pipe(stream);
    await once(stream, 'close');
    t.is(got(), bytes.length);
    t.is(stream.bytesWritten, 0);
    t.regex(stream.fallbackReason ?? '', /onread/);
  });
});
