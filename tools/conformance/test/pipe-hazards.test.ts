/** What a hook of pipes can break: virtual filesystems, replaced methods, classes of others. Each in a process of its own. */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { feature } from '@zerocopy/core-syscalls';
import { pattern } from '@zerocopy/testing/bytes';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { fixturesBeside, runProgram } from '@zerocopy/testing/programs';

const { test } = testsWhere('the kernel path', feature('sendfile'), feature('splice'));
const register = pathToFileURL(createRequire(import.meta.url).resolve('@zerocopy/pipeline/register')).href;
const fixture = fixturesBeside(import.meta.url);
const hazard = fixture('pipe-hazard');
const path = join(temporaryDirectory(), 'file');
writeFileSync(path, pattern(400_000));

/** What arrives, and why the kernel did not move it; null: it did. */
const expected: Readonly<Record<string, readonly [received: 'virtual' | 'file', declined: RegExp | null]>> = {
  'nothing of the kind': ['file', null],
  'pipeline of this package': ['file', null],
  'mock-fs, from the beginning': ['virtual', /are not loaded/],
  'mock-fs': ['virtual', /not known to be the one that the kernel has by this number|fs of its own/],
  memfs: ['virtual', /only looks like an fs.ReadStream/],
  'memfs as the option fs': ['virtual', /an fs of its own/],
  'graceful-fs': ['file', null],
  'graceful-fs, in the place of fs': ['file', null],
  'fs.read replaced': ['file', /an fs of its own/],
  'a subclass with a _read of its own': ['file', /_read\(\) of the source has been replaced/],
  'a subclass without': ['file', null],
  'util.inherits': ['file', null],
  'push replaced on the prototype': ['file', /push\(\) of the source has been replaced/],
  'write replaced on the socket': ['file', /write methods have been replaced/],
  'pipe replaced before and after': ['file', null],
  'the descriptor is closed, and its number another file': ['file', null],
};

test('programs that replace what the hook is built on get what they would without it', async (t) => {
  const { stdout: names } = await runProgram(process.execPath, [hazard]);
  t.deepEqual(JSON.parse(names), Object.keys(expected));
  const entries = Object.entries(expected);
  const tried = await Promise.all(
    entries.map(([name]) => runProgram(process.execPath, ['--import', register, hazard, name, path])),
  );
  for (const [index, [name, [received, declined]]] of entries.entries()) {
    const { status, stdout, stderr } = tried[index] as Awaited<ReturnType<typeof runProgram>>;
    t.is(status, 0, `${name}: ${stderr}`);
    const answer = JSON.parse(stdout);
    if (answer.received === 'nothing' && name.startsWith('mock-fs')) {
      t.log(`${name} does not know Node ${process.versions.node}`);
      continue;
    }
    t.is(answer.received, received, name);
    if (declined === null) t.deepEqual(answer, { received, kinds: { 'file->socket': 1 }, declined: {} }, name);
    else {
      t.deepEqual(answer.kinds, {}, name);
      t.regex(Object.keys(answer.declined).join(), declined, name);
    }
  }
});

test('--permission: what may be read goes beneath, what may not is denied in the words of Node', async (t) => {
  const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const net = process.allowedNodeEnvironmentFlags.has('--allow-net') ? ['--allow-net'] : [];
  const secret = join(temporaryDirectory(), 'file');
  writeFileSync(secret, pattern(400_000));
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const args = [flag, '--allow-addons', ...net, `--allow-fs-read=${root}`, `--allow-fs-read=${path}`];
  for (const name of ['nothing of the kind', 'pipeline of this package']) {
    const run = (file: string): ReturnType<typeof runProgram> =>
      runProgram(process.execPath, [...args, '--import', register, hazard, name, file]);
    const [allowed, denied] = await Promise.all([run(path), run(secret)]);
    t.is(allowed.status, 0, `${name}: ${allowed.stderr}`);
    t.deepEqual(JSON.parse(allowed.stdout), { received: 'file', kinds: { 'file->socket': 1 }, declined: {} }, name);
    t.is(denied.status, 1, name);
    t.regex(denied.stderr, /ERR_ACCESS_DENIED/, name);
    t.is(denied.stdout, '', name);
  }
});

test('forked children and the workers of a cluster inherit it, by --import and by NODE_OPTIONS', async (t) => {
  const loaded = [
    { args: ['--import', register], env: {} },
    { args: [], env: { NODE_OPTIONS: `--import=${register}` } },
  ];
  const ways = ['fork', 'cluster'].flatMap((how) => loaded.map((by) => ({ how, ...by })));
  const run = ({ how, args, env }: (typeof ways)[number]): ReturnType<typeof runProgram> =>
    runProgram(process.execPath, [...args, fixture('pipe-in-child'), how, path], { ...process.env, ...env });
  const all = await Promise.all(ways.map(run));
  for (const [index, { status, stdout, stderr }] of all.entries()) {
    const name = JSON.stringify(ways[index]);
    t.is(status, 0, `${name}: ${stderr}`);
    t.deepEqual(JSON.parse(stdout), { intact: true, kinds: { 'file->http': 1 } }, name);
  }
});
