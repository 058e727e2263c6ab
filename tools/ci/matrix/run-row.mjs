/** Runs one row: the tests of its projects, or its program. What comes of it is printed, and kept, as it comes. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** One line of JSON for each project of each row. */
export const RESULTS = join('node_modules', '.cache', 'matrix.jsonl');
const runAva = resolve('tools/ci/run-ava.mjs');
/** Milliseconds for one project; a test that hangs is ended by ava long before. */
const PATIENCE = 20 * 60_000;

/**
 * @typedef {object} Result
 * @property {string} row
 * @property {string} project
 * @property {number} passed
 * @property {number} failed
 * @property {number} skipped
 * @property {number} seconds
 * @property {readonly string[]} failures
 * @property {readonly string[]} skips
 * @property {string} [reason] why the row was not run
 */

/** @returns {readonly Result[]} */
export function runRow(row) {
  const setting = row.prepare();
  const nothing = { row: row.name, passed: 0, failed: 0, skipped: 0, seconds: 0, failures: [], skips: [] };
  if (setting.reason !== undefined) return [keep({ ...nothing, project: '', reason: setting.reason })];
  if (setting.program !== undefined) return [keep({ ...nothing, ...runProgram(setting) })];
  return row.projects.map((project) => keep({ ...nothing, ...runTests(project, setting) }));
}

function keep(result) {
  appendFileSync(RESULTS, `${JSON.stringify(result)}\n`);
  for (const failure of result.failures) console.log(`${result.row}, ${result.project}: ✖ ${failure}`);
  return result;
}

function spawned(command, args, { env, uid }, options) {
  const startedAt = performance.now();
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: PATIENCE,
    env: { ...process.env, ...env },
    ...(uid === undefined ? {} : { uid, gid: uid }),
    ...options,
  });
  return { ...result, seconds: Math.round((performance.now() - startedAt) / 1000) };
}

function runTests(project, setting) {
  const { node = process.execPath, nodeArguments = [], avaArguments = [] } = setting;
  const results = join(project, 'test-results');
  // A normal user may not make it in a checkout of root's.
  mkdirSync(results, { recursive: true });
  if (setting.uid !== undefined) chmodSync(results, 0o777);
  const file = join(results, 'summary.json');
  rmSync(file, { force: true });
  const { status, seconds } = spawned(node, [...nodeArguments, runAva, ...avaArguments], setting, {
    cwd: project,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const summary = existsSync(file)
    ? JSON.parse(readFileSync(file, 'utf8'))
    : { passed: 0, failed: 1, skipped: 0, failures: ['no results'], skips: [] };
  if (status !== 0 && summary.failed === 0) {
    summary.failed = 1;
    summary.failures.push(`it ended with status ${status}`);
  }
  return { project, seconds, ...summary };
}

function runProgram(setting) {
  const { node = process.execPath, nodeArguments = [], program } = setting;
  const { status, stdout, stderr, seconds } = spawned(node, [...nodeArguments, ...program], setting, {});
  const checks = (stdout ?? '')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  const failures = checks.filter(({ passed }) => !passed).map(({ name, reason }) => `${name}: ${reason}`);
  if (status !== 0 && failures.length === 0) failures.push(`it ended with status ${status}: ${stderr}`);
  const missing = checks
    .filter(({ name }) => name.startsWith('not here'))
    .map(({ name, reason }) => `${name}: ${reason}`);
  const passed = checks.filter((check) => check.passed).length - missing.length;
  return {
    project: 'smoke',
    seconds,
    passed,
    failed: failures.length,
    skipped: missing.length,
    failures,
    skips: missing,
  };
}
