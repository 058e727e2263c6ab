/** Many at once, and many after each other: fairness, clusters, and what thousands of aborts leave behind. */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { pipeline as pipelineCallback } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createSendfileStream, type SendfileReadStream, sendFile } from '@zerocopy/sendfile-stream';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import test from 'ava';
import {
  KiB,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  temporaryDirectory,
  until,
  withHttpServer,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();

kernelTest(`${isLongRun ? 1000 : 300} downloads at once: all whole, and none far ahead of the others`, async (t) => {
  const size = 4 * MiB; // more than two sockets' buffers hold
  const count = isLongRun ? 1000 : 300;
  const path = writeFile(join(directory, 'fair'), Buffer.alloc(size, 'f'));
  const waiting: ServerResponse[] = [];
  const streams: SendfileReadStream[] = [];
  let whenFirstEnded: number[] | undefined;
  await withHttpServer(
    (_request, response) => {
      waiting.push(response);
      if (waiting.length < count) return;
      for (const one of waiting) {
        one.setHeader('Content-Length', size);
        const stream = createSendfileStream(path);
        streams.push(stream);
        stream.once('end', () => {
          whenFirstEnded ??= streams.map(({ bytesSent }) => bytesSent);
        });
        pipelineCallback(stream, one, (error) => t.falsy(error));
      }
    },
    async (port) => {
      await Promise.all(
        Array.from({ length: count }, async () => {
          let received = 0;
          const socket = net.connect({
            port,
            host: '127.0.0.1',
            onread: {
              buffer: Buffer.allocUnsafe(256 * KiB),
              callback: (bytes) => {
                received += bytes;
                return true;
              },
            },
          });
          socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
          await once(socket, 'close');
          t.true(received > size && received < size + KiB);
        }),
      );
    },
  );
  const behind = (whenFirstEnded ?? []).filter((bytes) => bytes < size / 4).length;
  t.true(behind < count / 10, `${behind} of ${count} had sent less than a quarter when the first was done`);
  t.true(streams.every(({ method }) => method === 'sendfile'));
});

kernelTest('one large download does not hold up a small one for longer than a quantum', async (t) => {
  const large = writeFile(join(directory, 'large'), Buffer.alloc(64 * MiB, 'l'));
  const small = writeFile(join(directory, 'small'), pattern(100 * KiB));
  await withHttpServer(
    (request, response) => {
      sendFile(response, request.url === '/large' ? large : small, { smallFileSize: 0 }).catch(() =>
        response.destroy(),
      );
    },
    async (port) => {
      const fast = net.connect(port, '127.0.0.1');
      let received = 0;
      fast.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      fast.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
      await until(() => received > 0);
      for (let n = 0; n < 10 && received < 60 * MiB; n++) {
        const before = received;
        const socket = net.connect(port, '127.0.0.1');
        socket.write('GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
        socket.resume();
        await once(socket, 'close');
        // Both run on this loop: a few quanta of 4 MiB, not the whole file.
        t.true(received - before < 48 * MiB, `${received - before} bytes`);
      }
      fast.destroy();
    },
  );
});

kernelTest(
  `${isLongRun ? 10_000 : 800} aborted downloads leave no descriptor, listener, timer or memory`,
  async (t) => {
    const count = isLongRun ? 10_000 : 800;
    const size = 4 * MiB;
    const path = writeFile(join(directory, 'aborted'), pattern(size));
    let live = 0;
    let most = 0;
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(`${warning.name}: ${warning.message}`);
    process.on('warning', onWarning);
    await withHttpServer(
      (request, response) => {
        live++;
        most = Math.max(most, live);
        const done = (): void => void live--;
        if (request.url === '/sendFile') sendFile(response, path).then(done, done);
        else {
          const chunked = request.url === '/chunked';
          const stream: SendfileReadStream = createSendfileStream(path);
          stream.once('close', done);
          if (chunked) stream.pipe(response, { end: false });
          else pipelineCallback(stream, response, () => {});
          if (chunked) response.once('close', () => stream.destroy());
        }
      },
      async (port) => {
        const abort = async (n: number): Promise<void> => {
          const socket = net.connect(port, '127.0.0.1');
          socket.on('error', () => {});
          socket.write(`GET ${['/sendFile', '/pipeline', '/chunked'][n % 3]} HTTP/1.1\r\nHost: x\r\n\r\n`);
          if (n % 5 > 0) await once(socket, 'readable');
          if (n % 2 === 0) socket.resetAndDestroy();
          else socket.destroy();
          if (!socket.closed) await once(socket, 'close');
        };
        const batch = async (from: number, to: number): Promise<void> => {
          for (let n = from; n < to; n += 25) {
            await Promise.all(Array.from({ length: 25 }, (_, k) => abort(n + k)));
          }
          await until(() => live === 0, 'every transfer ended');
        };
        await batch(0, 500);
        const before = openDescriptors();
        const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
        await batch(500, count);
        await until(() => openDescriptors() <= before + 2, `descriptors back at ${before}`);
        t.true(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length <= timers + 2);
      },
    );
    process.off('warning', onWarning);
    t.deepEqual(warnings, [], 'no MaxListenersExceededWarning');
    t.true(most > 1);
  },
);

kernelTest('a cluster serves by the kernel, and its workers end in the ordinary way', async (t) => {
  const content = pattern(5 * MiB);
  const path = writeFile(join(directory, 'cluster'), content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    fileURLToPath(new URL('./fixtures/cluster-server.js', import.meta.url)),
    path,
  ]);
  t.deepEqual(stdout.trim().split('\n'), [sha256, sha256]);
  t.is(stderr, '');
});

test('nothing here keeps a process alive', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--input-type=module',
    '-e',
    `import { createSendfileStream } from '@zerocopy/sendfile-stream';
     createSendfileStream(${JSON.stringify(writeFile(join(directory, 'alive'), Buffer.from('x')))}).resume();
     process.on('exit', () => console.log('ended'));`,
  ]);
  t.is(stdout.trim(), 'ended');
});
