/** Transfers that want the same destinations do not wait for each other. */
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { descriptorOf } from '@zerocopy/core-syscalls';
import { proxy, splice, tee } from '@zerocopy/splice-pipe';
import { collect, type Kind, kernelTest, pattern, teeTest, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();

interface Party {
  readonly server: Socket;
  readonly client: Socket;
}

/** Uses so many connected pairs. */
async function withPairs(count: number, use: (pairs: Party[]) => Promise<void>, kind: Kind = 'tcp'): Promise<void> {
  const nest = (pairs: Party[]): Promise<void> =>
    pairs.length === count ? use(pairs) : withPair(kind, directory, (pair) => nest([...pairs, pair]));
  await nest([]);
}

const messages = (bytes: Buffer): string => `${bytes.toString().replaceAll(/(.)\1*/g, '$1')}:${bytes.length}`;

for (const length of [1000, 400_000]) {
  teeTest(`crossed tees of ${length} bytes: both are whole, one after the other`, async (t) => {
    await withPairs(4, async ([s1, s2, a, b]) => {
      const received = [collect((a as Party).client), collect((b as Party).client)];
      s1?.client.end(Buffer.alloc(length, '1'));
      s2?.client.end(Buffer.alloc(length, '2'));
      const [one, two] = [a?.server as Socket, b?.server as Socket];
      const results = await Promise.all([tee(s1?.server as Socket, [one, two]), tee(s2?.server as Socket, [two, one])]);
      t.like(results, [{ bytes: length }, { bytes: length }]);
      one.end('w');
      two.end('w');
      t.deepEqual((await Promise.all(received)).map(messages), [`12w:${2 * length + 1}`, `12w:${2 * length + 1}`]);
    });
  });
}

teeTest('three tees in a ring, and a splice to each destination in between: all are through', async (t) => {
  await withPairs(9, async (pairs) => {
    const sources = pairs.slice(0, 6);
    const sinks = pairs.slice(6).map(({ server }) => server) as [Socket, Socket, Socket];
    const received = pairs.slice(6).map(({ client }) => collect(client));
    for (const { client } of sources) client.end(pattern(100_000));
    const [s0, s1, s2, s3, s4, s5] = sources.map(({ server }) => server) as [
      Socket,
      Socket,
      Socket,
      Socket,
      Socket,
      Socket,
    ];
    await Promise.all([
      tee(s0, [sinks[0], sinks[1]]),
      splice(s1, sinks[1]),
      tee(s2, [sinks[1], sinks[2]]),
      splice(s3, sinks[2]),
      tee(s4, [sinks[2], sinks[0]]),
      splice(s5, sinks[0]),
    ]);
    for (const sink of sinks) sink.end();
    for (const bytes of await Promise.all(received)) t.is(bytes.length, 300_000);
  });
});

teeTest(
  'a tee into both sides of a proxy: its bytes come between those of the proxy, as with a pipe of Node',
  async (t) => {
    await withPairs(3, async ([s, a, b]) => {
      const proxied = proxy(a?.server as Socket, b?.server as Socket);
      const received = [collect(a?.client as Socket), collect(b?.client as Socket)];
      s?.client.end('!');
      const teed = tee(s?.server as Socket, [b?.server as Socket, a?.server as Socket]);
      a?.client.end('there');
      b?.client.end('back');
      t.like(await proxied, { forward: { bytes: 5 }, backward: { bytes: 4 } });
      const [back = '', there = ''] = (await Promise.all(received)).map(String);
      t.true(['!back', 'back!'].includes(back), back);
      t.true(['!there', 'there!'].includes(there), there);
      t.is((await teed).bytes, 1);
    });
  },
);

kernelTest('a destination that is named twice is refused, also by its number; nothing of it is moved', async (t) => {
  const file = await open(join(directory, 'twice'), 'w');
  await withPairs(2, async ([s, d]) => {
    const [source, sink] = [s?.server as Socket, d?.server as Socket];
    s?.client.end('whole');
    const named = { code: 'ERR_INVALID_ARG_TYPE', message: /each destination once/ };
    await t.throwsAsync(tee(source, [sink, sink]), named);
    await t.throwsAsync(tee(source, [sink, file, sink]), named);
    await t.throwsAsync(tee(source, [file, file]), named);
    await t.throwsAsync(tee(source, [sink, descriptorOf(sink) as number]), named);
    const received = collect(d?.client as Socket);
    t.is((await tee(source, [sink, file])).bytes, 5);
    sink.end();
    t.is(String(await received), 'whole');
  });
  await file.close();
});

teeTest('a tee whose destinations are all gone ends at once, though its source brings nothing', async (t) => {
  await withPairs(3, async ([s, a, b]) => {
    const sinks = [a?.server as Socket, b?.server as Socket];
    const teed = tee(s?.server as Socket, sinks);
    const failed = t.throwsAsync(teed, { code: 'ERR_ALL_DESTINATIONS_FAILED' });
    await new Promise((resolve) => setTimeout(resolve, 10));
    sinks[0]?.destroy();
    await new Promise((resolve) => setTimeout(resolve, 10));
    sinks[1]?.destroy(new Error('mine'));
    sinks[1]?.on('error', () => {});
    t.like(await failed, { destinations: [{ error: { code: 'ECONNRESET' } }, { error: { message: 'mine' } }] });
    t.false(s?.server.destroyed);
  });
});
