/** On its way: files that change, clients that go away, rates, keep-alive, HTTP/1.0, TLS. */
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { appendFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import http, { type RequestListener } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { RateLimit, type SentInfo, serveFiles } from '@zerocopy/serve-files';
import { clientOptionsOf, serverOptionsOf } from '@zerocopy/testing/tls';
import test from 'ava';
import {
  ask,
  converse,
  KiB,
  listening,
  MiB,
  openDescriptors,
  parseAnswer,
  pattern,
  pause,
  tree,
  until,
  withFiles,
} from './harness.js';

const big = pattern(8 * MiB);
const root = tree({
  'a.txt': '0123456789',
  'b.txt': 'bbbbb',
  'big.bin': big,
  'medium.bin': big.subarray(0, 200 * KiB),
});

test('HTTP/1.0, keep-alive and pipelined requests', (t) =>
  withFiles(root, {}, async (port) => {
    const old = await ask(port, '/a.txt', { version: '1.0' });
    t.is(old.status, 200);
    t.is(old.body.toString(), '0123456789');
    t.is(old.headers['transfer-encoding'], undefined);
    const targets = ['/a.txt', '/nothing', '/b.txt', '/medium.bin', '/a.txt', '/dir', '/b.txt'];
    const request = (target: string, last: boolean): string =>
      `GET ${target} HTTP/1.1\r\nHost: x\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;
    const text = targets.map((target, at) => request(target, at === targets.length - 1)).join('');
    let rest = await converse(port, Buffer.from(text));
    const bodies: string[] = [];
    const statuses: number[] = [];
    for (const _ of targets) {
      const { status, headers, body } = parseAnswer(rest);
      const length = Number(headers['content-length']);
      statuses.push(status);
      bodies.push(body.toString('latin1', 0, length));
      rest = body.subarray(length);
    }
    t.is(rest.length, 0);
    t.deepEqual(statuses, [200, 404, 200, 200, 200, 404, 200]);
    t.is(bodies[0], '0123456789');
    t.true(Buffer.from(bodies[3] ?? '', 'latin1').equals(big.subarray(0, 200 * KiB)));
    t.is(bodies[6], 'bbbbb');
  }));

/** Reads a head and some of the body, does something, and reads what else comes. */
async function interrupted(
  port: number,
  target: string,
  meanwhile: () => void,
): Promise<{ length: number; body: Buffer }> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
  const chunks: Buffer[] = [];
  let received = 0;
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    received += chunk.length;
  };
  const [first] = (await once(socket, 'data')) as [Buffer];
  onData(first);
  socket.pause();
  await pause(50);
  meanwhile();
  socket.on('data', onData);
  socket.resume();
  const { headers, body } = parseAnswer(first);
  const length = Number(headers['content-length']);
  const whole = first.length - body.length + length;
  await until(() => socket.closed || received >= whole, 'the whole body');
  await pause(30);
  socket.destroy();
  return { length, body: parseAnswer(Buffer.concat(chunks)).body };
}

test('a file that gets shorter: the connection is destroyed', async (t) => {
  const infos: SentInfo[] = [];
  const site = tree({ 'shrinks.bin': big });
  await withFiles(site, { onSent: (info) => infos.push(info) }, async (port) => {
    const path = join(site, 'shrinks.bin');
    const { length, body } = await interrupted(port, '/shrinks.bin', () => truncateSync(path, 100));
    t.is(length, big.length);
    t.true(body.length < length, 'nobody takes it for whole');
    await until(() => infos.length === 1, 'onSent');
    t.is((infos[0]?.error as { code?: string } | undefined)?.code, 'ERR_FILE_TRUNCATED');
    t.true((infos[0]?.bytes ?? length) < length);
  });
});

test('a file that gets shorter between being opened and being sent: the connection is destroyed', async (t) => {
  const site = tree({});
  const path = join(site, 'cut.bin');
  const infos: SentInfo[] = [];
  const headers = (): Record<string, string> => {
    truncateSync(path, 2);
    return {};
  };
  for (const cache of [false, { files: 10, maxAgeMs: 1000 }] as const) {
    await withFiles(site, { headers, cache, onSent: (info) => infos.push(info) }, async (port) => {
      for (const size of [8, 100 * KiB, 2 * MiB]) {
        writeFileSync(path, big.subarray(0, size));
        // A connection that is kept alive: only the server ends it.
        const bytes = await converse(port, Buffer.from('GET /cut.bin HTTP/1.1\r\nHost: x\r\n\r\n'));
        if (bytes.length > 0) t.true(parseAnswer(bytes).body.length < size, String(size));
        writeFileSync(path, big.subarray(0, size));
        const range = Buffer.from('GET /cut.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,4-7\r\n\r\n');
        const several = await converse(port, range);
        if (several.length > 0) t.false(several.toString('latin1').endsWith('--\r\n'), String(size));
      }
    });
  }
  await until(() => infos.length === 12, 'onSent of each');
  for (const { error } of infos) t.is((error as { code?: string } | undefined)?.code, 'ERR_FILE_TRUNCATED');
});

test('a file that grows: exactly the announced bytes', async (t) => {
  const site = tree({ 'grows.bin': big });
  await withFiles(site, {}, async (port) => {
    const path = join(site, 'grows.bin');
    const { length, body } = await interrupted(port, '/grows.bin', () => appendFileSync(path, pattern(MiB)));
    t.is(body.length, length);
    t.true(body.equals(big));
  });
});

test('a file that is replaced or removed while it is sent is sent as it was', async (t) => {
  const site = tree({ 'replaced.bin': big });
  await withFiles(site, {}, async (port) => {
    const path = join(site, 'replaced.bin');
    const { body } = await interrupted(port, '/replaced.bin', () => {
      writeFileSync(`${path}.new`, 'new');
      renameSync(`${path}.new`, path);
    });
    t.true(body.equals(big));
  });
});

test.serial('clients that go away leave no descriptor, and are told as such', async (t) => {
  const infos: SentInfo[] = [];
  await withFiles(root, { onSent: (info) => infos.push(info) }, async (port) => {
    await ask(port, '/a.txt');
    const before = openDescriptors();
    infos.length = 0;
    for (let n = 0; n < 60; n++) {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      const range = n % 3 === 0 ? 'Range: bytes=0-1000000,2000000-7000000\r\n' : '';
      socket.write(`GET /big.bin HTTP/1.1\r\nHost: x\r\n${range}\r\n`);
      await once(socket, n % 4 === 0 ? 'connect' : 'data');
      if (n % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    }
    await until(() => openDescriptors() <= before, 'every descriptor closed');
    await until(() => infos.length >= 45, 'onSent of those that were begun');
    for (const { bytes, error } of infos) t.true(error !== undefined || bytes > 0);
  });
});

test('rate and rateAfter, in bytes per second, for one response', async (t) => {
  await withFiles(root, { rate: 400 * KiB }, async (port) => {
    const startedAt = performance.now();
    const { body } = await ask(port, '/medium.bin');
    const seconds = (performance.now() - startedAt) / 1000;
    t.true(body.equals(big.subarray(0, 200 * KiB)));
    t.true(seconds > 0.3, `200 KiB at 400 KiB/s took ${seconds} s`);
    t.is((await ask(port, '/medium.bin', { headers: ['Range: bytes=0-9,100-109'] })).status, 206);
  });
  await withFiles(root, { rate: 10 * KiB, rateAfter: 300 * KiB }, async (port) => {
    const startedAt = performance.now();
    t.true((await ask(port, '/medium.bin')).body.equals(big.subarray(0, 200 * KiB)));
    t.true(performance.now() - startedAt < 5000, 'all of it was free');
  });
});

test('a RateLimit is shared; a function says so for a file; a slow reader under it', async (t) => {
  const group = new RateLimit(800 * KiB);
  await withFiles(root, { rate: [group, 10 * MiB] }, async (port) => {
    const startedAt = performance.now();
    const answers = await Promise.all([ask(port, '/medium.bin'), ask(port, '/medium.bin')]);
    const seconds = (performance.now() - startedAt) / 1000;
    for (const { body } of answers) t.is(body.length, 200 * KiB);
    t.true(seconds > 0.3, `400 KiB at 800 KiB/s took ${seconds} s`);
  });
  const rate = (path: string): number | undefined => (path === '/medium.bin' ? 1 * MiB : undefined);
  await withFiles(root, { rate }, async (port) => {
    const { body } = await interrupted(port, '/medium.bin', () => {});
    t.true(body.equals(big.subarray(0, 200 * KiB)));
    t.is((await ask(port, '/a.txt')).status, 200);
  });
});

test.serial('clients that go away while they are held back leave nothing', async (t) => {
  const infos: SentInfo[] = [];
  await withFiles(root, { rate: 1000, onSent: (info) => infos.push(info) }, async (port) => {
    await ask(port, '/b.txt');
    const before = openDescriptors();
    infos.length = 0;
    for (let n = 0; n < 10; n++) {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write('GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(socket, 'data');
      socket.destroy();
    }
    await until(() => openDescriptors() <= before, 'every descriptor closed');
    await until(() => infos.length === 10, 'onSent');
    for (const { error } of infos) t.truthy(error);
  });
});

test('onSent is told of every answer', async (t) => {
  const infos: SentInfo[] = [];
  await withFiles(root, { onSent: (info) => infos.push(info) }, async (port) => {
    await ask(port, '/a.txt?q');
    await ask(port, '/a.txt', { method: 'HEAD' });
    await ask(port, '/a.txt', { headers: ['If-None-Match: *'] });
    await ask(port, '/a.txt', { headers: ['Range: bytes=0-3'] });
    await ask(port, '/nothing%20here?q');
    await ask(port, '/a.txt', { method: 'DELETE' });
    await ask(port, '/big.bin');
    await until(() => infos.length === 7, 'seven');
    t.deepEqual(
      infos.map(({ path, status, bytes, method }) => [path, status, bytes, method]),
      [
        ['/a.txt', 200, 10, 'GET'],
        ['/a.txt', 200, 0, 'HEAD'],
        ['/a.txt', 304, 0, 'GET'],
        ['/a.txt', 206, 4, 'GET'],
        ['/nothing%20here', 404, 10, 'GET'],
        ['/a.txt', 405, 19, 'DELETE'],
        ['/big.bin', 200, big.length, 'GET'],
      ],
    );
    for (const { duration, error } of infos) {
      t.true(duration >= 0);
      t.is(error, undefined);
    }
  });
});

test('every file that is sent is published once, small or large', async (t) => {
  const traces: TransferTrace[] = [];
  const channel = tracingChannel<TransferTrace, TransferTrace>(TRANSFER_CHANNEL);
  const subscribers = { asyncEnd: (trace: TransferTrace) => void traces.push(trace) };
  const site = tree({ small: 'x', large: pattern(500 * KiB) });
  await withFiles(site, {}, async (port) => {
    channel.subscribe(subscribers as never);
    await ask(port, '/small');
    await ask(port, '/large');
    await ask(port, '/small', { method: 'HEAD' });
    await until(() => traces.filter(({ length }) => length === 1 || length === 500 * KiB).length === 2, 'two traces');
    channel.unsubscribe(subscribers as never);
  });
  t.deepEqual(
    traces.filter(({ length }) => length === 1 || length === 500 * KiB).map(({ bytes }) => bytes),
    [1, 500 * KiB],
  );
});

test('somebody else answers meanwhile: nothing is sent, nothing is left', async (t) => {
  const handler = serveFiles(root) as RequestListener;
  const server = http.createServer((request, response) => {
    handler(request, response);
    handler(request, response);
  });
  const port = await listening(server);
  t.is((await ask(port, '/a.txt')).body.toString(), '0123456789');
  server.close();
});

test('https: the same answers', async (t) => {
  const server = https.createServer(serverOptionsOf(), serveFiles(root) as RequestListener);
  const port = await listening(server);
  const get = (path: string, headers: http.OutgoingHttpHeaders = {}): Promise<{ status: number; body: Buffer }> =>
    new Promise((resolve, reject) => {
      const request = https.get({ ...clientOptionsOf(), port, path, headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
      });
      request.on('error', reject);
    });
  t.is((await get('/a.txt')).body.toString(), '0123456789');
  t.true((await get('/big.bin')).body.equals(big));
  t.is((await get('/a.txt', { range: 'bytes=2-4' })).body.toString(), '234');
  t.is((await get('/nothing')).status, 404);
  server.close();
});
