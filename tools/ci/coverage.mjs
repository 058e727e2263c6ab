/**
 * `npm run coverage`: lines and branches of each package that all everyday tests reach together: its own, those of the
 * packages that build on it, and the conformance tests; in their child processes and threads as well; and the packages'
 * once more with every feature turned off, and once with koffi missing. Fails below 95 %. What stays uncovered, and why,
 * is listed in coverage.md.
 *
 * `--only NAME` runs the tests of that project alone; `--raw DIRECTORY` adds to what earlier runs have left there.
 *
 * Expects built tests: `nx run-many -t test-build`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const THRESHOLD = 95;

const { values } = parseArgs({ options: { only: { type: 'string' }, raw: { type: 'string' } } });
const packages = readdirSync('packages').filter((name) => existsSync(join('packages', name, 'package.json')));
const projects = [...packages.map((name) => join('packages', name)), join('tools', 'conformance')].filter(
  (project) => values.only === undefined || project.endsWith(`/${values.only}`),
);
const raw = values.raw === undefined ? mkdtempSync(join(tmpdir(), 'zerocopy-coverage-')) : resolve(values.raw);
const bin = (name) => resolve('node_modules', '.bin', name);

const runAva = join(dirname(fileURLToPath(import.meta.url)), 'run-ava.mjs');

function runTests(project, environment = {}) {
  console.log(`\n${project} ${JSON.stringify(environment)}`);
  // Inherited by everything that the tests start.
  const env = { ...process.env, ...environment, NODE_V8_COVERAGE: raw };
  const { status } = spawnSync(process.execPath, [runAva], { cwd: project, env, stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}

try {
  for (const project of projects) runTests(project);
  for (const project of projects.filter((one) => one.startsWith('packages'))) {
    runTests(project, { ZEROCOPY_DISABLE: 'all' });
    runTests(project, { NODE_OPTIONS: `--import=${new URL('./matrix/preloads/no-koffi.mjs', import.meta.url)}` });
  }
  report();
} finally {
  if (values.raw === undefined) rmSync(raw, { recursive: true, force: true });
}

function report() {
  const include = packages.flatMap((name) => ['--include', `packages/${name}/dist/**`]);
  const reporters = ['text', 'lcov', 'json-summary'].flatMap((name) => ['--reporter', name]);
  const args = ['report', '--all', '--temp-directory', raw, ...include, ...reporters];
  // One file at a time: there is one for each process and thread.
  spawnSync(bin('c8'), [...args, '--merge-async'], { stdio: 'inherit', env: { ...process.env, FORCE_COLOR: '0' } });
  const { total: _total, ...files } = JSON.parse(readFileSync(join('coverage', 'coverage-summary.json'), 'utf8'));
  const rows = packages.map((name) => {
    const own = Object.entries(files).filter(([file]) => file.startsWith(resolve('packages', name, 'src')));
    const percent = (what) => {
      const [covered, total] = own.reduce(([a, b], [, sums]) => [a + sums[what].covered, b + sums[what].total], [0, 0]);
      return total === 0 ? 0 : Math.floor((covered / total) * 10_000) / 100;
    };
    return { package: name, files: own.length, 'lines %': percent('lines'), 'branches %': percent('branches') };
  });
  console.table(rows);
  const below = rows.filter((row) => row['lines %'] < THRESHOLD || row['branches %'] < THRESHOLD);
  for (const row of below) console.log(`${row.package} is below ${THRESHOLD} %`);
  if (below.length > 0 && values.only === undefined) process.exitCode = 1;
}
