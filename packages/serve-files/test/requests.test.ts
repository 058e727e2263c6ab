/** Methods, conditions, single-page fallback: what a request asks for. */
import { utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serveFiles } from '@zerocopy/serve-files';
import test from 'ava';
import { ask, tree, withFiles, withListener } from './harness.js';

const root = tree({ 'a.txt': '0123456789', 'index.html': 'home', 'dir/b.txt': 'b', 'app/index.html': 'app' });

test('GET, HEAD, OPTIONS; other methods are 405 with Allow', (t) =>
  withFiles(root, {}, async (port) => {
    const head = await ask(port, '/a.txt', { method: 'HEAD' });
    const get = await ask(port, '/a.txt');
    t.is(head.status, 200);
    t.is(head.body.length, 0);
    const { date: _get, ...fields } = get.headers;
    const { date: _head, ...headFields } = head.headers;
    t.deepEqual(headFields, fields, 'the same fields');
    for (const target of ['/a.txt', '/nothing', '*']) {
      const options = await ask(port, target, { method: 'OPTIONS' });
      t.is(options.status, 204);
      t.is(options.headers.allow, 'GET, HEAD, OPTIONS');
      t.is(options.body.length, 0);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'PROPFIND', 'TRACE']) {
      const { status, headers } = await ask(port, '/a.txt', { method });
      t.is(status, 405, method);
      t.is(headers.allow, 'GET, HEAD, OPTIONS');
    }
  }));

test('fallthrough: 404, 405 and OPTIONS of what is no file go to next', async (t) => {
  const asks = async (options: { fallthrough?: boolean }, method: string, target: string): Promise<number> => {
    const handler = serveFiles(root, options);
    let status = 0;
    await withListener(
      (request, response) => {
        handler(request, response, () => {
          response.statusCode = 299;
          response.end();
        });
      },
      async (port) => {
        status = (await ask(port, target, { method })).status;
      },
    );
    return status;
  };
  t.is(await asks({}, 'GET', '/a.txt'), 200);
  t.is(await asks({}, 'GET', '/nothing'), 299);
  t.is(await asks({}, 'POST', '/a.txt'), 299);
  t.is(await asks({}, 'OPTIONS', '/nothing'), 299);
  t.is(await asks({}, 'OPTIONS', '/a.txt'), 204);
  t.is(await asks({}, 'OPTIONS', '/dir/'), 204);
  t.is(await asks({}, 'GET', '/%zz'), 400, 'nobody else understands it either');
  t.is(await asks({ fallthrough: false }, 'GET', '/nothing'), 404);
  t.is(await asks({ fallthrough: false }, 'POST', '/a.txt'), 405);
  t.is(await asks({ fallthrough: false }, 'OPTIONS', '/nothing'), 204);
});

test('the entity tag is strong, and tells writes of one size within one second apart', (t) =>
  withFiles(root, {}, async (port) => {
    const path = join(root, 'tagged.txt');
    const tags = new Set<string>();
    for (let n = 0; n < 20; n++) {
      writeFileSync(path, String(n % 10));
      utimesSync(path, 1_000_000_000, 1_000_000_000); // ctime tells them apart
      tags.add((await ask(port, '/tagged.txt')).headers.etag as string);
    }
    t.is(tags.size, 20);
    for (const tag of tags) t.regex(tag, /^"[\w-]{16}"$/);
  }));

