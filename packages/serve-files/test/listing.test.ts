/** Listings, as a page and as JSON. */
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ask, tree, withFiles } from './harness.js';

const root = tree({
  'list/b.txt': 'bb',
  'list/a10.txt': 'a'.repeat(2_500_000),
  'list/a9.txt': 'a',
  'list/.hidden': 'x',
  'list/<img src=x onerror=alert(1)>.txt': 'x',
  'list/a&b "c" \'d\'.txt': 'x',
  'list/javascript:alert(1)': 'x',
  'list/100%#?.txt': 'x',
  'list/sub/x': 'x',
  'indexed/index.html': 'index',
});
utimesSync(join(root, 'list/b.txt'), 1_000_000_000, 1_000_000_000);
const json = { headers: ['Accept: application/json'] };

interface Json {
  readonly path: string;
  readonly entries: readonly { name: string; type: string; size?: number; modified: string }[];
  readonly truncated: boolean;
}
const parse = (body: Buffer): Json => JSON.parse(body.toString()) as Json;

test('off by default, and never where there is an index', async (t) => {
  await withFiles(root, {}, async (port) => {
    t.is((await ask(port, '/list/')).status, 404);
  });
  await withFiles(root, { listing: true }, async (port) => {
    t.is((await ask(port, '/indexed/')).body.toString(), 'index');
    t.is((await ask(port, '/list')).headers.location, '/list/');
    t.is((await ask(port, '/nothing/')).status, 404);
    t.is((await ask(port, '/list/b.txt/')).status, 404);
  });
});

test('JSON: names, types, sizes, dates; directories first; sorted as people count', (t) =>
  withFiles(root, { listing: true }, async (port) => {
    const { status, headers, body } = await ask(port, '/list/', json);
    t.is(status, 200);
    t.is(headers['content-type'], 'application/json; charset=utf-8');
    t.is(headers['content-length'], String(body.length));
    t.regex(headers.vary ?? '', /Accept/);
    const { path, entries, truncated } = parse(body);
    t.is(path, '/list');
    t.false(truncated);
    const names = entries.map(({ name }) => name);
    t.deepEqual(entries[0]?.type, 'directory');
    t.true(names.indexOf('a9.txt') < names.indexOf('a10.txt'));
    t.false(names.includes('.hidden'));
    t.deepEqual(
      entries.find(({ name }) => name === 'b.txt'),
      {
        name: 'b.txt',
        type: 'file',
        size: 2,
        modified: '2001-09-09T01:46:40.000Z',
      },
    );
    const sorted = async (query: string): Promise<string[]> =>
      parse((await ask(port, `/list/?${query}`, json)).body).entries.map(({ name }) => name);
    t.is((await sorted('sort=size&order=desc'))[1], 'a10.txt');
    t.is((await sorted('sort=modified'))[1], 'b.txt');
    t.deepEqual((await sorted('order=desc')).slice(1), names.slice(1).reverse());
    t.deepEqual(await sorted('sort=nonsense&order=%zz'), names);
  }));

test('dotfiles are listed where they are served', (t) =>
  withFiles(root, { listing: true, dotfiles: 'serve' }, async (port) => {
    t.true(parse((await ask(port, '/list/', json)).body).entries.some(({ name }) => name === '.hidden'));
  }));

test('HTML: escaped, relative links that lead to the files, no script', (t) =>
  withFiles(root, { listing: true }, async (port) => {
    const { headers, body } = await ask(port, '/list/', { headers: ['Accept: text/html'] });
    const html = body.toString();
    t.is(headers['content-type'], 'text/html; charset=utf-8');
    t.regex(headers['content-security-policy'] ?? '', /default-src 'none'/);
    t.false(html.includes('<img'));
    t.false(/<script/i.test(html));
    t.regex(html, /&lt;img src=x onerror=alert\(1\)&gt;\.txt/);
    const links = [...html.matchAll(/<a href="([^"]+)"/g)].map(([, link]) => link?.replaceAll('&#39;', "'") as string);
    const files = links.filter((link) => link.startsWith('./'));
    t.is(files.length, 8);
    for (const link of links) t.regex(link, /^(\.\/|\.\.\/|\?)/, 'relative');
    for (const link of files) {
      const { pathname } = new URL(link, 'http://h/list/');
      t.is((await ask(port, pathname)).status, 200, link);
    }
    const head = await ask(port, '/list/', { method: 'HEAD' });
    t.is(head.headers['content-length'], String((await ask(port, '/list/')).body.length));
    t.is(head.body.length, 0);
  }));

test('the reader’s language, without trusting it', (t) =>
  withFiles(root, { listing: true }, async (port) => {
    const html = async (language: string): Promise<string> =>
      (await ask(port, '/list/', { headers: [`Accept-Language: ${language}`] })).body.toString();
    t.regex(await html('en'), /2\.5\sMB/);
    t.regex(await html('de-DE, en;q=0.5'), /2,5\sMB/);
    for (const language of ['*', 'x-nonsense', 'en_US', '"><script>', 'zz-ZZ-zzzzzzzzzzzzzzz', ';;;']) {
      t.regex(await html(language), /2\.5\sMB/, language);
    }
  }));

test('the preferred form; neither is 406', (t) =>
  withFiles(root, { listing: true }, async (port) => {
    const type = async (accept: string): Promise<string | undefined> =>
      (await ask(port, '/list/', { headers: [`Accept: ${accept}`] })).headers['content-type'];
    t.regex((await type('*/*')) ?? '', /^text\/html/);
    t.regex((await type('application/json, text/html;q=0.5')) ?? '', /^application\/json/);
    t.regex((await type('application/*')) ?? '', /^application\/json/);
    t.is((await ask(port, '/list/', { headers: ['Accept: image/png'] })).status, 406);
  }));

test('bounded', async (t) => {
  const site = tree({});
  mkdirSync(join(site, 'many'));
  for (let n = 0; n < 2100; n++) writeFileSync(join(site, 'many', `f${n}`), '');
  await withFiles(site, { listing: true }, async (port) => {
    const { entries, truncated } = parse((await ask(port, '/many/', json)).body);
    t.is(entries.length, 2000);
    t.true(truncated);
    t.regex((await ask(port, '/many/')).body.toString(), /there are more/);
  });
});
