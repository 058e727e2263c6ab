/** Without openat2(2): the same answers by other means. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { confinementCases } from './confinement-cases.js';
import { ask, openDescriptors, tree, until, withFiles } from './harness.js';

process.env.ZEROCOPY_DISABLE = 'openat2';
confinementCases();

test('files, directories, variants, ranges and validators are served as ever', (t) =>
  withFiles(
    tree({ 'a.txt': '0123456789', 'a.txt.gz': 'gz', 'dir/index.html': 'index' }),
    { precompressed: true, cache: { files: 10, maxAgeMs: 1000 }, listing: true },
    async (port) => {
      const whole = await ask(port, '/a.txt');
      t.is(whole.body.toString(), '0123456789');
      t.is((await ask(port, '/a.txt', { headers: [`If-None-Match: ${whole.headers.etag}`] })).status, 304);
      t.is((await ask(port, '/a.txt', { headers: ['Range: bytes=2-3'] })).body.toString(), '23');
      t.is((await ask(port, '/a.txt', { headers: ['Accept-Encoding: gzip'] })).body.toString(), 'gz');
      t.is((await ask(port, '/dir')).status, 301);
      t.is((await ask(port, '/dir/')).body.toString(), 'index');
      t.is((await ask(port, '/a.txt/')).status, 404);
      t.regex((await ask(port, '/')).body.toString(), /a\.txt/);
    },
  ));

test('a FIFO is 404 and delays nobody; devices are 404', async (t) => {
  const root = tree({ 'a.txt': 'a' });
  execFileSync('mkfifo', [join(root, 'fifo')]);
  await withFiles(root, {}, async (port) => {
    for (let n = 0; n < 8; n++) t.is((await ask(port, '/fifo')).status, 404);
    t.is((await ask(port, '/a.txt')).status, 200);
  });
  await withFiles('/dev', {}, async (port) => {
    t.is((await ask(port, '/null')).status, 404);
  });
});

test('no descriptor stays open', async (t) => {
  closeSync(openSync('/dev/null', 'r'));
  await withFiles(tree({ 'a.txt': 'a' }), {}, async (port) => {
    await ask(port, '/a.txt');
    const before = openDescriptors();
    for (let n = 0; n < 20; n++) await ask(port, n % 2 === 0 ? '/a.txt' : '/nothing');
    await until(() => openDescriptors() <= before, 'no descriptor left');
    t.pass();
  });
});
