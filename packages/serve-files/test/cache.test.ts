/** Files that stay open between requests. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';
import { ask, tree, until, withFiles } from './harness.js';

const openat2 = feature('openat2');
const cacheTest = (openat2.available ? test.serial : test.skip) as TestFn;
if (!openat2.available) test.skip(`files that stay open: ${openat2.reason}`, () => {});

/** Files beneath `root` that this process has open. */
function openBeneath(root: string): string[] {
  const open: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      if (path.startsWith(`${root}/`)) open.push(path.slice(root.length + 1));
    } catch {} // closed meanwhile
  }
  return open.sort();
}

cacheTest('the next request sees whatever has happened to the file', async (t) => {
  const root = tree({ 'a.txt': 'first', 'dir/b.txt': 'b' });
  const path = join(root, 'a.txt');
  const outside = tree({ 'secret.txt': 'SECRET' });
  await withFiles(root, { cache: { files: 10, maxAgeMs: 60_000 } }, async (port) => {
    const body = async (): Promise<string | number> => {
      const answer = await ask(port, '/a.txt');
      return answer.status === 200 ? answer.body.toString() : answer.status;
    };
    t.is(await body(), 'first');
    t.is(await body(), 'first');
    writeFileSync(path, 'secnd'); // in place, of the same size
    t.is(await body(), 'secnd');
    appendFileSync(path, ' and more');
    t.is(await body(), 'secnd and more');
    truncateSync(path, 3);
    t.is(await body(), 'sec');
    writeFileSync(`${path}.new`, 'replaced');
    renameSync(`${path}.new`, path);
    t.is(await body(), 'replaced');
    const { etag } = (await ask(port, '/a.txt')).headers;
    utimesSync(path, 1, 1);
    t.is((await ask(port, '/a.txt', { headers: [`If-None-Match: ${etag}`] })).status, 200);
    rmSync(path);
    t.is(await body(), 404);
    mkdirSync(path);
    t.is(await body(), 301);
    rmSync(path, { recursive: true });
    symlinkSync(join(outside, 'secret.txt'), path);
    t.is(await body(), 404);
    rmSync(path);
    execFileSync('mkfifo', [path]);
    t.is(await body(), 404);
    rmSync(path);
    writeFileSync(path, 'last');
    t.is(await body(), 'last');
  });
});

cacheTest('at most so many files, those used last', async (t) => {
  const root = tree({ a: 'a', b: 'b', c: 'c', d: 'd' });
  await withFiles(root, { cache: { files: 2, maxAgeMs: 60_000 } }, async (port) => {
    for (const name of ['a', 'b', 'c']) await ask(port, `/${name}`);
    await until(() => openBeneath(root).length === 2, 'two files');
    t.deepEqual(openBeneath(root), ['b', 'c']);
    await ask(port, '/b');
    await ask(port, '/d');
    t.deepEqual(openBeneath(root), ['b', 'd']);
  });
});

cacheTest('at most so long, also without another request', async (t) => {
  const root = tree({ a: 'a', b: 'b' });
  await withFiles(root, { cache: { files: 10, maxAgeMs: 2000 } }, async (port) => {
    await ask(port, '/a');
    await ask(port, '/b');
    t.deepEqual(openBeneath(root), ['a', 'b']);
    await until(() => openBeneath(root).length === 0, 'closed by age');
    t.is((await ask(port, '/a')).body.toString(), 'a');
  });
});

cacheTest('a removed file is closed by the next request or by its age, and a body under way is whole', async (t) => {
  const content = Buffer.alloc(3_000_000, 'x');
  const root = tree({ 'big.bin': content });
  await withFiles(root, { cache: { files: 10, maxAgeMs: 300 }, rate: 10_000_000 }, async (port) => {
    const answer = ask(port, '/big.bin');
    await until(() => openBeneath(root).length > 0, 'the body under way');
    rmSync(join(root, 'big.bin'));
    t.is((await ask(port, '/big.bin')).status, 404);
    t.true((await answer).body.equals(content));
    await until(() => openBeneath(root).length === 0, 'closed');
  });
});

cacheTest('without the option nothing stays open', async (t) => {
  const root = tree({ a: 'a' });
  for (const options of [{}, { cache: false as const }]) {
    await withFiles(root, options, async (port) => {
      await ask(port, '/a');
      await until(() => openBeneath(root).length === 0, 'closed');
      t.pass();
    });
  }
});

cacheTest('variants, ranges and conditions of files that stay open', async (t) => {
  const root = tree({ 'a.js': '0123456789', 'a.js.br': 'br' });
  await withFiles(root, { cache: { files: 10, maxAgeMs: 60_000 }, precompressed: true }, async (port) => {
    for (let n = 0; n < 3; n++) {
      const variant = await ask(port, '/a.js', { headers: ['Accept-Encoding: br'] });
      t.is(variant.body.toString(), 'br');
      const direct = await ask(port, '/a.js.br');
      t.is(direct.headers['content-encoding'], undefined);
      t.not(direct.headers.etag, variant.headers.etag, 'one file, two representations');
      t.is((await ask(port, '/a.js', { headers: ['Range: bytes=2-3'] })).body.toString(), '23');
      t.is((await ask(port, '/a.js', { headers: ['If-None-Match: *'] })).status, 304);
    }
    t.deepEqual(openBeneath(root), ['a.js', 'a.js.br']);
  });
});
