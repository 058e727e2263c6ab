/** Types, caching, presets, variants, downloads. */
import { serveFiles } from '@zerocopy/serve-files';
import test from 'ava';
import { ask, tree, withFiles, withListener } from './harness.js';

const root = tree({
  'index.html': 'home',
  'index.html.gz': 'home gz',
  'a.txt': 'a',
  'app.js': 'app',
  'app.js.br': 'app br',
  'app.js.gz': 'app gz',
  'app.js.zst': 'app zst',
  'only-gz.css': 'css',
  'only-gz.css.gz': 'css gz',
  'plain.css': 'plain',
  'archive.tar.gz': 'archive',
  'dir/index.html': 'dir',
  'dir/index.html.br': 'dir br',
});

test('types: the table of mime-types, UTF-8 for text, nosniff always', (t) => {
  const types: Readonly<Record<string, string>> = {
    'a.html': 'text/html; charset=utf-8',
    'a.HTML': 'text/html; charset=utf-8',
    'a.txt': 'text/plain; charset=utf-8',
    'a.css': 'text/css; charset=utf-8',
    'a.js': 'text/javascript; charset=utf-8',
    'a.mjs': 'text/javascript; charset=utf-8',
    'a.json': 'application/json; charset=utf-8',
    'a.map': 'application/json; charset=utf-8',
    'a.webmanifest': 'application/manifest+json; charset=utf-8',
    'a.xml': 'application/xml; charset=utf-8',
    'a.svg': 'image/svg+xml; charset=utf-8',
    'a.atom': 'application/atom+xml; charset=utf-8',
    'a.wasm': 'application/wasm',
    'a.png': 'image/png',
    'a.woff2': 'font/woff2',
    'a.mp4': 'video/mp4',
    'a.gz': 'application/gzip',
    'a.unknown-ext': 'application/octet-stream',
    LICENSE: 'application/octet-stream',
    'a.': 'application/octet-stream',
    html: 'application/octet-stream',
  };
  const site = tree(Object.fromEntries(Object.keys(types).map((name) => [name, 'x'])));
  return withFiles(site, {}, async (port) => {
    for (const [name, type] of Object.entries(types)) {
      const { headers } = await ask(port, `/${name}`);
      t.is(headers['content-type'], type, name);
      t.is(headers['x-content-type-options'], 'nosniff');
    }
    t.is((await ask(port, '/nothing')).headers['x-content-type-options'], 'nosniff');
  });
});

test('types of one’s own', async (t) => {
  const site = tree({ 'a.txt': 'x', 'b.MD': 'x', 'c.foo': 'x', LICENSE: 'x', 'd.constructor': 'x' });
  await withFiles(site, { types: { '.md': 'text/markdown', foo: 'text/html; charset=latin1' } }, async (port) => {
    t.is((await ask(port, '/a.txt')).headers['content-type'], 'text/plain; charset=utf-8');
    t.is((await ask(port, '/b.MD')).headers['content-type'], 'text/markdown; charset=utf-8');
    t.is((await ask(port, '/c.foo')).headers['content-type'], 'text/html; charset=latin1');
    t.is((await ask(port, '/d.constructor')).headers['content-type'], 'application/octet-stream');
  });
  const byName = (path: string): string | undefined => (path === '/LICENSE' ? 'text/plain' : undefined);
  await withFiles(site, { types: byName }, async (port) => {
    t.is((await ask(port, '/LICENSE')).headers['content-type'], 'text/plain; charset=utf-8');
    t.is((await ask(port, '/b.MD')).headers['content-type'], 'text/markdown; charset=utf-8');
  });
});

