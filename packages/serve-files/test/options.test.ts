/** Invalid options are refused at once, and say what was expected and what came. */

import { pathToFileURL } from 'node:url';
import { fastifyFiles, fetchFiles, honoFiles, koaFiles, plan, RateLimit, serveFiles } from '@zerocopy/serve-files';
import test from 'ava';
import { ask, converse, tree, withFiles } from './harness.js';

test('each option by its type', (t) => {
  const invalid: readonly (readonly [option: string, ...values: unknown[]])[] = [
    ['precompressed', 'br', ['deflate'], 1, null],
    ['dotfiles', 'allow', true, null],
    ['symlinks', 'all', true],
    ['index', true, 1, [1], '', 'a/', ['../index.html'], null],
    ['redirect', 1, 'yes', null],
    ['fallthrough', 1],
    ['fallback', true, '', '../x', 'dir/', 'a\0b'],
    ['listing', 1],
    ['cacheControl', 1, null, 'no-cache\n'],
    ['immutable', 'yes', 1],
    ['headers', 'x', null, 1],
    ['cors', 1, null, 'https://a.example\r\nX: 1'],
    ['corp', 'any', 1],
    ['isolate', 1],
    ['etag', 'strong', 1, {}, { sidecar: 'a/b' }, { sidecar: '' }],
    ['types', 'x', 1, null],
    ['download', 1, null],
    ['rate', 'fast', 0, -1, Number.NaN, [0], ['x'], null],
    ['rateAfter', -1, 1.5, 'x'],
    [
      'cache',
      true,
      null,
      {},
      { files: 1 },
      { files: 0, maxAgeMs: 1 },
      { files: 1, maxAgeMs: 2 ** 31 },
      { files: 1.5, maxAgeMs: 1 },
    ],
    ['onSent', 'x', {}],
  ];
  for (const [option, ...values] of invalid) {
    for (const value of values) {
      const error = t.throws(() => serveFiles('/tmp', { [option]: value }), undefined, `${option}: ${String(value)}`);
      t.regex(
        (error as { code?: string }).code ?? '',
        /^ERR_(INVALID_ARG_TYPE|INVALID_ARG_VALUE|OUT_OF_RANGE)$/,
        option,
      );
      t.true(error.message.includes(option), error.message);
      t.regex(error.message, /Received/);
    }
  }
  const message = "The option 'cache' must be false or { files, maxAgeMs }. Received true";
  t.throws(() => serveFiles('/tmp', { cache: true as never }), { code: 'ERR_INVALID_ARG_TYPE', message });
  t.throws(() => serveFiles('/tmp', { headers: 1 as never }), { message: /must be an object or a function/ });
  t.throws(() => new RateLimit(0), { code: 'ERR_OUT_OF_RANGE' });
});

test('the root', async (t) => {
  for (const root of [undefined, null, '', 1, {}, 'a\0b']) {
    for (const make of [serveFiles, koaFiles, honoFiles, fetchFiles]) {
      t.throws(() => (make as (root: unknown) => unknown)(root), { code: 'ERR_INVALID_ARG_TYPE' });
    }
  }
  await t.throwsAsync(plan({ url: '/' }, '' as never), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(fastifyFiles({ prefix: '' } as never, {} as never), { code: 'ERR_INVALID_ARG_TYPE' });
  const site = tree({ 'a.txt': 'a' });
  await withFiles(pathToFileURL(site) as never, {}, async (port) => {
    t.is((await ask(port, '/a.txt')).status, 200);
  });
});

test('options are read once, inherited ones too', async (t) => {
  let reads = 0;
  const options = Object.create({
    get index() {
      reads++;
      return 'a.txt';
    },
  }) as { index: string };
  await withFiles(tree({ 'a.txt': 'a' }), options, async (port) => {
    t.is((await ask(port, '/')).body.toString(), 'a');
    await ask(port, '/');
  });
  t.is(reads, 1);
});

test('what functions throw is a 500 that names no path, and the next request is served', async (t) => {
  const root = tree({ 'a.txt': 'a', 'b.txt': 'b' });
  const failing = (path: string): never | undefined => {
    if (path === '/a.txt') throw new Error(`secret ${root}`);
    return undefined;
  };
  for (const options of [
    { cacheControl: failing },
    { headers: failing },
    { etag: failing },
    { types: failing },
    { rate: failing },
    { download: failing },
  ]) {
    await withFiles(root, options, async (port) => {
      const { status, body, headers } = await ask(port, '/a.txt');
      t.is(status, 500);
      t.false(`${body} ${JSON.stringify(headers)}`.includes(root));
      t.is((await ask(port, '/b.txt')).body.toString(), 'b');
    });
  }
  await withFiles(root, { headers: { 'X-Bad': 'a\r\nb' } }, async (port) => {
    t.is((await ask(port, '/a.txt')).status, 500);
    const request = 'GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
    t.regex(String(await converse(port, Buffer.from(request))), /^HTTP\/1\.1 500 Internal Server Error\r\n/);
  });
});
