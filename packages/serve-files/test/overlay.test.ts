/** overlayfs, as in containers: its layers may be anything, so the pool opens its files. The answers are those of any other. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SentInfo } from '@zerocopy/serve-files';
import test from 'ava';
import { ask, KiB, openDescriptors, pattern, temporaryDirectory, tree, until, withFiles } from './harness.js';

const CONTENT = pattern(1000 * KiB);

interface Overlay {
  readonly merged: string;
  unmount(): void;
}

/** Why there is none here, or one whose lower layer holds the files. */
function overlay(files: Readonly<Record<string, string | Buffer>>): Overlay | string {
  if (process.platform !== 'linux') return `this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'mounting a filesystem needs root';
  const base = temporaryDirectory();
  const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => join(base, name)) as [string, string, string];
  for (const directory of [upper, work, merged]) mkdirSync(directory);
  const layers = `lowerdir=${tree(files)},upperdir=${upper},workdir=${work}`;
  try {
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', layers, merged], { stdio: 'pipe' });
  } catch (error) {
    return `overlayfs cannot be mounted: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
  }
  return { merged, unmount: () => execFileSync('umount', ['-l', merged]) };
}

const mounted = overlay({
  'a.txt': 'lower',
  'gone.txt': 'gone',
  'dir/index.html': '<p>',
  'big.bin': CONTENT,
  'app.js': 'app',
  'app.js.br': 'brotli',
  'secret/key': 'secret',
});
if (typeof mounted === 'string') test.skip(`overlayfs: ${mounted}`, () => {});
else {
  const { merged } = mounted;
  process.prependOnceListener('exit', mounted.unmount); // before the directories are removed

  for (const cache of [false, { files: 10, maxAgeMs: 60_000 }] as const) {
    test.serial(`files of both layers, ${cache === false ? 'opened each time' : 'kept open'}`, async (t) => {
      const sent: SentInfo[] = [];
      writeFileSync(join(merged, 'a.txt'), 'lower');
      writeFileSync(join(merged, 'gone.txt'), 'gone');
      rmSync(join(merged, 'out'), { force: true });
      symlinkSync('/etc/passwd', join(merged, 'out'));
      await withFiles(merged, { cache, precompressed: true, onSent: (info) => sent.push(info) }, async (port) => {
        const first = await ask(port, '/a.txt');
        t.is(first.body.toString(), 'lower');
        const etag = `If-None-Match: ${first.headers.etag}`;
        t.is((await ask(port, '/a.txt', { headers: [etag] })).status, 304);
        t.is((await ask(port, '/a.txt', { method: 'HEAD' })).headers['content-length'], '5');

        writeFileSync(join(merged, 'new'), 'upper!');
        renameSync(join(merged, 'new'), join(merged, 'a.txt'));
        const second = await ask(port, '/a.txt', { headers: [etag] });
        t.is(second.status, 200);
        t.is(second.body.toString(), 'upper!');

        const before = openDescriptors();
        t.true((await ask(port, '/big.bin')).body.equals(CONTENT));
        const range = await ask(port, '/big.bin', { headers: ['Range: bytes=1000-700000'] });
        t.is(range.status, 206);
        t.true(range.body.equals(CONTENT.subarray(1000, 700_001)));
        await until(() => openDescriptors() <= before, 'that every descriptor is closed');
        t.is(sent.filter(({ path }) => path === '/big.bin').at(-1)?.transfer, 'sendfile');

        const variant = await ask(port, '/app.js', { headers: ['Accept-Encoding: br'] });
        t.is(variant.headers['content-encoding'], 'br');
        t.is(variant.body.toString(), 'brotli');
        t.is((await ask(port, '/dir')).status, 301);
        t.is((await ask(port, '/dir/')).body.toString(), '<p>');

        t.is((await ask(port, '/gone.txt')).status, 200);
        rmSync(join(merged, 'gone.txt')); // a whiteout hides it from here on
        t.is((await ask(port, '/gone.txt')).status, 404);
        t.is((await ask(port, '/out')).status, 404, 'a link out of the root');
        chmodSync(join(merged, 'secret/key'), 0o600); // copied up
        t.is((await ask(port, '/secret/key')).body.toString(), 'secret');
      });
    });
  }
}
