/** A server that does not answer, beneath the root, delays nobody else (kernel-rules: open-may-wait). */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import http2 from 'node:http2';
import net from 'node:net';
import { basename, join } from 'node:path';
import { fetchFiles, type ServeFilesOptions, serveFiles } from '@zerocopy/serve-files';
import { contentOf, type SlowOperation, slowName } from '@zerocopy/testing/slow-files';
import { noSlowMount, stallOf, withSlowMount } from '@zerocopy/testing/slow-mount';
import test from 'ava';
import { ask, KiB, listening, pattern, pause, tree, withFiles } from './harness.js';

const reason = noSlowMount();
const slowTest = (reason === undefined ? test.serial : test.skip) as typeof test.serial;
if (reason !== undefined) test.skip(`a slow filesystem: ${reason}`, () => {});

/** Milliseconds; a request to a healthy file that takes as long waits for something. */
const PATIENCE = 5000;
/** More than libuv has threads. */
const WAITING = 8;
const SMALL = 1000;
const LARGE = 300 * KiB;

async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Symbol(what);
  const first = await Promise.race([promise, pause(PATIENCE).then(() => late)]);
  if (first === late) throw new Error(`${what} took longer than ${PATIENCE} ms`);
  return first as T;
}

const KEEPING = { files: 100, maxAgeMs: 60_000 };

for (const [cache, operations] of [
  [false, ['lookup', 'open', 'read', 'flush']],
  [KEEPING, ['read']],
] satisfies [ServeFilesOptions['cache'], SlowOperation[]][]) {
  const kept = cache === false ? '' : ', with files kept open';
  for (const operation of operations) {
    slowTest(`a mount that never answers ${operation} delays no other request${kept}`, async (t) => {
      const root = tree({ 'a.txt': 'a', 'large.bin': pattern(LARGE) });
      const fifo = join(root, 'fifo');
      execFileSync('mkfifo', [fifo]);
      await withSlowMount(
        Number.POSITIVE_INFINITY,
        async (mount) => {
          await withFiles(root, { cache, precompressed: true }, async (port) => {
            await soon('the first request', ask(port, '/a.txt'));
            const dead = [SMALL, LARGE].map((bytes) => `/${basename(mount)}/${slowName(operation, bytes)}`);
            const waiting = Array.from({ length: WAITING }, (_, n) => {
              const socket = net.connect(port, '127.0.0.1').on('error', () => {});
              socket.write(`GET ${n % 3 === 2 ? '/fifo' : dead[n % 2]} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
              return socket.resume();
            });
            await pause(100);
            for (let turn = 0; turn < 5; turn++) {
              t.is((await soon('a small file', ask(port, '/a.txt'))).body.toString(), 'a');
              t.is((await soon('a large file', ask(port, '/large.bin'))).body.length, LARGE);
              t.is((await soon('what does not exist', ask(port, `/${turn}`))).status, 404);
              t.is((await soon('a FIFO', ask(port, '/fifo'))).status, 404);
              await soon('node:fs', stat(root));
            }
            for (const socket of waiting) socket.destroy();
          });
        },
        root,
      );
    });
  }
}

slowTest('reads that are never answered leave node:fs a thread, also by HTTP/2 and fetch', async (t) => {
  const root = tree({ 'a.txt': 'a' });
  await withSlowMount(
    Number.POSITIVE_INFINITY,
    async (mount) => {
      const dead = `/${basename(mount)}/${slowName('read', LARGE)}`;
      const server = http2.createServer(serveFiles(root));
      const session = http2.connect(`http://127.0.0.1:${await listening(server)}`).on('error', () => {});
      const fetching = fetchFiles(root);
      const overHttp2 = async (): Promise<unknown> => {
        const [headers] = await once(session.request({ ':path': '/a.txt' }), 'response');
        return headers[':status'];
      };
      const overFetch = async (): Promise<string> => (await fetching(new Request('http://localhost/a.txt'))).text();
      await Promise.all([overHttp2(), overFetch()]); // the roots are open from here on
      const aborting = new AbortController();
      for (let n = 0; n < WAITING; n++) {
        session
          .request({ ':path': dead })
          .on('error', () => {})
          .resume();
        // Not waited for: reads that are not answered may hold up others of that mount.
        fetching(new Request(`http://localhost${dead}`))
          .then(({ body }) => body?.pipeTo(new WritableStream(), { signal: aborting.signal }))
          .catch(() => {});
      }
      await pause(100);
      await soon('node:fs', stat(root));
      t.is(await soon('a file by fetch', overFetch()), 'a');
      t.is(await soon('a file by HTTP/2', overHttp2()), 200);
      session.destroy();
      aborting.abort();
      server.close();
    },
    root,
  );
});

slowTest('a mount that answers slowly is served, and the event loop goes on', async (t) => {
  const root = tree({ 'a.txt': 'a' });
  const SLOW = 150;
  await withSlowMount(
    SLOW,
    async (mount) => {
      await withFiles(root, {}, async (port) => {
        const operations = ['lookup', 'open', 'read', 'flush'] satisfies SlowOperation[];
        const stall = await stallOf(SLOW, () =>
          Promise.all(
            operations.map(async (operation) => {
              const { status, body } = await ask(port, `/${basename(mount)}/${slowName(operation, SMALL)}`);
              t.is(status, 200, operation);
              t.true(body.equals(contentOf(SMALL)), operation);
            }),
          ),
        );
        t.true(stall < SLOW, `the loop stood still for ${stall.toFixed(0)} ms`);
      });
    },
    root,
  );
});