test('precompressed variants are chosen by Accept-Encoding', (t) =>
  withFiles(root, { precompressed: true }, async (port) => {
    const cases: readonly (readonly [accept: string | undefined, encoding: string | undefined])[] = [
      [undefined, undefined],
      ['', undefined],
      ['gzip', 'gzip'],
      ['GZIP', 'gzip'],
      ['x, gzip', 'gzip'],
      ['gzip, br', 'br'],
      ['gzip, br, zstd', 'zstd'],
      ['gzip;q=1, br;q=0.5', 'gzip'],
      ['gzip;q=0', undefined],
      ['br;q=0, gzip', 'gzip'],
      ['*', 'zstd'],
      ['*;q=0', undefined],
      ['zstd;q=0, *', 'br'],
      ['gzip;q=0.5, identity', undefined],
      ['gzip;q=0.5, identity;q=0.1', 'gzip'],
      ['identity', undefined],
      ['deflate', undefined],
      ['br;q=0.000', undefined],
    ];
    for (const [accept, encoding] of cases) {
      const headers = accept === undefined ? [] : [`Accept-Encoding: ${accept}`];
      const answer = await ask(port, '/app.js', { headers });
      t.is(answer.headers['content-encoding'], encoding, accept);
      const suffix =
        encoding === undefined ? '' : ` ${encoding === 'gzip' ? 'gz' : encoding === 'zstd' ? 'zst' : encoding}`;
      t.is(answer.body.toString(), `app${suffix}`, accept);
      t.is(answer.headers['content-type'], 'text/javascript; charset=utf-8');
      t.is(answer.headers.vary, 'Accept-Encoding', accept);
    }
  }));

test('a missing variant falls to the next; index and redirect work; each has a tag of its own', (t) =>
  withFiles(root, { precompressed: true }, async (port) => {
    const all = { headers: ['Accept-Encoding: gzip, br, zstd'] };
    t.is((await ask(port, '/only-gz.css', all)).body.toString(), 'css gz');
    const plain = await ask(port, '/plain.css', all);
    t.is(plain.headers['content-encoding'], undefined);
    t.is(plain.headers.vary, undefined);
    t.is((await ask(port, '/only-gz.css')).headers.vary, 'Accept-Encoding', 'also of the file itself');
    t.is((await ask(port, '/', all)).body.toString(), 'home gz');
    t.is((await ask(port, '/', all)).headers['content-type'], 'text/html; charset=utf-8');
    t.is((await ask(port, '/dir', all)).status, 301);
    t.is((await ask(port, '/dir/', all)).body.toString(), 'dir br');
    const tags = new Set<string | undefined>();
    for (const encoding of ['identity', 'gzip', 'br', 'zstd']) {
      const { etag } = (await ask(port, '/app.js', { headers: [`Accept-Encoding: ${encoding}`] })).headers;
      tags.add(etag);
      const again = { headers: [`Accept-Encoding: ${encoding}`, `If-None-Match: ${etag}`] };
      t.is((await ask(port, '/app.js', again)).status, 304);
      t.is((await ask(port, '/app.js', again)).headers.vary, 'Accept-Encoding');
    }
    t.is(tags.size, 4);
  }));

test('precompressed: an order of one’s own, and none by default', async (t) => {
  await withFiles(root, { precompressed: ['gzip', 'br'] }, async (port) => {
    t.is((await ask(port, '/app.js', { headers: ['Accept-Encoding: br, gzip, zstd'] })).body.toString(), 'app gz');
    t.is((await ask(port, '/app.js', { headers: ['Accept-Encoding: zstd'] })).body.toString(), 'app');
  });
  await withFiles(root, {}, async (port) => {
    const { headers, body } = await ask(port, '/app.js', { headers: ['Accept-Encoding: br'] });
    t.is(body.toString(), 'app');
    t.is(headers.vary, undefined);
  });
});

