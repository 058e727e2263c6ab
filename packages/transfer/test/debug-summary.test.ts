/** ZEROCOPY_DEBUG: the summary at the end of a thread, in child processes that end in each way there is. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { copyOfTransfer } from './copies.js';

const fixture = fileURLToPath(new URL('./fixtures/debug-summary.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-debug-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

/** @param debug the value of ZEROCOPY_DEBUG; null: it is not set. */
function run(args: readonly string[], debug: string | null = '1') {
  const { ZEROCOPY_DEBUG: _, ...inherited } = process.env;
  const env = debug === null ? inherited : { ...inherited, ZEROCOPY_DEBUG: debug };
  const { stdout, stderr, status, pid } = spawnSync(process.execPath, [fixture, ...args], { env, encoding: 'utf8' });
  return { stdout, stderr, status, pid };
}

const summaryOf = (where: string, lines: readonly string[] = []): string =>
  [
    `zerocopy, ${where}: 3 transfers ended, 1 failed`,
    '  sendfile: 2 transfers, 3000001 bytes',
    '  copy: 1 transfer, 7 bytes',
    "  declined 1 time: it is a 'class A'",
    ...lines,
    '',
  ].join('\n');

test('a process that ends by itself, or by process.exit, prints what was moved, and what was not and why', (t) => {
  const natural = run(['plain']);
  t.deepEqual(natural, { ...natural, stdout: '', stderr: summaryOf(`process ${natural.pid}`), status: 0 });
  const exited = run(['exit']);
  t.deepEqual(exited, { ...exited, stdout: '', stderr: summaryOf(`process ${exited.pid}`), status: 3 });
});

test('a process that ends of an exception prints it as well', (t) => {
  const { stderr, status, pid } = run(['error']);
  t.is(status, 1);
  t.regex(stderr, /thrown at the end/);
  t.true(stderr.includes(summaryOf(`process ${pid}`)), stderr);
});

test('nothing is printed, listened to or kept where ZEROCOPY_DEBUG is not set', (t) => {
  for (const debug of [null, '', '0']) {
    const { stdout, stderr, status } = run(['listeners'], debug);
    t.deepEqual({ stderr, status }, { stderr: '', status: 0 });
    t.deepEqual(JSON.parse(stdout), { listeners: 0, registered: false });
  }
  t.deepEqual(JSON.parse(run(['listeners']).stdout), { listeners: 1, registered: true });
});

test('a process that has moved nothing says so', (t) => {
  const { stderr, pid } = run(['nothing']);
  t.is(stderr, `zerocopy, process ${pid}: 0 transfers ended, 0 failed\n`);
});

test('other packages add their lines; one that fails to does no harm', (t) => {
  const { stderr, status, pid } = run(['lines']);
  t.deepEqual(
    { stderr, status },
    { stderr: summaryOf(`process ${pid}`, ['  pipes considered: 5', '  and more']), status: 0 },
  );
});

test('each worker thread prints what it has moved, with its number; one that has moved nothing does not', (t) => {
  const { stderr, pid } = run(['workers']);
  const expected = [`process ${pid}, thread 1`, `process ${pid}, thread 2`, `process ${pid}`];
  t.is(stderr, expected.map((where) => summaryOf(where)).join(''));
});

test('two copies of the package print one summary of both', (t) => {
  const copy = copyOfTransfer('linked');
  t.teardown(copy.remove);
  const { stderr, status, pid } = run(['copies', copy.transfer]);
  t.is(status, 0, stderr);
  t.is(
    stderr,
    [
      `zerocopy, process ${pid}: 6 transfers ended, 2 failed`,
      '  sendfile: 4 transfers, 6000002 bytes',
      '  copy: 2 transfers, 14 bytes',
      "  declined 2 times: it is a 'class A'",
      '',
    ].join('\n'),
  );
});

test('a stderr that is closed, or whose reader has gone, does no harm', async (t) => {
  const { status, stdout } = run(['closed']);
  t.deepEqual({ status, stdout }, { status: 0, stdout: '' });
  const child = spawn(process.execPath, [fixture, 'plain'], {
    env: { ...process.env, ZEROCOPY_DEBUG: '1' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.stderr.destroy();
  t.deepEqual(await once(child, 'close'), [0, null]);
});

test('a file that has got the number of stderr is not written to (kernel-rules: fd-reuse)', (t) => {
  const { stdout, status } = run(['reused', join(directory, 'own')]);
  t.is(status, 0);
  t.is(stdout, '2 0\n');
});