test('etag: false, a function, a sidecar file', async (t) => {
  await withFiles(root, { etag: false }, async (port) => {
    const { headers } = await ask(port, '/a.txt');
    t.is(headers.etag, undefined);
    t.is((await ask(port, '/a.txt', { headers: ['If-None-Match: "x"'] })).status, 200);
    t.is((await ask(port, '/a.txt', { headers: ['If-Match: "x"'] })).status, 412);
    t.is((await ask(port, '/a.txt', { headers: ['If-None-Match: *'] })).status, 304);
  });
  const seen: unknown[] = [];
  const own = (path: string, stat: { size: number; mtime: Date }): string | undefined => {
    seen.push([path, stat.size, stat.mtime instanceof Date]);
    return path === '/index.html' ? 'W/"weak"' : path === '/dir/b.txt' ? undefined : 'own';
  };
  await withFiles(root, { etag: own }, async (port) => {
    t.is((await ask(port, '/a.txt')).headers.etag, '"own"');
    t.is((await ask(port, '/')).headers.etag, 'W/"weak"');
    t.is((await ask(port, '/dir/b.txt')).headers.etag, undefined);
    t.deepEqual(seen[0], ['/a.txt', 10, true]);
    t.is((await ask(port, '/', { headers: ['If-Match: W/"weak"'] })).status, 412, 'strong comparison');
  });
  const built = tree({
    'app.js': 'x',
    'app.js.br': 'x',
    'app.js.sha256': 'abc123  app.js\n',
    'other.js': 'x',
    'bad.js': 'x',
    'bad.js.sha256': '"a"b"',
  });
  await withFiles(built, { etag: { sidecar: '.sha256' }, precompressed: true }, async (port) => {
    t.is((await ask(port, '/app.js')).headers.etag, '"abc123"');
    t.is((await ask(port, '/app.js', { headers: ['Accept-Encoding: br'] })).headers.etag, '"abc123-br"');
    t.regex((await ask(port, '/other.js')).headers.etag ?? '', /^"[\w-]{16}"$/);
    t.regex((await ask(port, '/bad.js')).headers.etag ?? '', /^"[\w-]{16}"$/);
  });
});

test('conditions, in the order of RFC 9110', (t) =>
  withFiles(root, {}, async (port) => {
    utimesSync(join(root, 'a.txt'), 1_000_000_000.5, 1_000_000_000.5);
    const { etag = '', 'last-modified': modified = '' } = (await ask(port, '/a.txt')).headers;
    t.is(modified, 'Sun, 09 Sep 2001 01:46:40 GMT');
    const before = 'Sun, 09 Sep 2001 01:46:39 GMT';
    const after = 'Sun, 09 Sep 2001 01:46:41 GMT';
    const cases: readonly (readonly [status: number, ...headers: string[]])[] = [
      [304, `If-None-Match: ${etag}`],
      [304, `If-None-Match: W/${etag}`],
      [304, `If-None-Match: "x", W/"y" , ${etag}`],
      [304, 'If-None-Match: "x"', `If-None-Match: ${etag}`],
      [304, 'If-None-Match: *'],
      [304, `If-None-Match: "x,y", ${etag}`],
      [200, 'If-None-Match: "x"'],
      [200, 'If-None-Match: nonsense'],
      [200, `If-None-Match: ${etag.slice(0, -1)}x"`],
      [304, `If-Modified-Since: ${modified}`],
      [304, `If-Modified-Since: ${after}`],
      [304, 'If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT'],
      [304, 'If-Modified-Since: Sun Sep  9 01:46:40 2001'],
      [200, `If-Modified-Since: ${before}`],
      [200, 'If-Modified-Since: nonsense'],
      [200, 'If-Modified-Since: 2001-09-09T01:46:41Z'],
      [200, 'If-None-Match: "x"', `If-Modified-Since: ${after}`],
      [304, `If-None-Match: ${etag}`, `If-Modified-Since: ${before}`],
      [200, `If-Match: ${etag}`],
      [200, 'If-Match: *'],
      [200, `If-Match: "x", ${etag}`],
      [412, `If-Match: W/${etag}`],
      [412, 'If-Match: "x"'],
      [412, 'If-Match: "x"', `If-Unmodified-Since: ${after}`],
      [200, `If-Match: ${etag}`, `If-Unmodified-Since: ${before}`],
      [200, `If-Unmodified-Since: ${modified}`],
      [412, `If-Unmodified-Since: ${before}`],
      [200, 'If-Unmodified-Since: nonsense'],
      [412, 'If-Match: "x"', `If-None-Match: ${etag}`],
      [304, `If-Match: ${etag}`, `If-None-Match: ${etag}`],
      [412, `If-Unmodified-Since: ${before}`, `If-None-Match: ${etag}`],
      [304, `If-None-Match: ${etag}`, 'Range: bytes=0-1'],
      [412, 'If-Match: "x"', 'Range: bytes=0-1'],
    ];
    for (const method of ['GET', 'HEAD']) {
      for (const [status, ...headers] of cases) {
        const answer = await ask(port, '/a.txt', { method, headers });
        const ranged = headers.some((line) => line.startsWith('Range')) && status === 200;
        t.is(answer.status, ranged ? 206 : status, `${method} ${headers.join(' | ')}`);
      }
    }
  }));

