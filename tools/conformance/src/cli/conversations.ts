/** How two ends talk to each other through a proxy, every byte compared. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { descriptorOf, probe, syscalls } from '@zerocopy/core-syscalls';
import { KiB, MiB, pattern } from '@zerocopy/testing/bytes';
import { arrival, collect, type Kind, resetConnection } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import type { Joined, Route } from './route.js';

const SIZES = [0, 1, 10, 4095, 4096, 64 * KiB, 64 * KiB + 1, 3 * MiB + 7, 16 * MiB];

/** @throws {assert.AssertionError} */
export type Behaviour = (route: Route, kinds: readonly [Kind, Kind]) => Promise<void>;

/** Everything up to the end. Of a behaviour that has failed before nobody waits for it. */
export function gathered(socket: Socket): Promise<Buffer> {
  const all = collect(socket);
  all.catch(() => {});
  return all;
}

export function isSame(got: Buffer, expected: Buffer, what: string): void {
  assert.equal(got.length, expected.length, `${what}: the number of bytes`);
  assert.ok(got.equals(expected), `${what}: other bytes`);
}

/** Sends in pieces with gaps, which are read one by one. */
async function sendSlowly(socket: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; at += 1000) {
    if (!socket.write(bytes.subarray(at, at + 1000))) await once(socket, 'drain');
    if (at % 8000 === 0) await delay(1);
  }
}

/** Reads little by little. */
async function collectSlowly(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    if (chunks.length % 16 === 0) await delay(2);
  }
  return Buffer.concat(chunks);
}

/** Both at once; then one side ends, and after it the other with one more byte. */
export async function converse(
  { client, upstream }: Joined,
  up: Buffer,
  down: Buffer,
  first: 'client' | 'upstream',
): Promise<void> {
  const [early, late] = first === 'client' ? [client, upstream] : [upstream, client];
  const received = [gathered(upstream), gathered(client)] as const;
  client.write(up);
  upstream.write(down);
  early.end();
  await once(late, 'end');
  assert.equal(early.readableEnded, false, 'the other direction is still open');
  late.end('.');
  const [toUpstream, toClient] = await Promise.all(received);
  const dot = Buffer.from('.');
  isSame(toUpstream, first === 'client' ? up : Buffer.concat([up, dot]), 'forward');
  isSame(toClient, first === 'client' ? Buffer.concat([down, dot]) : down, 'backward');
}

const settled = async (route: Route): Promise<void> => {
  await until(async () => (await route.counters()).get('connections_active') === 0, 'no connection is open');
};

