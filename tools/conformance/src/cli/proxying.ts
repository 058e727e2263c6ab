/** What splice-pipe's `proxy` has to do, done by `zerocopy proxy`. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { proxyHeader } from '@zerocopy/splice-pipe';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { arrival, type Kind } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import { type Behaviour, converse, gathered, isSame, plain, urgent } from './conversations.js';
import type { Findings } from './copying.js';
import { Route } from './route.js';

/** The longest that a behaviour may take, in milliseconds. */
const LIMIT = 60_000;
const KINDS: readonly (readonly [Kind, Kind])[] = [
  ['tcp', 'tcp'],
  ['tcp', 'unix'],
  ['unix', 'tcp'],
  ['unix', 'unix'],
];

/** How a connection ends: the code of its error, or undefined. */
const codeOf = (socket: Socket): Promise<string | undefined> =>
  new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    socket.once('close', () => resolve(undefined));
  });

/** With options of their own. */
const withOptions: readonly (readonly [name: string, options: readonly string[], behaviour: Behaviour])[] = [
  [
    'idle: a reader that stalls is reset, and what has arrived is a beginning',
    ['--idle', '500ms'],
    async (route) => {
      const { client, upstream } = await route.join();
      const bytes = pattern(40 * MiB);
      client.write(bytes);
      assert.equal(await codeOf(client), 'ECONNRESET');
      const got = await arrival(upstream);
      assert.ok(got.length < bytes.length && got.equals(bytes.subarray(0, got.length)));
      assert.equal((await route.counters()).get('failures_total code="ERR_IDLE_TIMEOUT"'), 1);
    },
  ],
  [
    'idle: as long as anything passes, in either direction, it goes on',
    ['--idle', '2s'],
    async (route) => {
      const { client, upstream } = await route.join();
      const received = [gathered(upstream), gathered(client)] as const;
      for (let n = 0; n < 12; n++) {
        (n % 2 === 0 ? client : upstream).write('.');
        await delay(300);
      }
      client.end();
      upstream.end();
      for (const got of await Promise.all(received)) assert.equal(got.toString(), '......');
    },
  ],
  [
    'half-close: bounds how long the other half stays open',
    ['--half-close', '200ms'],
    async (route) => {
      const { client, upstream } = await route.join();
      const code = codeOf(client);
      client.resume().end('last');
      assert.equal((await gathered(upstream)).toString(), 'last');
      assert.equal(await code, 'ECONNRESET');
      assert.equal((await route.counters()).get('failures_total code="ERR_HALF_CLOSE_TIMEOUT"'), 1);
    },
  ],
  ...(['v1', 'v2'] as const).map((version): (typeof withOptions)[number] => [
    `proxy-out ${version}: the client's own address, once, before anything else`,
    ['--proxy-out', version],
    async (route) => {
      const bytes = pattern(200_000);
      const { client, upstream } = await route.join((socket) => void socket.end(bytes));
      const { localAddress, localPort, remoteAddress, remotePort } = client;
      // Of the command: the client is the remote side.
      const addresses = {
        remoteAddress: localAddress,
        remotePort: localPort,
        localAddress: remoteAddress,
        localPort: remotePort,
      };
      isSame(await gathered(upstream), Buffer.concat([proxyHeader(version, addresses), bytes]), version);
      upstream.end('answer');
      assert.equal((await gathered(client)).toString(), 'answer');
    },
  ]),
  ...[undefined, 'v1', 'v2'].map((out): (typeof withOptions)[number] => [
    `proxy-in, ${out === undefined ? 'and nothing told' : `proxy-out ${out}`}: every header, in one piece and byte by byte`,
    ['--proxy-in', ...(out === undefined ? [] : ['--proxy-out', out])],
    async (route) => {
      const known = [
        { remoteAddress: '10.1.2.3', remotePort: 1234, localAddress: '10.3.2.1', localPort: 443 },
        { remoteAddress: '2001:db8::1', remotePort: 65_535, localAddress: '2001:db8::2', localPort: 1 },
        {},
      ];
      for (const addresses of known) {
        for (const version of ['v1', 'v2'] as const) {
          for (const piece of [1, 7, 1e9]) {
            const bytes = pattern(100_000);
            const whole = Buffer.concat([proxyHeader(version, addresses), bytes]);
            const { client, upstream } = await route.join(async (socket) => {
              socket.setNoDelay(true);
              let at = 0;
              for (; at < 60 && piece < 100; at += piece) {
                socket.write(whole.subarray(at, at + piece));
                await delay(1);
              }
              socket.end(whole.subarray(at));
            });
            const header = out === undefined ? Buffer.alloc(0) : proxyHeader(out as 'v1' | 'v2', addresses);
            isSame(await gathered(upstream), Buffer.concat([header, bytes]), `${version} in pieces of ${piece}`);
            upstream.end(bytes);
            isSame(await gathered(client), bytes, 'the answer');
          }
        }
      }
      for (const wrong of [
        'GET / HTTP/1.1\r\n\r\n',
        'PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n',
        'PROXY TCP4 ::1 ::1 1 1\r\n',
        `PROXY TCP4 ${'1'.repeat(200)}`,
        '\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0',
        '\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff',
        '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd',
      ]) {
        const client = await route.connect();
        const code = codeOf(client);
        client.resume().end(Buffer.from(wrong, 'latin1'));
        assert.equal(await code, 'ECONNRESET', JSON.stringify(wrong.slice(0, 40)));
      }
      assert.equal(route.strays, 0, 'nothing of a wrong header has reached the target');
    },
  ]),
  [
    'drain: what is open goes on to its end, and then is cut off',
    ['--drain', '1s'],
    async (route) => {
      const [good, bad] = [await route.join(), await route.join()];
      const bytes = pattern(4 * MiB);
      good.client.write(bytes);
      const received = gathered(good.upstream);
      const code = codeOf(bad.client);
      bad.client.resume();
      const stopped = route.command.stop();
      good.client.end('.');
      isSame(await received, Buffer.concat([bytes, Buffer.from('.')]), 'while it drains');
      good.upstream.end('over');
      assert.equal((await gathered(good.client)).toString(), 'over');
      assert.equal(await code, 'ECONNRESET', 'nobody takes it for a proper end');
      assert.equal(await stopped, 1, 'one was cut off');
    },
  ],
];

