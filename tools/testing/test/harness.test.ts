/** The harness itself: tests that believe it would not notice its faults. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { bytesOf, fingerprintOf, KiB, MiB, pattern, sha256 } from '@zerocopy/testing/bytes';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import { collectGarbage, descriptorTargets, openDescriptors } from '@zerocopy/testing/holdings';
import { get, withHttpServer } from '@zerocopy/testing/http';
import { onLinux, testsWhere } from '@zerocopy/testing/kernel-tests';
import { Peer } from '@zerocopy/testing/peer';
import { pollingReader } from '@zerocopy/testing/polling-reader';
import { elsewhere, runProgram } from '@zerocopy/testing/programs';
import { arrival, collect, gather, type Kind, listen, withPair } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import test from 'ava';

test('a pattern can be begun anywhere, and no position is like its neighbours or a block away', (t) => {
  const whole = pattern(300_000);
  t.true(pattern(1000, 123_456).equals(whole.subarray(123_456, 124_456)));
  for (const distance of [1, 2, 512, 4 * KiB, 64 * KiB]) {
    const moved = whole.subarray(distance);
    t.false(moved.equals(whole.subarray(0, moved.length)), `${distance}`);
  }
});

test('a keystream is the same for a name and a seed, and another one for others', (t) => {
  const hash = (name: string, seed: number): string => fingerprintOf(bytesOf(name, seed, 100_000)).sha256;
  t.is(hash('a', 1), hash('a', 1));
  t.is(new Set([hash('a', 1), hash('a', 2), hash('b', 1)]).size, 3);
  t.is(fingerprintOf(bytesOf('a', 1, 100_000)).bytes, 100_000);
});

const { serial } = testsWhere('/proc', { available: process.platform === 'linux' });

for (const kind of ['tcp', 'unix'] as const satisfies readonly Kind[]) {
  serial(`a ${kind} pair is connected both ways, and leaves no descriptor behind`, async (t) => {
    const content = pattern(500_000);
    const before = openDescriptors();
    await withPair(kind, async ({ server, client }) => {
      client.end(content);
      t.true((await collect(server)).equals(content));
      const received = gather(client);
      server.write('back');
      await until(() => received.bytes().length === 4);
      t.true([...descriptorTargets().values()].filter((name) => name.startsWith('socket:')).length >= 2);
    });
    await until(() => openDescriptors() <= before, 'descriptors closed');
    t.pass();
  });
}

test('what breaks off is no end to collect, and one to arrival', async (t) => {
  await withPair('tcp', async ({ server, client }) => {
    const [strict, lenient] = [collect(server), arrival(server)];
    const rejected = t.throwsAsync(strict, { message: 'closed before its end' });
    server.once('data', () => server.destroy());
    client.write('half');
    await rejected;
    t.is((await lenient).toString(), 'half');
  });
});

test('an HTTP server is gone when it has been used', async (t) => {
  const port = await withHttpServer(
    (request, response) => request.pipe(response),
    async (listening) => {
      const { status, body } = await get(listening, { method: 'PUT' }, pattern(100_000));
      t.is(status, 200);
      t.true(body.equals(pattern(100_000)));
      return listening;
    },
  );
  await t.throwsAsync(get(port), { code: 'ECONNREFUSED' });
});

test('a temporary directory is removed when its process exits', async (t) => {
  const module = JSON.stringify(import.meta.resolve('@zerocopy/testing/files'));
  const { stdout } = await runProgram(process.execPath, [
    '--input-type=module',
    '-e',
    `import { makeFile, temporaryDirectory } from ${module}; console.log(makeFile(temporaryDirectory()))`,
  ]);
  t.regex(stdout, /zerocopy-test-/);
  t.false(existsSync(stdout.trim()));
});

test('code runs elsewhere, and its failure is told', async (t) => {
  const path = makeFile(temporaryDirectory());
  await elsewhere(`fs.truncateSync(${JSON.stringify(path)})`);
  await t.throwsAsync(elsewhere("throw new Error('as expected')"), { message: /as expected/ });
});

test('a peer talks in a process of its own', async (t) => {
  const { address, close } = await listen('tcp', (socket) => socket.pipe(socket));
  const peer = new Peer();
  const answers = await Promise.all(
    [10, 200_000].map((send) => peer.converse({ address, send, chunk: 7000, gaps: true })),
  );
  t.deepEqual(
    answers,
    [10, 200_000].map((send) => ({ bytes: send, sha256: sha256(pattern(send)) })),
  );
  peer.stop();
  close();
});

onLinux('a polling reader reads to the end', async (t) => {
  const server = createServer((socket) => socket.end(pattern(MiB))).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reader = pollingReader((server.address() as { port: number }).port);
  t.deepEqual(await once(reader, 'exit'), [0, null]);
  server.close();
});

test('what is missing makes tests be skipped', (t) => {
  t.is(testsWhere('nothing', { available: true }).test, test);
});

test('garbage is collected, without --expose-gc too', async (t) => {
  let weak: WeakRef<object> | undefined;
  (() => {
    weak = new WeakRef({ large: new Array(1000) });
  })();
  await collectGarbage(() => weak?.deref() === undefined, 50);
  t.true(weak?.deref() === undefined);
});