/** With the options that there are by default; between every two kinds of sockets. */
export const plain: Readonly<Record<string, Behaviour>> = {
  async 'both directions at once, either side ends first, every size'(route) {
    let [forward, backward] = [0, 0];
    const before = await route.counters();
    for (const size of SIZES) {
      for (const first of ['client', 'upstream'] as const) {
        const [up, down] = [pattern(size), pattern(Math.ceil(size / 2), 99)];
        await converse(await route.join(), up, down, first);
        forward += up.length + (first === 'client' ? 0 : 1);
        backward += down.length + (first === 'client' ? 1 : 0);
      }
    }
    await settled(route);
    const after = await route.counters();
    const counted = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    assert.equal(counted('bytes_total direction="forward"'), forward, 'bytes that are counted forward');
    assert.equal(counted('bytes_total direction="backward"'), backward, 'bytes that are counted backward');
    assert.equal(counted('connections_total'), SIZES.length * 2, 'connections that are counted');
    if (probe().features.splice.available)
      assert.ok(counted('transfers_total method="splice"') > 0, 'the kernel has moved some');
  },

  async 'small writes with gaps between them'(route) {
    const { client, upstream } = await route.join();
    const bytes = pattern(200_000);
    const received = [gathered(upstream), gathered(client)] as const;
    await Promise.all([sendSlowly(client, bytes), sendSlowly(upstream, bytes)]);
    client.end();
    upstream.end();
    for (const got of await Promise.all(received)) isSame(got, bytes, 'small writes');
  },

  async 'an end behind more than all buffers, for a reader that begins late'(route) {
    const { client, upstream } = await route.join();
    const bytes = pattern(24 * MiB);
    client.end(bytes);
    await delay(100);
    isSame(await gathered(upstream), bytes, 'late');
    upstream.end();
    await gathered(client);
  },

  async 'slow readers on both sides'(route) {
    const { client, upstream } = await route.join();
    const [up, down] = [pattern(12 * MiB), pattern(10 * MiB, 5)];
    client.end(up);
    upstream.end(down);
    const [toUpstream, toClient] = await Promise.all([collectSlowly(upstream), collectSlowly(client)]);
    isSame(toUpstream, up, 'forward');
    isSame(toClient, down, 'backward');
  },

  async 'nothing at all, from either side'(route) {
    const { client, upstream } = await route.join();
    client.end();
    upstream.end();
    for (const got of await Promise.all([gathered(client), gathered(upstream)])) assert.equal(got.length, 0);
  },

  async 'little, to and fro'(route) {
    const { client, upstream } = await route.join();
    upstream.setNoDelay(true).on('data', (chunk: Buffer) => upstream.write(chunk));
    upstream.on('end', () => upstream.end());
    client.setNoDelay(true);
    for (let round = 0; round < 300; round++) {
      const message = Buffer.alloc(64, round & 0xff);
      client.write(message);
      const [answer] = (await once(client, 'data')) as [Buffer];
      isSame(answer, message, `round ${round}`);
    }
    client.end();
    await once(client, 'end');
  },

  async 'what is sent, and ended, before the target has accepted'(route) {
    const bytes = pattern(300_000);
    const { client, upstream } = await route.join((socket) => void socket.end(bytes));
    isSame(await gathered(upstream), bytes, 'early');
    upstream.end(bytes);
    isSame(await gathered(client), bytes, 'the answer');
  },

  async 'a side that is reset: the other hears of it, after the bytes that had come'(route, kinds) {
    for (const who of ['client', 'upstream'] as const) {
      const joined = await route.join();
      const other = who === 'client' ? joined.upstream : joined.client;
      const kind = kinds[who === 'client' ? 0 : 1];
      const bytes = pattern(100_000);
      const got: Buffer[] = [];
      other.on('data', (chunk: Buffer) => got.push(chunk));
      const closed = new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
        other.once('error', resolve).once('close', () => resolve(undefined));
      });
      other.on('end', () => other.end());
      joined[who].write(bytes);
      await until(() => got.reduce((sum, { length }) => sum + length, 0) === bytes.length);
      if (kind === 'tcp') resetConnection(joined[who]);
      else joined[who].destroy();
      const error = await closed;
      isSame(Buffer.concat(got), bytes, 'before the reset');
      if (kinds[0] === 'tcp' && kinds[1] === 'tcp') assert.equal(error?.code, 'ECONNRESET', `the ${who} is reset`);
    }
    await settled(route);
  },

  async 'a side that is destroyed while much is on its way both ways: both are gone'(route) {
    for (const who of ['client', 'upstream'] as const) {
      const joined = await route.join();
      const other = who === 'client' ? joined.upstream : joined.client;
      const bytes = pattern(8 * MiB);
      joined.client.write(bytes);
      joined.upstream.write(bytes);
      const arrived = arrival(other);
      await once(other, 'data');
      joined[who].destroy();
      const got = await arrived;
      assert.ok(got.equals(bytes.subarray(0, got.length)), 'what has arrived is the beginning of what was sent');
      other.destroy();
    }
    await settled(route);
  },

  async 'two hundred connections that end in every way'(route, kinds) {
    let state = 12345;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >>> 8) % below;
    };
    const one = async (): Promise<void> => {
      const [size, how] = [random(3) * 200_000, random(4)];
      const { client, upstream } = await route.join();
      const bytes = pattern(size);
      const arrived = Promise.all([arrival(client), arrival(upstream)]);
      client.write(bytes);
      upstream.write(bytes);
      for (let n = random(4); n > 0; n--) await delay(1);
      if (how === 0) kinds[1] === 'tcp' ? resetConnection(upstream) : upstream.destroy();
      else if (how === 1) client.destroy();
      else if (how === 2) upstream.destroy();
      else for (const socket of [client, upstream]) socket.end();
      for (const got of await arrived) {
        assert.ok(got.equals(bytes.subarray(0, got.length)), 'a beginning of what was sent');
        if (how === 3) isSame(got, bytes, 'an orderly end');
      }
      client.destroy();
      upstream.destroy();
    };
    for (let n = 0; n < 200; n += 20) await Promise.all(Array.from({ length: 20 }, one));
    await settled(route);
  },
};

/** Of TCP only. */
export const urgent: Behaviour = async (route) => {
  const { client, upstream } = await route.join();
  const bytes = pattern(270_000);
  const received = gathered(upstream);
  const send = async (chunk: Buffer, flags: number): Promise<void> => {
    for (let sent = 0; sent < chunk.length; ) {
      const result = syscalls.send(descriptorOf(client) as number, chunk.subarray(sent), chunk.length - sent, flags);
      if (result > 0) sent += result;
      else await delay(1);
    }
  };
  await send(bytes.subarray(0, 200_000), 0);
  await send(Buffer.from('!'), 1); // MSG_OOB, which is no ordinary byte
  await send(bytes.subarray(200_000), 0);
  client.end();
  isSame(await received, bytes, 'around urgent data');
  upstream.end();
  await gathered(client);
};