async function inTime(work: Promise<void>): Promise<void> {
  const over = new AbortController();
  const late = delay(LIMIT, undefined, { signal: over.signal }).then(() => {
    throw new Error(`not over after ${LIMIT / 1000} s`);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}

/** @returns how many behaviours were tried, and what was wrong. */
export async function proxyMatrix(): Promise<{ readonly tried: number; readonly findings: Findings }> {
  const findings: string[] = [];
  let tried = 0;
  const attempt = async (title: string, work: () => Promise<void>): Promise<void> => {
    tried++;
    await inTime(work()).catch((error: Error) => findings.push(`${title}: ${error.message}`));
  };
  for (const workers of [1, 2]) {
    for (const kinds of KINDS) {
      const route = await Route.open(kinds, ['--workers', String(workers)]);
      const where = `${kinds.join(' to ')}, ${workers} ${workers === 1 ? 'process' : 'workers'}`;
      const all = kinds[0] === 'tcp' && kinds[1] === 'tcp' ? { ...plain, 'urgent data': urgent } : plain;
      await attempt(`${where}: warm`, async () => converse(await route.join(), pattern(MiB), pattern(MiB), 'client'));
      // A worker may take its time to start: each says whether it reaches the target.
      await until(async () => (await route.counters()).get('target_up') === workers, 'all processes run');
      const before = route.descriptors();
      for (const [name, behaviour] of Object.entries(all)) {
        await attempt(`${where}: ${name}`, () => behaviour(route, kinds));
      }
      await attempt(`${where}: no descriptor is left`, () => until(() => route.descriptors() <= before));
      await attempt(`${where}: status 0`, async () => assert.equal(await route.close(), 0));
    }
  }
  for (const [name, options, behaviour] of withOptions) {
    const route = await Route.open(['tcp', 'tcp'], options);
    await attempt(name, () => behaviour(route, ['tcp', 'tcp']));
    await route.close();
  }
  const unix = await Route.open(['unix', 'unix'], ['--proxy-out', 'v2']);
  await attempt('proxy-out v2 of a unix socket: no address', async () => {
    const { client, upstream } = await unix.join((socket) => void socket.end('body'));
    isSame(await gathered(upstream), Buffer.concat([proxyHeader('v2', {}), Buffer.from('body')]), 'v2');
    upstream.end();
    await gathered(client);
  });
  await unix.close();
  return { tried, findings };
}
