import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { closingLine, countResults, resultsOf } from '../counts.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const runAva = join(here, '..', 'run-ava.mjs');

/** Runs ava in a fixture as in a package of its own, without what this ava has set for its own tests. */
function run(fixture) {
  const project = join(here, 'fixtures', fixture);
  const { NODE_ENV: _, AVA_PATH: __, ...env } = process.env;
  const { status } = spawnSync(process.execPath, [runAva], { cwd: project, env });
  const counted = countResults([project]);
  rmSync(resultsOf(project), { recursive: true, force: true });
  return { status, ...counted };
}

test('what passes and what is skipped is counted, and the skip says why', (t) => {
  const { status, totals, lines } = run('passing');
  t.is(status, 0);
  t.deepEqual(totals, { passed: 1, failed: 0, skipped: 1 });
  t.is(lines[1], '  skipped: no kernel here');
  t.is(closingLine(totals), '1 passed, 0 failed, 1 skipped');
});

test('a failed test fails the run', (t) => {
  const { status, totals, lines } = run('failing');
  t.is(status, 1);
  t.deepEqual(totals, { passed: 1, failed: 1, skipped: 0 });
  t.is(lines[1], '  failed: two');
  t.is(closingLine(totals), '1 passed, 1 failed');
});

test('an error outside of the tests fails the run, though every test has passed', (t) => {
  // The error itself, and the process that ended of it.
  const { status, totals } = run('crashing');
  t.is(status, 1);
  t.deepEqual(totals, { passed: 1, failed: 2, skipped: 0 });
});

test('a test that hangs fails the run', (t) => {
  const { status, totals } = run('hanging');
  t.is(status, 1);
  t.deepEqual(totals, { passed: 1, failed: 1, skipped: 0 });
});

test('a project without results counts as a failure', (t) => {
  t.deepEqual(countResults([join(here, 'nowhere')]).totals, { passed: 0, failed: 1, skipped: 0 });
});
