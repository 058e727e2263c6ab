/** Files into HTTPS responses and TLS sockets, by Node's own pipes: copied beneath them, in what is lent for each write. */
import { once } from 'node:events';
import { appendFileSync, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';
import { copy, install, pipeline as ours, stats } from '@zerocopy/pipeline';
import { lentBuffers } from '@zerocopy/sendfile-stream/route';
import { getEncrypted, TLS_VERSIONS, withEncryptedPair, withHttpsServer } from '@zerocopy/testing/tls';
import {
  collect,
  fresh,
  KiB,
  kernelTest,
  MiB,
  makeFile,
  pattern,
  since,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
const BIG = 3 * MiB + 12_345;
const content = pattern(BIG);
const big = makeFile(directory, content);
const few = makeFile(directory, content.subarray(0, 128 * KiB - 1));
const ignore = (): void => {};

async function installed(use: () => Promise<void>): Promise<ReturnType<typeof since> & { readonly copied: number }> {
  const uninstall = install();
  const before = stats();
  try {
    await use();
  } finally {
    uninstall();
  }
  await until(() => lentBuffers() === 0, 'all buffers are given back');
  return { ...since(before), copied: (stats().bytes.copy ?? 0) - (before.bytes.copy ?? 0) };
}

type Answer = (response: ServerResponse) => unknown;

for (const version of TLS_VERSIONS) {
  kernelTest(`${version}: responses, with a length and in chunks, by all ways of Node`, async (t) => {
    const answers: Record<string, Answer> = {
      '/pipe': (response) => createReadStream(big).pipe(response),
      '/pipeline': (response) => pipeline(createReadStream(big), response, ignore),
      '/length': (response) =>
        pipeline(createReadStream(big), response.writeHead(200, { 'Content-Length': BIG }), ignore),
      '/handle': async (response) => (await open(big)).createReadStream().pipe(response),
      '/between': (response) => {
        response.write(content.subarray(0, 10));
        const source = createReadStream(big, { start: 10, end: BIG - 11 });
        source.pipe(response, { end: false });
        source.on('end', () => response.end(content.subarray(-10)));
      },
    };
    const { kinds, declined, handedBack, copied } = await installed(() =>
      withHttpsServer(
        version,
        (request, response) => answers[request.url as string]?.(response),
        async (port) => {
          for (const path of Object.keys(answers)) {
            const { body, headers } = await getEncrypted(version, port, { path });
            t.true(body.equals(content), path);
            t.is(headers['content-length'] !== undefined, path === '/length', path);
          }
        },
      ),
    );
    t.deepEqual({ kinds, declined, handedBack }, { kinds: { 'file->http': 5 }, declined: {}, handedBack: {} });
    t.is(copied, 5 * BIG - 20);
  });

  kernelTest(`${version}: a bare socket, its events, and a file that grows`, async (t) => {
    const growing = fresh(directory);
    appendFileSync(growing, content);
    const { kinds, declined } = await installed(() =>
      withEncryptedPair(version, async (server, client) => {
        const received = collect(client);
        const source = createReadStream(growing);
        source.once('open', () => appendFileSync(growing, 'more'));
        source.pipe(server);
        t.true((await received).equals(Buffer.concat([content, Buffer.from('more')])));
        t.is(source.bytesRead, BIG + 4);
        t.is(server.bytesWritten, BIG + 4);
      }),
    );
    t.deepEqual(kinds, { 'file->socket': 1 });
    t.deepEqual(Object.keys(declined), []);
  });
}

kernelTest('few bytes, a replaced write, and what comes from elsewhere are left to Node', async (t) => {
  const { kinds, declined } = await installed(() =>
    withHttpsServer(
      'TLSv1.3',
      (request, response) => {
        if (request.method === 'PUT') return void request.pipe(response);
        if (request.url === '/few') {
          const source = createReadStream(few);
          source.pipe(response);
          source.once('ready', () => t.false(Object.hasOwn(source, '_read'), 'nothing is put on the open stream'));
          return;
        }
        if (request.url === '/announced') {
          response.setHeader('Content-Length', 128 * KiB - 1);
          const source = createReadStream(few);
          source.pipe(response);
          t.false(Object.hasOwn(source, '_read'), 'nothing is put on the stream');
          return;
        }
        const { write } = response;
        response.write = function (this: ServerResponse, ...args: unknown[]) {
          return Reflect.apply(write, this, args);
        } as never;
        createReadStream(big).pipe(response);
      },
      async (port) => {
        for (const path of ['/few', '/announced']) {
          t.is((await getEncrypted('TLSv1.3', port, { path })).body.length, 128 * KiB - 1);
        }
        t.true((await getEncrypted('TLSv1.3', port, { path: '/patched' })).body.equals(content));
        const put = { path: '/', method: 'PUT', headers: { 'Content-Length': BIG } };
        t.true((await getEncrypted('TLSv1.3', port, put, content)).body.equals(content));
      },
    ),
  );
  t.deepEqual(kinds, {});
  t.deepEqual(Object.keys(declined).sort(), [
    'fewer than 131072 bytes are left to Node',
    'the source is encrypted (TLS)',
    'write() of the HTTP message has been replaced (compression middleware?)',
  ]);
});

kernelTest(
  'a pause, a listener and a destroyed source in the middle: Node goes on, or ends, at the byte that was reached',
  async (t) => {
    const huge = makeFile(directory, pattern(16 * MiB));
    for (const disturb of ['pause', 'listener', 'destroy'] as const) {
      const { kinds } = await installed(() =>
        withEncryptedPair('TLSv1.3', async (server, client) => {
          const source = createReadStream(huge);
          source.pipe(server);
          await until(() => lentBuffers() === 1 && server.bytesWritten > MiB, 'the receiver is full');
          if (disturb === 'pause') source.pause();
          if (disturb === 'listener') source.on('data', ignore);
          if (disturb === 'destroy') {
            source.destroy();
            await once(source, 'close');
            server.end();
          }
          if (disturb === 'pause') setImmediate(() => source.resume());
          const received = await collect(client);
          t.true(received.equals(pattern(16 * MiB).subarray(0, received.length)), disturb);
          t.is(received.length === 16 * MiB, disturb !== 'destroy', disturb);
        }),
      );
      t.deepEqual(kinds, { 'file->socket': 1 });
    }
  },
);

kernelTest('the pipeline and the copy of this package', async (t) => {
  await withHttpsServer(
    'TLSv1.3',
    (request, response) => {
      if (request.url === '/pipeline') return void ours(createReadStream(big), response, (error) => t.falsy(error));
      copy(big, response).then((result) => {
        t.like(result, { bytes: BIG, method: 'copy', fallbackReason: 'the connection is encrypted (TLS)' });
        response.end();
      });
    },
    async (port) => {
      for (const path of ['/pipeline', '/copy']) {
        t.true((await getEncrypted('TLSv1.3', port, { path })).body.equals(content), path);
      }
    },
  );
});