test('ranges are of the file itself', (t) =>
  withFiles(root, { precompressed: true }, async (port) => {
    const headers = ['Accept-Encoding: gzip, br', 'Range: bytes=0-1'];
    const answer = await ask(port, '/app.js', { headers });
    t.is(answer.status, 206);
    t.is(answer.body.toString(), 'ap');
    t.is(answer.headers['content-encoding'], undefined);
    t.is(answer.headers['content-range'], 'bytes 0-1/3');
    t.is(answer.headers.vary, 'Accept-Encoding');
    const nonsense = await ask(port, '/app.js', { headers: ['Accept-Encoding: br', 'Range: bytes=abc'] });
    t.is(nonsense.headers['content-encoding'], 'br', 'what is no range is not there');
    const { etag } = (await ask(port, '/app.js', { headers: ['Accept-Encoding: br'] })).headers;
    const resumed = await ask(port, '/app.js', { headers: [...headers, `If-Range: ${etag}`] });
    t.is(resumed.status, 200, 'the tag of a variant is not that of the file');
    t.is(resumed.body.toString(), 'app');
  }));

test('a compressed file that is asked for itself is no encoding of another', (t) =>
  withFiles(root, { precompressed: true }, async (port) => {
    for (const target of ['/app.js.gz', '/archive.tar.gz']) {
      const { headers } = await ask(port, target, { headers: ['Accept-Encoding: gzip'] });
      t.is(headers['content-type'], 'application/gzip');
      t.is(headers['content-encoding'], undefined);
    }
  }));

test('Vary is added to, and a program’s own fields stay', async (t) => {
  const handler = serveFiles(root, { precompressed: true, cacheControl: 'max-age=1' });
  await withListener(
    (request, response) => {
      response.setHeader('Vary', 'Origin');
      response.setHeader('X-Own', '1');
      response.setHeader('Cache-Control', 'private');
      response.setHeader('Content-Type', 'text/own');
      response.setHeader('Content-Length', '99999');
      response.setHeader('ETag', '"wrong"');
      handler(request, response);
    },
    async (port) => {
      const { headers, body } = await ask(port, '/app.js');
      t.is(body.toString(), 'app');
      t.is(headers.vary, 'Origin, Accept-Encoding');
      t.is(headers['x-own'], '1');
      t.is(headers['cache-control'], 'private');
      t.is(headers['content-type'], 'text/own');
      t.is(headers['content-length'], '3');
      t.not(headers.etag, '"wrong"');
      const fresh = await ask(port, '/app.js', { headers: [`If-None-Match: ${headers.etag}`] });
      t.is(fresh.status, 304);
      t.is(fresh.headers['content-type'], undefined);
      t.is(fresh.headers['content-length'], undefined);
      t.is(fresh.headers.vary, 'Origin, Accept-Encoding');
      const beyond = await ask(port, '/app.js', { headers: ['Range: bytes=50-'] });
      t.is(beyond.status, 416);
      t.is(beyond.headers['content-type'], undefined);
      t.is(beyond.headers['cache-control'], undefined);
    },
  );
});

