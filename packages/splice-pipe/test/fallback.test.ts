/** Connections that the kernel cannot join: the same bytes, and why. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import tls from 'node:tls';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice } from '@zerocopy/splice-pipe';
import { collect, kernelTest, listen, MiB, pattern, sha256, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();

/** A pair over TLS; a pre-shared key needs no certificate. */
async function withSecurePair(use: (pair: { server: Socket; client: Socket }) => Promise<void>): Promise<void> {
  const psk = { ciphers: 'PSK+HIGH', maxVersion: 'TLSv1.2' as const, checkServerIdentity: () => undefined };
  const key = Buffer.alloc(16, 'k');
  const listening = tls.createServer({ ...psk, pskCallback: () => key } as tls.TlsOptions);
  const accepted = once(listening, 'secureConnection') as Promise<[tls.TLSSocket]>;
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const client = tls.connect({
    ...psk,
    host: '127.0.0.1',
    port: (listening.address() as AddressInfo).port,
    pskCallback: () => ({ psk: key, identity: 'test' }),
  } as tls.ConnectionOptions);
  const [server] = await accepted;
  try {
    await use({ server, client });
  } finally {
    client.destroy();
    server.destroy();
    listening.close();
  }
}

const ENCRYPTED = /encrypted \(TLS\)/;

kernelTest('a proxy with TLS on either side: both directions whole, both ends, counted', async (t) => {
  const [up, down] = [pattern(MiB + 3), pattern(700_001).reverse()];
  for (const side of ['client', 'upstream'] as const) {
    await withSecurePair(async (secure) => {
      await withPair('tcp', directory, async (plain) => {
        const [front, back] = side === 'client' ? [secure, plain] : [plain, secure];
        const received = [collect(back.client), collect(front.client)] as const;
        const result = proxy(front.server, back.server);
        front.client.end(up);
        back.client.end(down);
        const { forward, backward } = await result;
        t.like(forward, { bytes: up.length, method: 'copy' });
        t.like(backward, { bytes: down.length, method: 'copy' });
        t.regex(forward.fallbackReason ?? '', ENCRYPTED);
        t.is(sha256(await received[0]), sha256(up));
        t.is(sha256(await received[1]), sha256(down));
      });
    });
  }
});

kernelTest('splice and both streams with TLS', async (t) => {
  const content = pattern(MiB + 1);
  await withSecurePair(async ({ server, client }) => {
    await withPair('tcp', directory, async (plain) => {
      const received = collect(plain.client);
      client.end(content);
      const result = await splice(server, plain.server);
      plain.server.end();
      t.like(result, { bytes: content.length, method: 'copy' });
      t.regex(result.fallbackReason ?? '', ENCRYPTED);
      t.is(sha256(await received), sha256(content));
    });
  });
  await withSecurePair(async ({ server, client }) => {
    const file = createSpliceWriteStream(join(directory, 'from-tls'));
    client.end(content);
    await pipeline(server, file);
    t.regex(file.fallbackReason ?? '', ENCRYPTED);
    t.is(sha256(readFileSync(join(directory, 'from-tls'))), sha256(content));
  });
  await withSecurePair(async ({ server, client }) => {
    await withPair('tcp', directory, async (plain) => {
      const stream = createSpliceReadStream(plain.server);
      const received = collect(client);
      plain.client.end(content);
      await pipeline(stream, server);
      t.is(stream.method, 'copy');
      t.regex(stream.fallbackReason ?? '', ENCRYPTED);
      t.is(sha256(await received), sha256(content));
    });
  });
});

kernelTest(
  'somebody reads along: a proxy of a socket with a listener is copied, and the listener hears all',
  async (t) => {
    const echo = await listen('tcp', directory, (socket) => socket.pipe(socket));
    await withPair('tcp', directory, async ({ server, client }) => {
      let heard = 0;
      server.on('data', (chunk: Buffer) => {
        heard += chunk.length;
      });
      const upstream = connect(echo.address);
      await once(upstream, 'connect');
      const received = collect(client);
      const result = proxy(server, upstream);
      client.end(pattern(300_000));
      t.true((await received).equals(pattern(300_000)));
      const { forward } = await result;
      t.like(forward, { bytes: 300_000, method: 'copy' });
      t.regex(forward.fallbackReason ?? '', /'data' or 'readable' listener/);
      t.is(heard, 300_000);
    });
    echo.close();
  },
);
