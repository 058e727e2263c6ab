/** Sockets and children of programs that do not know of it: observed, taken when much comes, and given back. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import net, { type AddressInfo, type Socket } from 'node:net';
import { install, stats } from '@zerocopy/pipeline';
import test from 'ava';
import {
  collect,
  fresh,
  kernelTest,
  MiB,
  makeFile,
  pattern,
  pause,
  sha256,
  since,
  temporaryDirectory,
  until,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(16 * MiB + 5);
const uninstall = install();
test.after.always(uninstall);

/** A TCP proxy as people write it. */
async function proxied(
  use: (port: number, ends: { client?: Socket; upstream?: Socket }) => Promise<void>,
  onUpstream: (socket: Socket) => void,
): Promise<void> {
  const ends: { client?: Socket; upstream?: Socket } = {};
  const target = net.createServer({ allowHalfOpen: true }, onUpstream).listen(0, '127.0.0.1');
  await once(target, 'listening');
  const proxy = net.createServer({ allowHalfOpen: true }, (client) => {
    const upstream = net.connect({
      port: (target.address() as AddressInfo).port,
      host: '127.0.0.1',
      allowHalfOpen: true,
    });
    Object.assign(ends, { client, upstream });
    client.on('error', () => {});
    upstream.on('error', () => {});
    client.pipe(upstream);
    upstream.pipe(client);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  try {
    await use((proxy.address() as AddressInfo).port, ends);
  } finally {
    ends.client?.destroy();
    ends.upstream?.destroy();
    target.close();
    proxy.close();
  }
}

kernelTest('a TCP proxy: both directions, half-closed, and each byte', async (t) => {
  const before = stats();
  await proxied(
    async (port) => {
      const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      const received = collect(client);
      client.end(content);
      t.is(sha256(await received), sha256(content));
      client.destroy();
    },
    (socket) => socket.pipe(socket),
  );
  const { kinds, bytes } = since(before);
  // The echo of the target is a pipe of this process as well.
  t.true((kinds['socket->socket'] ?? 0) >= 2, JSON.stringify(kinds));
  t.true(bytes > 2 * content.length);
});

kernelTest('little messages stay with Node, and after much has come they do again', async (t) => {
  await proxied(
    async (port, ends) => {
      const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      const chunks: Buffer[] = [];
      let count = 0;
      client.on('data', (chunk) => {
        chunks.push(chunk);
        count += chunk.length;
      });
      const before = stats();
      for (let n = 1; n <= 50; n++) {
        client.write('little');
        await until(() => count === n * 6);
      }
      t.deepEqual(since(before).kinds, {});
      const both = [ends.client, ends.upstream] as Socket[];
      client.write(content);
      await until(() => count === 300 + content.length);
      t.true(since(before).bytes > 0);
      await until(
        () => both.every((socket) => Object.hasOwn(socket, 'push') && !Object.hasOwn(socket, '_read')),
        'both are observed again',
      );
      const { bytes } = since(before);
      for (let n = 1; n <= 50; n++) {
        client.write('little');
        await until(() => count === 300 + content.length + n * 6);
      }
      t.is(since(before).bytes, bytes);
      t.deepEqual(since(before).declined, {});
      t.is(sha256(Buffer.concat(chunks).subarray(300, 300 + content.length)), sha256(content));
      client.destroy();
    },
    (socket) => socket.on('data', (chunk) => socket.write(chunk)).on('error', () => {}),
  );
});

kernelTest('a child into a file, and into a socket', async (t) => {
  const path = makeFile(directory, content);
  const to = fresh(directory);
  const before = stats();
  const file = createWriteStream(to);
  spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout.pipe(file);
  await once(file, 'close');
  t.is(sha256(readFileSync(to)), sha256(content));
  t.is(file.bytesWritten, content.length);
  await withPair('unix', async ({ server, client }) => {
    const received = collect(client);
    spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout.pipe(server);
    t.is(sha256(await received), sha256(content));
  });
  const { declined, bytes } = since(before);
  t.deepEqual(declined, {});
  t.true(bytes > content.length / 2);
});

kernelTest('what other code writes in between keeps its place', async (t) => {
  await withPair('tcp', async ({ server: source, client: writer }) =>
    withPair('tcp', async ({ server: destination, client: reader }) => {
      source.pipe(destination);
      const chunks: Buffer[] = [];
      reader.on('data', (chunk) => chunks.push(chunk));
      writer.write(content);
      await until(() => chunks.reduce((sum, { length }) => sum + length, 0) === content.length);
      destination.write('between');
      writer.end('after');
      await once(reader, 'end');
      t.is(
        sha256(Buffer.concat(chunks)),
        sha256(Buffer.concat([content, Buffer.from('between'), Buffer.from('after')])),
      );
    }),
  );
});

kernelTest('a peer that goes away is told as by Node', async (t) => {
  await withPair('tcp', async ({ server: source, client: writer }) =>
    withPair('tcp', async ({ server: destination, client: reader }) => {
      const codes: unknown[] = [];
      destination.on('error', ({ code }: NodeJS.ErrnoException) => codes.push(code));
      writer.on('error', () => {});
      source.on('error', () => {});
      source.pipe(destination);
      const timer = setInterval(() => writer.write(content.subarray(0, MiB)), 1);
      await once(reader, 'data');
      await pause(20);
      reader.resetAndDestroy();
      await until(() => destination.closed);
      clearInterval(timer);
      t.true(codes.length === 1 && ['ECONNRESET', 'EPIPE'].includes(codes[0] as string), String(codes));
      t.false(source.destroyed);
    }),
  );
});

/** A receiver resets in the midst of a transfer. @returns bytes that neither it nor the next destination has got. */
async function lostByReset(): Promise<number> {
  return withPair('tcp', async ({ server: source, client: writer }) =>
    withPair('tcp', async ({ server: destination, client: reader }) => {
      const failed = new Promise((resolve) => destination.once('error', resolve));
      reader.on('data', () => {
        if (Object.hasOwn(source, '_read') && !reader.destroyed) reader.resetAndDestroy(); // the kernel writes
      });
      source.pipe(destination);
      writer.end(content);
      await failed;
      const collected = collect(source);
      source.resume(); // Node has paused it
      const rest = await collected;
      if (!rest.equals(content.subarray(content.length - rest.length))) throw new Error('other bytes arrived');
      return content.length - rest.length - destination.bytesWritten;
    }),
  );
}

kernelTest('what a destination that fails has not got is there for the next one', async (t) => {
  for (let tries = 0; tries < 10; tries++) {
    const lost = await lostByReset();
    t.true(lost <= 64 * 1024, `${lost} bytes are nowhere`); // a write of Node's that was under way
  }
});
