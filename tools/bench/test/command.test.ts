/** The command as people run it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { libcStatus } from '@zerocopy/core-syscalls';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import test from 'ava';
import { run, select } from '../dist/command.js';
import type { Report } from '../dist/report/report.js';
import { scenarios } from '../dist/scenarios/index.js';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const onLinux = libcStatus().available
  ? test
  : (title: string, _run: unknown) => test.skip(`${title} (needs Linux system calls)`, () => {});

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-bench-command-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

async function bench(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const temporary = mkdtempSync(join(directory, 'tmp-'));
  const child = spawn(process.execPath, [main, ...args], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary },
  });
  const [stdout, stderr, [status]] = await Promise.all([
    child.stdout.toArray().then(String),
    child.stderr.toArray().then(String),
    once(child, 'exit') as Promise<[number]>,
  ]);
  if (readdirSync(temporary).length > 0) throw new Error(`left behind: ${readdirSync(temporary).join(', ')}`);
  return { status, stdout, stderr };
}

/** What {@link bench} does, without a process of its own. One at a time: the console is one for all. */
async function said(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const { log, error } = console;
  const text = { stdout: '', stderr: '' };
  console.log = (line: string) => {
    text.stdout += `${line}\n`;
  };
  console.error = (line: string) => {
    text.stderr += `${line}\n`;
  };
  try {
    return { status: await run(args), ...text };
  } finally {
    Object.assign(console, { log, error });
  }
}

onLinux('a run of one scenario: tables, a page, figures, a chart, and nothing left behind', async (t) => {
  const files = ['--html', 'a.html', '--json', 'a.json', '--svg', 'a.svg'];
  const ran = await bench(
    '--quick',
    '--rounds',
    '2',
    '--only',
    'http',
    '--only',
    'node',
    '--only',
    'zerocopy',
    ...files,
  );
  t.is(ran.status, 0, ran.stderr);
  t.regex(ran.stdout, /zerocopy .*sendfile|zerocopy .*copy/);
  const report = JSON.parse(readFileSync(join(directory, 'a.json'), 'utf8')) as Report;
  t.deepEqual(
    report.scenarios.map(({ name }) => name),
    ['http'],
  );
  for (const one of report.scenarios[0]?.cases ?? []) {
    t.deepEqual(one.failures, {});
    for (const name of ['node', 'zerocopy']) {
      const figure = one.figures[name]?.cpu;
      t.is(figure?.samples.length, 2, `${one.name}: ${name}`);
      t.true((figure?.median ?? 0) > 0);
    }
    t.is(one.figures.node?.cpu?.ratio, 1);
  }
  t.regex(readFileSync(join(directory, 'a.html'), 'utf8'), /<svg/);
  t.regex(readFileSync(join(directory, 'a.svg'), 'utf8'), /<svg/);

  const again = await bench('--from', 'a.json', '--html', 'b.html');
  t.is(again.status, 0, again.stderr);
  t.is(readFileSync(join(directory, 'b.html'), 'utf8'), readFileSync(join(directory, 'a.html'), 'utf8'));
});

// In a long run one for each kind of contestant; all of them: `npm run bench -- --quick`.
for (const name of isLongRun ? ['tcp', 'upload', 'copy', 'lease'] : ['lease']) {
  onLinux(`the scenario '${name}' runs, and nobody fails in it`, async (t) => {
    const json = join(directory, `${name}.json`);
    const ran = await bench('--quick', '--rounds', '1', '--only', name, '--json', json, '--html', `${name}.html`);
    t.is(ran.status, 0, ran.stderr);
    const [scenario] = (JSON.parse(readFileSync(json, 'utf8')) as Report).scenarios;
    t.true((scenario?.cases.length ?? 0) > 0);
    for (const one of scenario?.cases ?? []) {
      t.deepEqual(one.failures, {}, one.name);
      const present = scenario?.contestants.filter(({ version }) => version !== undefined).map((who) => who.name) ?? [];
      t.true(Object.keys(one.figures).length > 0);
      for (const who of Object.keys(one.figures)) t.true(present.includes(who));
    }
  });
}

onLinux('ended in the middle: no file and no process stays', async (t) => {
  const temporary = mkdtempSync(join(directory, 'tmp-'));
  const child = spawn(process.execPath, [main, '--only', 'http', '--only', 'node', '--only', 'nginx'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, TMPDIR: temporary },
  });
  while (readdirSync(temporary).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 1500)); // the servers are started, and asked
  child.kill('SIGTERM');
  const [status] = (await once(child, 'exit')) as [number];
  t.is(status, 143);
  t.deepEqual(readdirSync(temporary), []);
  const left = (): string[] =>
    readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(temporary);
      } catch {
        return false; // it has ended meanwhile
      }
    });
  // Those that notice by themselves that nobody listens any more take a moment.
  for (let n = 0; n < 100 && left().length > 0; n++) await new Promise((resolve) => setTimeout(resolve, 50));
  t.deepEqual(left(), []);
});

test.serial('what makes no sense is refused with what was expected and what came', async (t) => {
  for (const [args, message] of [
    [['--only', 'nobody'], /--only takes a scenario or a contestant .*; got 'nobody'/],
    [['--rounds', '0'], /--rounds takes a whole number from 1; got '0'/],
    [['--rounds', 'x'], /got 'x'/],
    [['--quick', '--full'], /exclude each other/],
    [['--from', 'nowhere.json'], /--from takes a file that --json has saved; got 'nowhere.json': ENOENT/],
    [['--from', main], /got '.*main.js': /],
    [['--unknown'], /Unknown option '--unknown'/],
  ] as const) {
    const { status, stderr } = await said(...args);
    t.is(status, 2);
    t.regex(stderr, message);
  }
  t.false(existsSync('bench-report.html'));
  t.is((await bench('--unknown')).status, 2);
});

test.serial('--help names every scenario and contestant', async (t) => {
  const { status, stdout } = await said('--help');
  t.is(status, 0);
  for (const { name, contestants } of scenarios) {
    t.true(stdout.includes(name));
    for (const who of contestants) t.true(stdout.includes(who.name), who.name);
  }
});

test('names of scenarios and of contestants are told apart; a scenario without any of those named does not run', (t) => {
  t.deepEqual(select([]).contestants, undefined);
  t.is(select([]).scenarios.length, scenarios.length);
  t.deepEqual(
    select(['http', 'node']).scenarios.map(({ name }) => name),
    ['http'],
  );
  t.deepEqual(select(['http', 'node']).contestants, ['node']);
  t.deepEqual(
    select(['haproxy']).scenarios.map(({ name }) => name),
    ['proxy', 'ping-pong'],
  );
});
