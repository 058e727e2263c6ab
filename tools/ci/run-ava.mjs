/**
 * Runs ava in the current package, prints its results for people, and leaves them, counted, in test-results/summary.json.
 * Arguments are passed on to ava. The exit status is ava's own: a crash or a time-out fails even if every test passed.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { Parser } from 'tap-parser';

const ava = fileURLToPath(new URL('../../node_modules/ava/entrypoints/cli.mjs', import.meta.url));
const summary = { passed: 0, failed: 0, skipped: 0, skips: [], failures: [] };

const parser = new Parser();
parser.on('assert', ({ ok, skip, todo, name, diag }) => {
  if (skip || todo) {
    summary.skipped++;
    summary.skips.push(name);
    console.log(styleText('yellow', `- ${name}`));
  } else if (ok) {
    summary.passed++;
    console.log(`${styleText('green', '✔')} ${name}`);
  } else {
    summary.failed++;
    summary.failures.push(name);
    console.log(styleText('red', `✖ ${name}`));
    if (diag) console.log(diag);
  }
});
parser.on('comment', (comment) => {
  if (!/^# (tests|pass|fail|skip)/.test(comment)) process.stdout.write(styleText('dim', comment));
});
parser.on('extra', (text) => process.stdout.write(text));

mkdirSync('test-results', { recursive: true });
rmSync(join('test-results', 'summary.json'), { force: true });
// nx asks for colours. The programs that tests start would give them to numbers, whose text the tests compare.
const { FORCE_COLOR: _, ...env } = process.env;
const child = spawn(process.execPath, [...process.execArgv, ava, '--tap', ...process.argv.slice(2)], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env,
});
child.stdout.pipe(parser);
const [code, results] = await Promise.all([
  new Promise((resolve) => child.on('close', (status) => resolve(status ?? 1))),
  new Promise((resolve) => parser.on('complete', resolve)),
]);
// ava ends its results with a plan. Where there is none it broke off: a test hung, and ava's TAP reporter fails on
// time-outs (avajs/ava#3461), so the hanging test has no line of its own. Plain `npx ava` in the package names it.
if (results.plan.end === null || (code !== 0 && summary.failed === 0)) {
  summary.failed++;
  summary.failures.push(`ava ended with status ${code} outside of a test, or a test hung: \`npx ava\` here names it`);
}
writeFileSync(join('test-results', 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
process.exitCode = code !== 0 || summary.failed > 0 ? 1 : 0;
