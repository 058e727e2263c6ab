/** Programs that have never heard of it: by --import, --require and NODE_OPTIONS, in workers; and what it costs before it matters. */
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { fixture, isLongRun, kernelTest, makeFile, pattern, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3_000_000);
const path = makeFile(directory, content);
const register = fileURLToPath(new URL('../dist/register.js', import.meta.url));

interface Report {
  readonly intact: boolean;
  readonly transfers: number;
  readonly isLoadedBefore: boolean;
  readonly isLoadedAfter: boolean;
}

async function served(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Report> {
  const { status, stdout, stderr } = await runProgram(process.execPath, [...args, path], { ...process.env, ...env });
  if (status !== 0 || stderr !== '') throw new Error(`it ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as Report;
}

kernelTest(
  'a program is loaded with it, in each way there is, and nothing before the first pair that matters',
  async (t) => {
    const program = fixture('serves-a-file');
    const without = await served([program]);
    t.deepEqual(without, { intact: true, transfers: 0, isLoadedBefore: false, isLoadedAfter: false });
    const expected = { intact: true, transfers: 1, isLoadedBefore: false, isLoadedAfter: true };
    t.deepEqual(await served(['--import', register, program]), expected, '--import');
    t.deepEqual(await served(['--require', register, program]), expected, '--require');
    t.deepEqual(await served([program], { NODE_OPTIONS: `--import=${register}` }), expected, 'NODE_OPTIONS');
    const worker = await served(['--import', register, fixture('serves-in-a-worker')]);
    t.is(worker.transfers, 1, 'in a worker thread');
    t.true(worker.intact, 'in a worker thread');
  },
);

kernelTest('ZEROCOPY_DISABLE=pipeline: every pipe is Node’s, whatever loads it', async (t) => {
  const off = { ZEROCOPY_DISABLE: 'pipeline' };
  const { intact, transfers } = await served(['--import', register, fixture('serves-a-file')], off);
  t.deepEqual({ intact, transfers }, { intact: true, transfers: 0 });
});

kernelTest('two copies of the package share one wrap, and each pair is moved once', async (t) => {
  const copy = join(temporaryDirectory(), 'pipeline');
  symlinkSync(fileURLToPath(new URL('..', import.meta.url)), copy);
  const other = join(copy, 'dist', 'register.js');
  const twice = await served([
    '--preserve-symlinks',
    '--import',
    register,
    '--import',
    other,
    fixture('serves-a-file'),
  ]);
  t.is(twice.transfers, 1);
  t.true(twice.intact);
});

kernelTest('the operator turns it off, and sees at the end what it did', async (t) => {
  const off = await served(['--import', register, fixture('serves-a-file')], { ZEROCOPY_DISABLE: 'all' });
  t.is(off.transfers, 0);
  t.true(off.intact);
  const { stderr } = await runProgram(process.execPath, ['--import', register, fixture('serves-a-file'), path], {
    ...process.env,
    ZEROCOPY_DEBUG: '1',
  });
  t.regex(stderr, /pipes: 1 moved beneath Node’s\n {4}file->http: 1\n/);
});

test('where nothing can be moved by the kernel, one warning says why, and the program runs as before', async (t) => {
  const major = Number.parseInt(process.versions.node, 10);
  const permission = major >= 24 ? '--permission' : '--experimental-permission';
  const { status, stdout, stderr } = await runProgram(process.execPath, [
    permission,
    '--allow-fs-read=*',
    '--allow-fs-write=*',
    ...(major >= 26 ? ['--allow-net'] : []),
    '--import',
    register,
    fixture('serves-a-file'),
    path,
  ]);
  t.is(status, 0, stderr);
  const { intact, transfers } = JSON.parse(stdout) as Report;
  t.deepEqual({ intact, transfers }, { intact: true, transfers: 0 });
  t.is(stderr.match(/\[ZEROCOPY_\w+\] Warning/g)?.length, 1, stderr);
});

/** What a proxied pair holds while nothing comes, beyond Node's own: bytes of heap. */
const IDLE_HEAP_MAX = 1024;
const idlePairs = fileURLToPath(import.meta.resolve('@zerocopy/testing/idle-pairs.child'));
/** What is compiled, or made, once. */
const ONCE = 150_000;

for (const [what, bytes] of [
  ['a little', 0],
  ['much', 2 * 1024 * 1024],
] as const) {
  kernelTest(
    `idle pairs of a proxy that have passed on ${what} hold no descriptor of ours${bytes === 0 ? ', and 1 KiB of heap' : ''}`,
    async (t) => {
      const count = isLongRun ? 1000 : bytes > 0 ? 20 : 200;
      const held = async (args: readonly string[]): Promise<{ heap: number; descriptors: number }> => {
        const program = [...args, idlePairs, String(count), String(bytes)];
        const { NODE_V8_COVERAGE: _, ...env } = process.env; // counting what is covered takes memory too
        const { status, stdout, stderr } = await runProgram(process.execPath, program, env);
        t.is(status, 0, stderr);
        return JSON.parse(stdout) as { heap: number; descriptors: number };
      };
      const [node, ours] = [await held([]), await held(['--import', register])];
      t.is(ours.descriptors, node.descriptors);
      const more = ours.heap - node.heap;
      t.log(`heap of a pair: ${Math.round(node.heap)} bytes with Node, ${Math.round(more)} more`);
      // Sockets whose methods have been replaced for a while, in both directions, keep their properties in a dictionary.
      if (bytes === 0) t.true(more * count <= IDLE_HEAP_MAX * count + ONCE, `${ours.heap}, and ${node.heap} with Node`);
    },
  );
}
