/** What may be reached by which links: the same answers with and without openat2(2). */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestFn } from 'ava';
import { ask, temporaryDirectory, tree, withFiles } from './harness.js';

export function confinementCases(run: TestFn = test as TestFn): void {
  const outside = tree({ 'secret.txt': 'SECRET', 'dir/secret.txt': 'SECRET', 'dir/index.html': 'SECRET' });
  const base = temporaryDirectory();
  const root = join(base, 'root');
  mkdirSync(join(root, 'sub'), { recursive: true });
  mkdirSync(join(root, 'indexed'));
  mkdirSync(join(root, 'listed'));
  writeFileSync(join(root, 'a.txt'), 'a');
  writeFileSync(join(root, 'sub/b.txt'), 'b');
  writeFileSync(join(root, 'page.js'), 'page');
  writeFileSync(join(base, 'neighbour.txt'), 'SECRET');
  const links: Readonly<Record<string, string>> = {
    'inside.txt': 'a.txt',
    'inside-dir': 'sub',
    'sub/up.txt': '../a.txt',
    'sub/round.txt': '../sub/../a.txt',
    'absolute-inside.txt': join(root, 'a.txt'),
    'outside.txt': join(outside, 'secret.txt'),
    'outside-dir': join(outside, 'dir'),
    'neighbour.txt': '../neighbour.txt',
    'out-and-in.txt': '../root/a.txt',
    'loop.txt': 'loop.txt',
    'loop-a': 'loop-b',
    'loop-b': 'loop-a',
    'dangling.txt': 'nothing',
    'indexed/index.html': join(outside, 'secret.txt'),
    'page.js.br': join(outside, 'secret.txt'),
    'listed/link.txt': join(outside, 'secret.txt'),
    'listed/inside.txt': '../a.txt',
    'magic.txt': '/proc/self/fd/0',
    'magic-exe': '/proc/self/exe',
    'magic-root': '/proc/self/root',
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(root, name));

  const statuses = async (port: number, names: readonly string[]): Promise<Record<string, number>> => {
    const found: Record<string, number> = {};
    for (const name of names) found[name] = (await ask(port, `/${name}`)).status;
    return found;
  };
  const refusedAlways = [
    'loop.txt',
    'loop-a',
    'loop-a/x',
    'dangling.txt',
    'magic.txt',
    'magic-exe',
    'magic-root/etc/passwd',
  ];
  const leadingOut = [
    'outside.txt',
    'outside-dir',
    'outside-dir/',
    'outside-dir/secret.txt',
    'neighbour.txt',
    'indexed/',
  ];

  run('beneath: links are followed as long as they stay beneath the root at every step', (t) =>
    withFiles(root, {}, async (port) => {
      const inside = ['a.txt', 'inside.txt', 'inside-dir/b.txt', 'sub/up.txt', 'sub/round.txt'];
      t.deepEqual(await statuses(port, inside), Object.fromEntries(inside.map((name) => [name, 200])));
      const refused = [...leadingOut, ...refusedAlways, 'absolute-inside.txt', 'out-and-in.txt'];
      t.deepEqual(await statuses(port, refused), Object.fromEntries(refused.map((name) => [name, 404])));
    }),
  );

  run('none: no link is followed', (t) =>
    withFiles(root, { symlinks: 'none' }, async (port) => {
      t.deepEqual(await statuses(port, ['a.txt', 'sub/b.txt']), { 'a.txt': 200, 'sub/b.txt': 200 });
      const refused = ['inside.txt', 'inside-dir/b.txt', 'inside-dir', 'sub/up.txt', ...leadingOut, ...refusedAlways];
      t.deepEqual(await statuses(port, refused), Object.fromEntries(refused.map((name) => [name, 404])));
    }),
  );

  run('follow: every link is followed, but for magic ones', (t) =>
    withFiles(root, { symlinks: 'follow' }, async (port) => {
      const followed = ['inside.txt', 'absolute-inside.txt', 'outside.txt', 'outside-dir/secret.txt', 'neighbour.txt'];
      t.deepEqual(await statuses(port, followed), Object.fromEntries(followed.map((name) => [name, 200])));
      t.is((await ask(port, '/indexed/')).body.toString(), 'SECRET');
      t.deepEqual(await statuses(port, refusedAlways), Object.fromEntries(refusedAlways.map((name) => [name, 404])));
    }),
  );

  run('the same rule holds for variants and for what is listed', async (t) => {
    await withFiles(root, { precompressed: ['br'], listing: true }, async (port) => {
      const variant = await ask(port, '/page.js', { headers: ['Accept-Encoding: br'] });
      t.is(variant.body.toString(), 'page');
      t.is(variant.headers['content-encoding'], undefined);
      t.is(variant.headers.vary, undefined, 'there is nothing to negotiate');
      const listing = await ask(port, '/listed/', { headers: ['Accept: application/json'] });
      const { entries } = JSON.parse(listing.body.toString()) as { entries: { name: string }[] };
      t.deepEqual(
        entries.map(({ name }) => name),
        ['inside.txt'],
      );
      t.is((await ask(port, '/outside-dir/')).status, 404);
    });
    await withFiles(root, { precompressed: ['br'], symlinks: 'follow' }, async (port) => {
      t.is((await ask(port, '/page.js', { headers: ['Accept-Encoding: br'] })).body.toString(), 'SECRET');
    });
  });

  run('a directory that moves out of the root, and is linked to from its place, is not served any more', async (t) => {
    const moving = tree({ 'dir/file.txt': 'moved', 'a.txt': 'a' });
    await withFiles(moving, {}, async (port) => {
      for (let n = 0; n < 2; n++) t.is((await ask(port, '/dir/file.txt')).status, 200);
      const elsewhere = join(temporaryDirectory(), 'dir');
      renameSync(join(moving, 'dir'), elsewhere);
      symlinkSync(elsewhere, join(moving, 'dir'));
      t.is((await ask(port, '/dir/file.txt')).status, 404);
      renameSync(elsewhere, join(moving, 'again'));
      symlinkSync('again', join(moving, 'inside'));
      t.is((await ask(port, '/again/file.txt')).body.toString(), 'moved');
      t.is((await ask(port, '/inside/file.txt')).body.toString(), 'moved');
    });
  });

  run('the root itself may be a link, and may be replaced by another directory', async (t) => {
    const releases = tree({ '1/a.txt': 'first', '2/a.txt': 'second' });
    const current = join(releases, 'current');
    symlinkSync('1', current);
    await withFiles(current, {}, async (port) => {
      t.is((await ask(port, '/a.txt')).body.toString(), 'first');
      const { renameSync, rmSync } = await import('node:fs');
      symlinkSync('2', `${current}.new`);
      renameSync(`${current}.new`, current);
      t.is((await ask(port, '/a.txt')).body.toString(), 'second');
      rmSync(current);
      t.is((await ask(port, '/a.txt')).status, 404);
      mkdirSync(current);
      writeFileSync(join(current, 'a.txt'), 'third');
      t.is((await ask(port, '/a.txt')).body.toString(), 'third');
    });
  });
}
