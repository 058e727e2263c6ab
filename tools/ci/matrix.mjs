/**
 * `npm run test:matrix`: the built tests everywhere they are to hold. Prints what ran, what was skipped and why; the
 * exit status is 1 for any failure. `--list` prints the rows and about how long each takes; `--only NAME` (any number
 * of times) runs those whose name has that in it; `--skips` prints the reason of every test that was skipped.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { findArm64 } from './matrix/nodes.mjs';
import { allRows } from './matrix/rows.mjs';
import { RESULTS, runRow } from './matrix/run-row.mjs';

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    list: { type: 'boolean', default: false },
    skips: { type: 'boolean', default: false },
  },
});
const { only } = values;
const rows = (await allRows()).filter(({ name }) => only?.some((part) => name.includes(part)) ?? true);

function list() {
  const table = new Table({ head: ['row', 'projects', 'about'] });
  for (const { name, projects, time } of rows) {
    table.push([name, projects.map((project) => project.split('/').at(-1)).join('\n') || 'smoke', time]);
  }
  console.log(table.toString());
}

function run() {
  mkdirSync(dirname(RESULTS), { recursive: true });
  rmSync(RESULTS, { force: true });
  // Those tests that can run a child under it do so (lease-guard's handler).
  const { command } = findArm64();
  if (command !== undefined) process.env.ZEROCOPY_ARM64 = command;
  const table = new Table({ head: ['row', 'project', 'passed', 'failed', 'skipped', 's'] });
  let failed = 0;
  const reasons = new Map();
  for (const row of rows) {
    console.log(`${row.name} …`);
    for (const result of runRow(row)) {
      if (result.reason !== undefined) table.push([row.name, { colSpan: 5, content: `not run: ${result.reason}` }]);
      else {
        table.push([row.name, result.project, result.passed, result.failed, result.skipped, result.seconds]);
        for (const skip of result.skips) reasons.set(skip, [...(reasons.get(skip) ?? []), row.name]);
      }
      failed += result.failed;
    }
  }
  if (values.skips) for (const [skip, names] of reasons) console.log(`- ${skip} [${names.join(', ')}]`);
  console.log(table.toString());
  console.log(failed === 0 ? 'no failures' : `${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

if (values.list) list();
else run();
