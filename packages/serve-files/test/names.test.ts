/** From the request target to a file: names, dotfiles, redirects. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { plan, serveFiles } from '@zerocopy/serve-files';
import test from 'ava';
import { ask, tree, withFiles, withListener } from './harness.js';

const root = tree({
  'a.txt': 'a',
  'with space.txt': 'space',
  'a#b.txt': 'hash',
  'a?b.txt': 'question mark',
  '100%.txt': 'percent',
  '%41.txt': 'not decoded twice',
  'back\\slash.txt': 'backslash',
  'é.txt': 'e acute',
  '名前.txt': 'name',
  'emoji 🎉.txt': 'party',
  'plus+plus.txt': 'plus',
  'semi;colon&amp.txt': 'semicolon',
  'dir/index.html': 'index of dir',
  'dir/deep/file.txt': 'deep',
  'dir with space/index.html': 'index with space',
  '.env': 'SECRET',
  '.git/config': 'SECRET',
  'dir/.hidden/file.txt': 'SECRET',
  '.well-known/security.txt': 'well known',
  '.well-known/.secret': 'SECRET',
  '...': 'three dots',
  'index.html': 'home',
});
mkdirSync(join(root, 'empty'));

test('names are decoded exactly once: #, %, spaces, any character', (t) =>
  withFiles(root, {}, async (port) => {
    const names = ['with space.txt', 'a#b.txt', 'a?b.txt', '100%.txt', '%41.txt', 'é.txt', '名前.txt', 'emoji 🎉.txt'];
    for (const name of [...names, 'plus+plus.txt', 'semi;colon&amp.txt', 'back\\slash.txt']) {
      t.is((await ask(port, `/${encodeURIComponent(name)}`)).status, 200, name);
    }
    t.is((await ask(port, '/%2541.txt')).body.toString(), 'not decoded twice');
    t.is((await ask(port, '/%41.txt')).status, 404, 'A.txt');
    t.is((await ask(port, '/plus+plus.txt')).body.toString(), 'plus');
    t.is((await ask(port, '/back\\slash.txt')).body.toString(), 'backslash', 'a backslash is a character');
    t.is((await ask(port, '/a.txt?query#fragment')).body.toString(), 'a');
    t.is((await ask(port, '/a.txt#fragment')).body.toString(), 'a');
    for (const url of ['/名前.txt', `/${Buffer.from('名前.txt').toString('latin1')}`]) {
      using raw = await plan({ url }, root); // node:http itself refuses raw bytes above 127
      t.is(raw.status, 200, url);
    }
    t.is((await ask(port, 'http://some.host/a.txt?q')).body.toString(), 'a', 'the absolute form');
    t.is((await ask(port, '/dir//deep///file.txt')).body.toString(), 'deep', 'several slashes are one');
    t.is((await ask(port, '/dir%2Fdeep%2ffile.txt')).body.toString(), 'deep', 'an encoded slash is a slash');
  }));

test('NUL, a bad % and bad UTF-8 are 400', (t) =>
  withFiles(root, {}, async (port) => {
    const bad = [
      '/%00',
      '/a.txt%00',
      '/a%00.txt',
      '/%',
      '/%4',
      '/%zz',
      '/a.txt%',
      '/%ff',
      '/%c3',
      '/%c0%af',
      '/%ed%a0%80',
    ];
    for (const target of [...bad, '/%f5%80%80%80', '/\xff', '/dir/%80/'])
      t.is((await ask(port, target)).status, 400, target);
  }));

test('ENOTDIR, ENAMETOOLONG and names that cannot be are 404', (t) =>
  withFiles(root, {}, async (port) => {
    const targets = [
      '/a.txt/b',
      '/a.txt/',
      '/a.txt/..',
      `/${'x'.repeat(300)}`,
      `/${'x'.repeat(5000)}`,
      `/${'d/'.repeat(3000)}x`,
    ];
    for (const target of [...targets, '/nothing', '/nothing/', '/empty/', '/a.txt%2F']) {
      t.is((await ask(port, target)).status, 404, target.slice(0, 40));
    }
  }));

test('nothing leads out of the root by dots', (t) =>
  withFiles(join(root, 'dir'), {}, async (port) => {
    const targets = [
      '/../a.txt',
      '/deep/../../a.txt',
      '/%2e%2e/a.txt',
      '/..%2fa.txt',
      '/%2e%2e%2fa.txt',
      '/./file',
      '/..',
    ];
    for (const target of [...targets, '/deep/..', '/.', '//../a.txt', '/..\\a.txt', '/%5c..%5ca.txt', '/....//a.txt']) {
      const { status, body } = await ask(port, target);
      t.is(status, 404, target);
      t.false(body.toString().includes('SECRET'));
    }
  }));

test('dotfiles are 404, .well-known is served; both can be chosen', async (t) => {
  const hidden = [
    '/.env',
    '/.git/config',
    '/.git/',
    '/.git',
    '/dir/.hidden/file.txt',
    '/.well-known/.secret',
    '/%2eenv',
    '/...',
  ];
  await withFiles(root, {}, async (port) => {
    for (const target of hidden) t.is((await ask(port, target)).status, 404, target);
    t.is((await ask(port, '/.well-known/security.txt')).body.toString(), 'well known');
  });
  await withFiles(root, { dotfiles: 'serve' }, async (port) => {
    t.is((await ask(port, '/.env')).status, 200);
    t.is((await ask(port, '/.git/config')).status, 200);
    t.is((await ask(port, '/...')).body.toString(), 'three dots');
    t.is((await ask(port, '/..')).status, 404);
  });
});

test('a directory without its slash is redirected, with the query', (t) =>
  withFiles(root, {}, async (port) => {
    const { status, headers } = await ask(port, '/dir?a=b&c=%20d');
    t.is(status, 301);
    t.is(headers.location, '/dir/?a=b&c=%20d');
    t.is((await ask(port, '/dir%20with%20space')).headers.location, '/dir%20with%20space/');
    t.is((await ask(port, '/dir/')).body.toString(), 'index of dir');
    t.is((await ask(port, '/')).body.toString(), 'home');
    t.is((await ask(port, '/empty')).headers.location, '/empty/');
  }));

test('a redirect never names a host', async (t) => {
  const inner = tree({ 'evil.com/index.html': 'x', 'a b/index.html': 'x' });
  await withFiles(inner, {}, async (port) => {
    for (const target of ['//evil.com', '///evil.com', '/%2fevil.com', '/%2F%2Fevil.com']) {
      const { status, headers } = await ask(port, target);
      t.is(status, 301, target);
      const location = headers.location as string;
      t.regex(location, /^\/[^/\\]/, target);
      t.is(new URL(location, 'http://origin.example/x').host, 'origin.example');
    }
    const raw = await ask(port, '/\\evil.com');
    t.is(raw.status, 404, 'there is no such name');
  });
  const named = tree({ '\\evil.com/index.html': 'x' });
  await withFiles(named, {}, async (port) => {
    t.is((await ask(port, '/\\evil.com')).headers.location, '/%5Cevil.com/');
  });
});

test('redirect: false answers 404; index: false and other names', async (t) => {
  await withFiles(root, { redirect: false }, async (port) => {
    t.is((await ask(port, '/dir')).status, 404);
    t.is((await ask(port, '/dir/')).status, 200);
  });
  await withFiles(root, { index: false }, async (port) => {
    t.is((await ask(port, '/dir/')).status, 404);
    t.is((await ask(port, '/dir/index.html')).status, 200);
  });
  await withFiles(root, { index: ['none.html', 'a.txt'] }, async (port) => {
    t.is((await ask(port, '/')).body.toString(), 'a');
    t.is((await ask(port, '/dir/')).status, 404);
  });
});

test('mounted, a directory is redirected to where it is mounted', async (t) => {
  const handler = serveFiles(root);
  await withListener(
    (request, response) => {
      const { url = '/' } = request;
      Object.assign(request, { originalUrl: url });
      request.url = url.replace(/^\/static/, '') || '/';
      handler(request, response);
    },
    async (port) => {
      t.is((await ask(port, '/static/dir?q')).headers.location, '/static/dir/?q');
      t.is((await ask(port, '/static?q')).headers.location, '/static/?q');
      t.is((await ask(port, '/static/')).body.toString(), 'home');
    },
  );
});
