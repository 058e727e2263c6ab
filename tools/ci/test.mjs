/** `npm test`: builds and tests of every project through nx and the linter, then the real counts of all projects on the closing line. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { closingLine, countResults, resultsOf } from './counts.mjs';

const projects = ['packages', 'tools']
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .filter((project) => {
    const manifest = join(project, 'package.json');
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).scripts?.test !== undefined;
  });
// A run that crashes must not be counted by what an earlier one has left; nx restores the results of cached runs.
for (const project of projects) rmSync(resultsOf(project), { recursive: true, force: true });

const manifest = createRequire(import.meta.url).resolve('nx/package.json');
const nx = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin.nx);
// The tests are type-checked where they are built, and every project's sources are. What concerns publishing is
// `npm run package-check`.
const tasks = ['build', 'test'];
const { status } = spawnSync(
  process.execPath,
  [nx, 'run-many', '-t', ...tasks, '--outputStyle=static', ...process.argv.slice(2)],
  { stdio: 'inherit', env: { ...process.env, NX_DAEMON: 'false' } },
);

// One process lints all of them in the time in which one for each would start.
const biome = join(dirname(createRequire(import.meta.url).resolve('@biomejs/biome/package.json')), 'bin', 'biome');
const linted = spawnSync(process.execPath, [biome, 'check', '--error-on-warnings', '.'], { stdio: 'inherit' });

const { totals, lines } = countResults(projects);
for (const line of lines) console.log(line);
if ((status !== 0 || linted.status !== 0) && totals.failed === 0) {
  console.log('a task other than the tests failed');
  totals.failed++;
}
console.log(closingLine(totals));
process.exitCode = totals.failed === 0 ? 0 : 1;
