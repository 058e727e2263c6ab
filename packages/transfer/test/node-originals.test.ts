/** Node's own methods are known from anybody's, on every thread, without a warning, and as far as can be where Node hides its sources. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import test from 'ava';

const fixture = fileURLToPath(new URL('./fixtures/originals.js', import.meta.url));

interface Report {
  readonly plain: readonly (string | null)[];
  readonly replaced: readonly (string | null)[];
  readonly warnings: readonly string[];
}

async function inProcess(...args: string[]): Promise<Report> {
  const { stdout } = await promisify(execFile)(process.execPath, [...args, fixture]);
  return JSON.parse(stdout) as Report;
}

const expected: Report = { plain: [null, null, null], replaced: ['write', 'write', 'write', 'push'], warnings: [] };

test('in a process of its own', async (t) => {
  t.deepEqual(await inProcess(), expected);
});

test('with --pending-deprecation nothing is warned of', async (t) => {
  t.deepEqual(await inProcess('--pending-deprecation'), expected);
});

test('in a worker thread', async (t) => {
  const worker = new Worker(fixture);
  const [report] = (await once(worker, 'message')) as [string];
  t.deepEqual(JSON.parse(report), expected);
});

test('with the permission model, which hides the sources, only what is no plain function is found', async (t) => {
  const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const { plain, replaced } = await inProcess(flag, '--allow-fs-read=*', '--allow-addons', '--no-warnings');
  t.deepEqual(plain, expected.plain);
  t.deepEqual(replaced.slice(0, 2), ['write', 'write']);
});
