/** The table of what a static file server must get right, as points that can be tried on a socket. */
import { appendFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Asking, Client } from './client.js';
import { MODIFIED, SECRET, type TestSite, THOUSAND } from './site.js';

export interface Trial {
  readonly client: Client;
  readonly site: TestSite;
  ask(target: string, asking?: Asking): Promise<Answer>;
}

export interface Point {
  /** The line of the table. */
  readonly subject: string;
  readonly name: string;
  /** Whether it is right. What it throws counts as wrong. */
  right(trial: Trial): Promise<boolean>;
}

const statusOf =
  (target: string, status: number, asking?: Asking): Point['right'] =>
  async ({ ask }) =>
    (await ask(target, asking)).status === status;

const bodyOf =
  (target: string, body: string | Buffer, asking?: Asking): Point['right'] =>
  async ({ ask }) => {
    const answer = await ask(target, asking);
    return answer.status === 200 && answer.body.equals(Buffer.from(body));
  };

const withHeader = (...headers: string[]): Asking => ({ headers });
const ranged = (range: string, ...headers: string[]): Asking => ({ headers: [`Range: ${range}`, ...headers] });

/** The whole file, as if no Range had been asked for. */
const wholeFor =
  (range: string): Point['right'] =>
  async ({ ask }) => {
    const { status, headers, body } = await ask('/thousand', ranged(range));
    return status === 200 && headers['content-range'] === undefined && body.equals(THOUSAND);
  };

const partFor =
  (range: string, start: number, end: number): Point['right'] =>
  async ({ ask }) => {
    const { status, headers, body } = await ask('/thousand', ranged(range));
    return (
      status === 206 &&
      headers['content-range'] === `bytes ${start}-${end}/1000` &&
      body.equals(THOUSAND.subarray(start, end + 1))
    );
  };

const unsatisfiable =
  (target: string, range: string, size: number): Point['right'] =>
  async ({ ask }) => {
    const { status, headers } = await ask(target, ranged(range));
    return status === 416 && headers['content-range'] === `bytes */${size}`;
  };

/** With the tag that the server gives itself. */
const conditional =
  (
    status: number,
    headers: (etag: string, modified: string) => readonly string[],
    target = '/thousand',
  ): Point['right'] =>
  async ({ ask }) => {
    const { etag, 'last-modified': modified } = (await ask(target)).headers;
    if (etag === undefined || modified === undefined) return false;
    return (await ask(target, { headers: headers(etag, modified) })).status === status;
  };

const date = (offset: number): string => new Date((MODIFIED + offset) * 1000).toUTCString();

