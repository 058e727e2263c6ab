/** `npm test`: every task of every project through nx, then the real counts of all packages on the closing line. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const packages = readdirSync('packages').filter((name) => existsSync(join('packages', name, 'package.json')));
const summaryOf = (name) => join('packages', name, 'test-results', 'summary.json');
// A run that crashes must not be counted by what an earlier one has left; nx restores the results of cached runs.
for (const name of packages) rmSync(join('packages', name, 'test-results'), { recursive: true, force: true });

const nx = join('node_modules', 'nx', 'dist', 'bin', 'nx.js');
const { status } = spawnSync(
  process.execPath,
  [
    existsSync(nx) ? nx : join('node_modules', 'nx', 'bin', 'nx.js'),
    'run-many',
    '-t',
    'build',
    'typecheck',
    'lint',
    'test',
    'package-check',
    '--outputStyle=static',
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit', env: { ...process.env, NX_DAEMON: 'false' } },
);

const totals = { passed: 0, failed: 0, skipped: 0 };
for (const name of packages) {
  if (!existsSync(summaryOf(name))) {
    console.log(`${name}: no test results`);
    totals.failed++;
    continue;
  }
  const { passed, failed, skipped, skips, failures } = JSON.parse(readFileSync(summaryOf(name), 'utf8'));
  console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  for (const skip of skips) console.log(`  skipped: ${skip}`);
  for (const failure of failures) console.log(`  failed: ${failure}`);
  totals.passed += passed;
  totals.failed += failed;
  totals.skipped += skipped;
}
if (status !== 0 && totals.failed === 0) {
  console.log('a task other than the tests failed');
  totals.failed++;
}
const skipped = totals.skipped === 0 ? '' : `, ${totals.skipped} skipped`;
console.log(`${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exitCode = totals.failed === 0 ? 0 : 1;