test('a date is never later than now, and sub-seconds do not make it new', async (t) => {
  const future = Date.now() / 1000 + 1e6;
  utimesSync(join(root, 'index.html'), future, future);
  await withFiles(root, {}, async (port) => {
    const { headers } = await ask(port, '/index.html');
    t.true(Date.parse(headers['last-modified'] ?? '') <= Date.now());
  });
});

test('a 304 has the fields that may have changed, and none of the body', async (t) => {
  const options = {
    cacheControl: 'max-age=60',
    precompressed: true,
    cors: true,
    headers: {
      Expires: 'Thu, 01 Jan 2099 00:00:00 GMT',
      'Content-Language': 'en',
      'Content-Location': '/c',
      Vary: 'Cookie',
    },
  };
  const site = tree({ 'a.js': 'x', 'a.js.gz': 'x' });
  await withFiles(site, options, async (port) => {
    const { etag, 'last-modified': modified } = (await ask(port, '/a.js')).headers;
    const { status, headers, body } = await ask(port, '/a.js', { headers: [`If-None-Match: ${etag}`] });
    t.is(status, 304);
    t.is(body.length, 0);
    t.is(headers.etag, etag);
    t.is(headers['last-modified'], modified);
    t.is(headers['cache-control'], 'max-age=60');
    t.is(headers.expires, 'Thu, 01 Jan 2099 00:00:00 GMT');
    t.is(headers['content-location'], '/c');
    t.is(headers.vary, 'Accept-Encoding, Cookie');
    t.is(headers['x-content-type-options'], 'nosniff');
    for (const name of ['content-type', 'content-length', 'content-encoding', 'content-language', 'accept-ranges']) {
      t.is(headers[name], undefined, name);
    }
  });
});

test('fallback: navigations only, and never for what has an extension', (t) =>
  withFiles(root, { fallback: 'app/index.html' }, async (port) => {
    const html = { headers: ['Accept: text/html,application/xhtml+xml,*/*;q=0.8'] };
    for (const target of ['/users/1', '/users/', '/dir/', '/deep/er/and/deeper', '/dir/nothing']) {
      const { status, body, headers } = await ask(port, target, html);
      t.is(status, 200, target);
      t.is(body.toString(), 'app');
      t.is(headers['content-type'], 'text/html; charset=utf-8');
    }
    t.is((await ask(port, '/a.txt', html)).body.toString(), '0123456789', 'what exists goes first');
    t.is((await ask(port, '/missing.js', html)).status, 404);
    t.is((await ask(port, '/assets/logo.v2.png', html)).status, 404);
    t.is((await ask(port, '/.env', html)).status, 404);
    t.is((await ask(port, '/users/1')).status, 404, 'no Accept');
    t.is((await ask(port, '/users/1', { headers: ['Accept: */*'] })).status, 404);
    t.is((await ask(port, '/users/1', { headers: ['Accept: application/json'] })).status, 404);
    t.is((await ask(port, '/users/1', { headers: ['Accept: text/html;q=0'] })).status, 404);
    t.is((await ask(port, '/users/1', { method: 'HEAD', ...html })).status, 200);
    t.is((await ask(port, '/users/1', { method: 'POST', ...html })).status, 405);
  }));