/** Reads the head and a little, does something, and reads on. @returns the announced and the received length. */
async function midway(
  trial: Trial,
  target: string,
  meanwhile: () => void,
): Promise<{ announced: number; received: number; closed: boolean }> {
  const socket = connect(trial.client.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  let bytes: Buffer = Buffer.alloc(0);
  let closed = false;
  socket.on('close', () => {
    closed = true;
  });
  await new Promise<void>((resolve) => {
    socket.once('data', (chunk: Buffer) => {
      bytes = chunk;
      socket.pause();
      resolve();
    });
    socket.once('close', () => resolve());
  });
  await delay(50);
  meanwhile();
  let length = bytes.length;
  socket.on('data', (chunk: Buffer) => {
    length += chunk.length;
  });
  socket.resume();
  let before = -1;
  while (!closed && length !== before) {
    before = length;
    await delay(300);
  }
  socket.destroy();
  const head = bytes.indexOf('\r\n\r\n') + 4;
  const announced = Number(/content-length: *(\d+)/i.exec(bytes.toString('latin1', 0, head))?.[1]);
  return { announced, received: length - head, closed };
}

const GZIP = withHeader('Accept-Encoding: gzip');

export const points: readonly Point[] = [
  ...(['/fifo'] as const).map(
    (target): Point => ({
      subject: 'opening',
      name: 'a FIFO is 404, and delays no later request',
      async right({ ask }) {
        const asked = Promise.allSettled([ask(target), ask(target), ask(target), ask(target), ask(target)]);
        await delay(50);
        const other = await Promise.race([ask('/a.txt'), delay(1000)]);
        const answers = await asked;
        const notFound = answers.every((answer) => answer.status === 'fulfilled' && answer.value.status === 404);
        return other !== undefined && (other as Answer).status === 200 && notFound;
      },
    }),
  ),
  {
    subject: 'confinement',
    name: 'a link out of the root is not followed',
    right: async ({ ask }) => !(await ask('/outside.txt')).body.includes(SECRET),
  },
  { subject: 'confinement', name: 'a link within the root is', right: bodyOf('/inside.txt', '0123456789') },
  {
    subject: 'confinement',
    name: 'no dots lead out of the root',
    async right({ ask }) {
      for (const target of [
        '/../secret.txt',
        '/%2e%2e/secret.txt',
        '/..%2fsecret.txt',
        '/dir/../../secret.txt',
        '/..%5csecret.txt',
      ]) {
        const { status, body } = await ask(target);
        if (status < 400 || body.includes(SECRET)) return false;
      }
      return true;
    },
  },
  { subject: 'dotfiles', name: '.env is 404', right: statusOf('/.env', 404) },
  { subject: 'dotfiles', name: '.well-known is served', right: bodyOf('/.well-known/security.txt', 'well known') },
  { subject: 'names', name: 'a space', right: bodyOf('/with%20space.txt', 'space') },
  { subject: 'names', name: 'a #', right: bodyOf('/a%23b.txt', 'hash') },
  { subject: 'names', name: 'a %', right: bodyOf('/100%25.txt', 'percent') },
  { subject: 'names', name: 'UTF-8', right: bodyOf('/%C3%A9.txt', 'accent') },
  { subject: 'names', name: 'a NUL is 400', right: statusOf('/a.txt%00', 400) },
  { subject: 'names', name: 'a bad % is 400', right: statusOf('/%zz', 400) },
  { subject: 'names', name: 'bad UTF-8 is 400', right: statusOf('/%ff', 400) },
  { subject: 'names', name: 'ENOTDIR is 404', right: statusOf('/a.txt/b', 404) },
  { subject: 'names', name: 'ENAMETOOLONG is 404', right: statusOf(`/${'x'.repeat(300)}`, 404) },
  { subject: '/a.txt/', name: 'is 404', right: statusOf('/a.txt/', 404) },
  {
    subject: 'redirect',
    name: 'to the directory, with the query',
    async right({ ask }) {
      const { status, headers } = await ask('/dir?a=b');
      return (
        status >= 301 && status <= 308 && new URL(headers.location ?? '', 'http://h/dir').href === 'http://h/dir/?a=b'
      );
    },
  },
  {
    subject: 'redirect',
    name: 'never to another host',
    async right({ ask }) {
      const { headers } = await ask('//evil.com');
      return headers.location === undefined || new URL(headers.location, 'http://h/').host === 'h';
    },
  },
  {
    subject: 'methods',
    name: 'HEAD has the fields of GET and no body',
    async right({ ask }) {
      const head = await ask('/a.txt', { method: 'HEAD' });
      return head.status === 200 && head.headers['content-length'] === '10';
    },
  },
  {
    subject: 'methods',
    name: 'OPTIONS is 204 with Allow',
    async right({ ask }) {
      const { status, headers } = await ask('/a.txt', { method: 'OPTIONS' });
      return status === 204 && /GET/.test(headers.allow ?? '');
    },
  },
  {
    subject: 'methods',
    name: 'POST is 405 with Allow',
    async right({ ask }) {
      const { status, headers } = await ask('/a.txt', { method: 'POST', headers: ['Content-Length: 0'] });
      return status === 405 && /GET/.test(headers.allow ?? '');
    },
  },
  {
    subject: 'ETag',
    name: 'is strong',
    right: async ({ ask }) => /^"[^"]+"$/.test((await ask('/a.txt')).headers.etag ?? ''),
  },
  {
    subject: 'ETag',
    name: 'tells writes of one size and one mtime apart',
    async right({ ask, site }) {
      const path = join(site.root, 'written.txt');
      const tags = new Set<string | undefined>();
      for (let n = 0; n < 5; n++) {
        writeFileSync(path, String(n));
        utimesSync(path, MODIFIED, MODIFIED);
        tags.add((await ask('/written.txt')).headers.etag);
      }
      return tags.size === 5 && !tags.has(undefined);
    },
  },
  { subject: 'If-None-Match', name: 'the tag', right: conditional(304, (etag) => [`If-None-Match: ${etag}`]) },
  {
    subject: 'If-None-Match',
    name: 'by weak comparison',
    right: conditional(304, (etag) => [`If-None-Match: W/${etag.replace(/^W\//, '')}`]),
  },
  { subject: 'If-None-Match', name: 'a list', right: conditional(304, (etag) => [`If-None-Match: "x", ${etag}`]) },
  { subject: 'If-None-Match', name: '*', right: conditional(304, () => ['If-None-Match: *']) },
  {
    subject: 'If-None-Match',
    name: 'two lines',
    right: conditional(304, (etag) => ['If-None-Match: "x"', `If-None-Match: ${etag}`]),
  },
  {
    subject: 'If-None-Match',
    name: 'wins over If-Modified-Since',
    right: conditional(200, () => ['If-None-Match: "x"', `If-Modified-Since: ${date(10)}`]),
  },
  {
    subject: 'order of conditions',
    name: 'If-Modified-Since',
    right: conditional(304, (_etag, modified) => [`If-Modified-Since: ${modified}`]),
  },
  {
    subject: 'order of conditions',
    name: 'If-Match goes before If-None-Match',
    right: conditional(412, (etag) => ['If-Match: "x"', `If-None-Match: ${etag}`]),
  },
  {
    subject: 'order of conditions',
    name: 'If-None-Match goes before Range',
    right: conditional(304, (etag) => [`If-None-Match: ${etag}`, 'Range: bytes=0-1']),
  },
  { subject: '412', name: 'If-Match', right: conditional(412, () => ['If-Match: "x"']) },
  {
    subject: '412',
    name: 'If-Match by strong comparison',
    right: conditional(412, (etag) => [`If-Match: W/${etag.replace(/^W\//, '')}`]),
  },
  { subject: '412', name: 'If-Unmodified-Since', right: conditional(412, () => [`If-Unmodified-Since: ${date(-10)}`]) },
  {
    subject: '304',
    name: 'has ETag and Last-Modified, and no type or length',
    async right({ ask }) {
      const { etag } = (await ask('/thousand')).headers;
      const { status, headers } = await ask('/thousand', withHeader(`If-None-Match: ${etag}`));
      const without = headers['content-type'] === undefined && headers['content-length'] === undefined;
      return status === 304 && headers.etag === etag && headers['last-modified'] !== undefined && without;
    },
  },
  {
    subject: 'If-Range',
    name: 'the tag',
    right: conditional(206, (etag) => ['Range: bytes=0-1', `If-Range: ${etag}`]),
  },
  {
    subject: 'If-Range',
    name: 'the exact date',
    right: conditional(206, (_etag, modified) => ['Range: bytes=0-1', `If-Range: ${modified}`]),
  },
  {
    subject: 'If-Range',
    name: 'another tag: the whole file',
    right: conditional(200, () => ['Range: bytes=0-1', 'If-Range: "x"']),
  },
  {
    subject: 'If-Range',
    name: 'a later date: the whole file',
    right: conditional(200, () => ['Range: bytes=0-1', `If-Range: ${date(10)}`]),
  },
  {
    subject: 'If-Range',
    name: 'a weak tag: the whole file',
    right: conditional(200, (etag) => ['Range: bytes=0-1', `If-Range: W/${etag.replace(/^W\//, '')}`]),
  },
  { subject: 'Range', name: 'first-last', right: partFor('bytes=100-199', 100, 199) },
  { subject: 'Range', name: 'first-', right: partFor('bytes=900-', 900, 999) },
  { subject: 'Range', name: '-N', right: partFor('bytes=-100', 900, 999) },
  { subject: 'Range', name: '-N beyond the size is the whole file', right: partFor('bytes=-5000', 0, 999) },
  { subject: 'Range', name: 'the unit in any case', right: partFor('BYTES=0-1', 0, 1) },
  { subject: 'Range', name: 'another unit is ignored', right: wholeFor('items=0-1') },
  { subject: 'Range', name: '5-2 is ignored', right: wholeFor('bytes=5-2') },
  { subject: 'Range', name: 'nonsense is ignored', right: wholeFor('bytes=abc') },
  { subject: 'Range', name: '-0 is 416', right: unsatisfiable('/thousand', 'bytes=-0', 1000) },
  { subject: 'Range', name: 'beyond the end is 416', right: unsatisfiable('/thousand', 'bytes=1000-', 1000) },
  {
    subject: 'Range',
    name: 'a 416 says nothing of the content',
    async right({ ask }) {
      const { status, headers } = await ask('/app.js', ranged('bytes=5000-', 'Accept-Encoding: gzip'));
      const said = ['content-type', 'content-encoding', 'cache-control', 'etag'].filter(
        (name) => headers[name] !== undefined,
      );
      return status === 416 && said.length === 0;
    },
  },
  {
    subject: 'Range',
    name: 'HEAD ignores it',
    right: statusOf('/thousand', 200, { method: 'HEAD', headers: ['Range: bytes=0-1'] }),
  },
  { subject: 'Range', name: 'of an empty file is 416', right: unsatisfiable('/empty', 'bytes=0-', 0) },
  { subject: 'Range', name: 'an empty file without one is 200', right: bodyOf('/empty', '') },
  {
    subject: 'several ranges',
    name: 'multipart/byteranges',
    async right({ ask }) {
      const { status, headers, body } = await ask('/thousand', ranged('bytes=0-9,500-509'));
      const text = body.toString('latin1');
      const parts = ['bytes 0-9/1000', 'bytes 500-509/1000'].every((part) => text.includes(part));
      return status === 206 && /^multipart\/byteranges/.test(headers['content-type'] ?? '') && parts;
    },
  },
  { subject: 'several ranges', name: 'overlapping ones are combined', right: partFor('bytes=0-10,5-20', 0, 20) },
  {
    subject: 'several ranges',
    name: 'never more bytes than the file, by many',
    async right({ ask }) {
      const { body } = await ask('/thousand', ranged(`bytes=${Array(200).fill('0-').join(',')}`));
      return body.length <= 1000;
    },
  },
  {
    subject: 'precompressed',
    name: 'chosen by Accept-Encoding, with the type of the original',
    async right({ ask }) {
      const { headers, body } = await ask('/app.js', GZIP);
      return (
        headers['content-encoding'] === 'gzip' &&
        body.toString() === 'app gz' &&
        /javascript/.test(headers['content-type'] ?? '')
      );
    },
  },
  {
    subject: 'precompressed',
    name: 'q=0 is a no',
    right: bodyOf('/app.js', 'app', withHeader('Accept-Encoding: gzip;q=0, br;q=0')),
  },
  {
    subject: 'precompressed',
    name: 'q-values are heeded',
    right: async ({ ask }) =>
      (await ask('/app.js', withHeader('Accept-Encoding: br;q=0.1, gzip;q=1'))).body.toString() === 'app gz',
  },
  {
    subject: 'precompressed',
    name: 'Vary, also of the identity answer',
    right: async ({ ask }) => /accept-encoding/i.test((await ask('/app.js')).headers.vary ?? ''),
  },
  {
    subject: 'precompressed',
    name: 'ranges are of the original',
    async right({ ask }) {
      const { status, headers, body } = await ask('/app.js', ranged('bytes=0-1', 'Accept-Encoding: gzip'));
      return status === 206 && headers['content-encoding'] === undefined && body.toString() === 'ap';
    },
  },
  {
    subject: 'direct .gz',
    name: 'application/gzip, no Content-Encoding',
    async right({ ask }) {
      const { headers } = await ask('/archive.tar.gz', GZIP);
      return (
        /^application\/(x-)?gzip$/.test(headers['content-type'] ?? '') && headers['content-encoding'] === undefined
      );
    },
  },
  {
    subject: 'types',
    name: 'UTF-8 for text',
    right: async ({ ask }) =>
      /^text\/plain; *charset=utf-8$/i.test((await ask('/a.txt')).headers['content-type'] ?? ''),
  },
  {
    subject: 'types',
    name: 'UTF-8 for JSON and SVG',
    right: async ({ ask }) =>
      /charset=utf-8/i.test(`${(await ask('/data.json')).headers['content-type']}`) &&
      /charset=utf-8/i.test(`${(await ask('/image.svg')).headers['content-type']}`),
  },
  {
    subject: 'types',
    name: 'nosniff',
    right: async ({ ask }) => (await ask('/a.txt')).headers['x-content-type-options'] === 'nosniff',
  },
  {
    subject: 'a file that changes',
    name: 'a file that shrinks: the connection is destroyed',
    async right(trial) {
      const path = join(trial.site.root, 'shrinks.bin');
      writeFileSync(path, Buffer.alloc(16 * 1024 * 1024, 'x'));
      const { announced, received, closed } = await midway(trial, '/shrinks.bin', () => truncateSync(path, 1000));
      return closed && received < announced;
    },
  },
  {
    subject: 'a file that changes',
    name: 'a file that grows: exactly the announced bytes',
    async right(trial) {
      const path = join(trial.site.root, 'grows.bin');
      writeFileSync(path, Buffer.alloc(8 * 1024 * 1024, 'x'));
      const { announced, received } = await midway(trial, '/grows.bin', () =>
        appendFileSync(path, Buffer.alloc(1024 * 1024)),
      );
      return received === announced;
    },
  },
];
