/** HTTP/2: the same answers, on streams that end by themselves. */
import { once } from 'node:events';
import { truncateSync } from 'node:fs';
import http2 from 'node:http2';
import { join } from 'node:path';
import { type SentInfo, serveFiles } from '@zerocopy/serve-files';
import test from 'ava';
import { listening, MiB, openDescriptors, pattern, tree, until } from './harness.js';

const big = pattern(8 * MiB);
const root = tree({ 'a.txt': '0123456789', 'big.bin': big });

interface Http2Answer {
  readonly headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  readonly body: Buffer;
}

async function withHttp2(
  listener: Parameters<typeof http2.createServer>[1],
  use: (
    get: (headers: http2.OutgoingHttpHeaders) => Promise<Http2Answer>,
    session: http2.ClientHttp2Session,
  ) => Promise<void>,
): Promise<void> {
  const server = http2.createServer(listener);
  const port = await listening(server);
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  const get = (headers: http2.OutgoingHttpHeaders): Promise<Http2Answer> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':path': '/', ...headers });
      let answered: Http2Answer['headers'] = {};
      const chunks: Buffer[] = [];
      stream.on('response', (fields) => {
        answered = fields;
      });
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', reject);
      stream.on('close', () => resolve({ headers: answered, body: Buffer.concat(chunks) }));
      stream.end();
    });
  try {
    await use(get, session);
  } finally {
    session.destroy();
    server.close();
  }
}

test('HTTP/2: a stream that is gone before it is answered ends nothing else', async (t) => {
  const infos: SentInfo[] = [];
  const handler = serveFiles(root, { onSent: (info) => infos.push(info) });
  await withHttp2(
    (request, response) => {
      if (request.url !== '/a.txt') response.stream.destroy();
      handler(request, response);
    },
    async (get) => {
      for (const path of ['/big.bin', '/nothing']) await get({ ':path': path }).catch(() => {});
      t.is((await get({ ':path': '/a.txt' })).body.toString(), '0123456789');
      await until(() => infos.length === 3, 'all are told of');
    },
  );
  // What was looked for off the thread is told of later.
  t.deepEqual(infos.map(({ path, error }) => [path, error instanceof Error]).sort(), [
    ['/a.txt', false],
    ['/big.bin', true],
    ['/nothing', true],
  ]);
});

test('HTTP/2: the same answers', async (t) => {
  const infos: SentInfo[] = [];
  const handler = serveFiles(root, { onSent: (info) => infos.push(info) });
  await withHttp2(
    (request, response) => {
      response.setHeader('x-own', '1');
      response.setHeader('vary', 'Origin');
      handler(request, response);
    },
    async (get) => {
      const whole = await get({ ':path': '/a.txt' });
      t.is(whole.headers[':status'], 200);
      t.is(whole.headers['content-length'], '10');
      t.is(whole.headers['x-own'], '1');
      t.is(whole.body.toString(), '0123456789');
      t.true((await get({ ':path': '/big.bin' })).body.equals(big));
      const range = await get({ ':path': '/a.txt', range: 'bytes=2-4' });
      t.is(range.headers[':status'], 206);
      t.is(range.headers['content-range'], 'bytes 2-4/10');
      t.is(range.body.toString(), '234');
      const several = await get({ ':path': '/a.txt', range: 'bytes=0-1,5-6' });
      t.regex(several.headers['content-type'] ?? '', /^multipart\/byteranges/);
      t.is(several.body.length, Number(several.headers['content-length']));
      const { etag } = whole.headers;
      t.is((await get({ ':path': '/a.txt', 'if-none-match': etag })).headers[':status'], 304);
      t.is((await get({ ':path': '/a.txt', 'if-match': '"x"' })).headers[':status'], 412);
      t.is((await get({ ':path': '/a.txt', range: 'bytes=50-' })).headers[':status'], 416);
      t.is((await get({ ':path': '/nothing' })).headers[':status'], 404);
      t.is((await get({ ':path': '/a.txt', ':method': 'HEAD' })).body.length, 0);
      t.is((await get({ ':path': '/a.txt', ':method': 'POST' })).headers[':status'], 405);
      t.is((await get({ ':path': '/a.txt', ':method': 'OPTIONS' })).headers[':status'], 204);
      await until(() => infos.length === 11, 'onSent of each');
      t.deepEqual(
        infos.map(({ error }) => error),
        Array(11).fill(undefined),
      );
      t.is(infos[1]?.bytes, big.length);
    },
  );
});

test('HTTP/2: rates, aborted streams, files that get shorter', async (t) => {
  const site = tree({ 'big.bin': big, 'shrinks.bin': big });
  await withHttp2(serveFiles(site, { rate: 2 * MiB }), async (get) => {
    const { body } = await get({ ':path': '/big.bin', range: 'bytes=0-400000' });
    t.true(body.equals(big.subarray(0, 400_001)));
  });
  const infos: SentInfo[] = [];
  await withHttp2(serveFiles(site, { onSent: (info) => infos.push(info) }), async (_get, session) => {
    const before = openDescriptors();
    for (let n = 0; n < 10; n++) {
      const stream = session.request({ ':path': '/big.bin' });
      stream.on('error', () => {});
      await once(stream, 'data');
      stream.close(http2.constants.NGHTTP2_CANCEL);
      await until(() => stream.closed, 'the stream closed');
    }
    await until(() => infos.length === 10, 'onSent');
    await until(() => openDescriptors() <= before, 'every descriptor closed');
    for (const { error } of infos) t.truthy(error);

    const stream = session.request({ ':path': '/shrinks.bin' });
    stream.on('error', () => {});
    let length = 0;
    await once(stream, 'data');
    truncateSync(join(site, 'shrinks.bin'), 100);
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    await until(() => stream.destroyed, 'the stream destroyed');
    t.true(length < big.length);
    t.not(stream.rstCode, 0, 'nobody takes it for whole');
  });
});