test('cacheControl: a string, a function; immutable names', async (t) => {
  const site = tree({
    'index.html': 'x',
    'assets/index-Bv3xJ0ka.js': 'x',
    'main.3f2a1b9c.css': 'x',
    'my-component.js': 'x',
  });
  const control = async (options: Parameters<typeof serveFiles>[1], target: string): Promise<string | undefined> => {
    let value: string | undefined;
    await withFiles(site, options ?? {}, async (port) => {
      value = (await ask(port, target)).headers['cache-control'];
    });
    return value;
  };
  t.is(await control({}, '/'), undefined);
  t.is(await control({ cacheControl: 'no-store' }, '/'), 'no-store');
  const byPath = (path: string, stat: { size: number }): string | undefined =>
    path.endsWith('.html') ? `max-age=${stat.size}` : undefined;
  t.is(await control({ cacheControl: byPath }, '/'), 'max-age=1');
  t.is(await control({ cacheControl: byPath }, '/my-component.js'), undefined);
  const forever = 'public, max-age=31536000, immutable';
  t.is(await control({ immutable: true }, '/assets/index-Bv3xJ0ka.js'), forever);
  t.is(await control({ immutable: true }, '/main.3f2a1b9c.css'), forever);
  t.is(await control({ immutable: true }, '/my-component.js'), 'no-cache');
  t.is(await control({ immutable: true }, '/'), 'no-cache');
  t.is(await control({ immutable: true, cacheControl: 'max-age=5' }, '/'), 'max-age=5');
  t.is(await control({ immutable: /^\/assets\//g }, '/assets/index-Bv3xJ0ka.js'), forever);
  t.is(await control({ immutable: (path) => path === '/index.html' }, '/'), forever);
});

test('headers: an object, a function, presets', async (t) => {
  const headers = (path: string, stat: { mtimeMs: number }): Record<string, string | string[]> => ({
    'X-Path': path,
    'X-Age': String(stat.mtimeMs > 0),
    'Set-Cookie': ['a=1', 'b=2'],
    'content-type': 'text/own',
    'Content-Length': '1',
    'Content-Encoding': 'br',
    'Transfer-Encoding': 'chunked',
  });
  await withFiles(root, { headers, cors: true, corp: true, isolate: true }, async (port) => {
    const answer = await ask(port, '/app.js');
    t.is(answer.headers['x-path'], '/app.js');
    t.is(answer.headers['x-age'], 'true');
    t.is(answer.headers['set-cookie'], 'a=1, b=2');
    t.is(answer.headers['content-type'], 'text/own');
    t.is(answer.headers['content-length'], '3', 'what frames the body is not theirs');
    t.is(answer.headers['content-encoding'], undefined);
    t.is(answer.headers['transfer-encoding'], undefined);
    t.is(answer.headers['access-control-allow-origin'], '*');
    t.is(answer.headers['cross-origin-resource-policy'], 'cross-origin');
    t.is(answer.headers['cross-origin-opener-policy'], 'same-origin');
    t.is(answer.headers['cross-origin-embedder-policy'], 'require-corp');
    const preflight = await ask(port, '/app.js', { method: 'OPTIONS' });
    t.is(preflight.headers['access-control-allow-origin'], '*');
    t.regex(preflight.headers['access-control-allow-headers'] ?? '', /Range/);
  });
  await withFiles(root, { headers: { 'X-A': 1 }, cors: 'https://a.example', corp: 'same-site' }, async (port) => {
    const answer = await ask(port, '/a.txt');
    t.is(answer.headers['x-a'], '1');
    t.is(answer.headers['access-control-allow-origin'], 'https://a.example');
    t.is(answer.headers['cross-origin-resource-policy'], 'same-site');
  });
});

test('download: names of any characters', async (t) => {
  const site = tree({ 'plain.txt': 'x', 'naïve "quoted".txt': 'x', '名前.txt': 'x' });
  await withFiles(site, { download: true }, async (port) => {
    const named = async (name: string): Promise<string | undefined> =>
      (await ask(port, `/${encodeURIComponent(name)}`)).headers['content-disposition'];
    t.is(await named('plain.txt'), 'attachment; filename=plain.txt');
    t.regex((await named('naïve "quoted".txt')) ?? '', /^attachment; filename="/);
    t.regex((await named('名前.txt')) ?? '', /filename\*=UTF-8''%E5%90%8D%E5%89%8D\.txt/);
  });
  await withFiles(site, { download: 'report.txt' }, async (port) => {
    t.is((await ask(port, '/plain.txt')).headers['content-disposition'], 'attachment; filename=report.txt');
  });
  await withFiles(site, { download: (path) => path === '/plain.txt' && 'a\r\nX-Evil: 1.txt' }, async (port) => {
    const { status, headers } = await ask(port, '/plain.txt');
    t.is(headers['x-evil'], undefined);
    t.true(status === 200 || status === 500);
    t.is((await ask(port, '/%E5%90%8D%E5%89%8D.txt')).headers['content-disposition'], undefined);
  });
});
