/**
 * `node tools/conformance/dist/security/main.js`: every theft of a descriptor, at every moment, again and again; every
 * call forbidden by a real seccomp filter, alone, before and in the midst; no descriptors left, for every transfer.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { temporaryDirectory } from '@zerocopy/testing/files';
import Table from 'cli-table3';
import { hurryTimers } from '../faults/hurried-timers.js';
import { Canaries } from './canaries.js';
import type { HungryReport } from './hungry.js';
import { FORBIDDABLE, sandboxRefusal } from './sandbox.js';
import type { SandboxReport } from './sandboxed.js';
import { allThefts, commit, MOMENTS } from './theft.js';

const run = promisify(execFile);
const { values } = parseArgs({
  options: { only: { type: 'string' }, rounds: { type: 'string', default: '20' } },
});
hurryTimers(); // a thread of leases that lives on has descriptors
const directory = temporaryDirectory(undefined, 'theft');
const canaries = new Canaries(join(directory, 'canaries'));
const table = new Table({
  style: { compact: true, head: [], border: [] },
  head: ['transfer', 'thefts', 'number used again', 'wrong'],
});
let wrong = 0;
for (const theft of allThefts) {
  if (values.only !== undefined && !theft.name.includes(values.only)) continue;
  if (theft.skipped !== undefined) {
    table.push([`${theft.name} (${theft.skipped})`, 'skipped', '', '']);
    continue;
  }
  const row = { thefts: 0, reused: 0, wrong: 0 };
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const moment of MOMENTS) {
      const { reused, complaints } = await commit(theft, moment, directory, canaries);
      row.thefts++;
      if (reused) row.reused++;
      if (complaints.length > 0) {
        row.wrong++;
        console.log(`✖ ${theft.name}, ${moment}: ${complaints.join('; ')}`);
      }
    }
  }
  wrong += row.wrong;
  table.push([theft.name, row.thefts, row.reused, row.wrong]);
}
console.log(table.toString());

const program = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));
const refusal = sandboxRefusal();
if (refusal !== undefined) console.log(`seccomp: skipped (${refusal})`);
else if (values.only === undefined) {
  const forbidden = new Table({
    style: { compact: true, head: [], border: [] },
    head: ['forbidden', 'before: EPERM', 'before: ENOSYS', 'during: EPERM', 'during: ENOSYS'],
  });
  for (const call of Object.keys(FORBIDDABLE)) {
    const row: string[] = [call];
    for (const moment of ['before', 'during']) {
      for (const code of ['EPERM', 'ENOSYS']) {
        if (call === 'mmap(PROT_EXEC)') {
          row.push('skipped'); // V8 itself ends the process when a worker, that of the leases, is started
          continue;
        }
        const { stdout } = await run(process.execPath, [program('sandboxed'), moment, code, call]);
        const { complaints, refused } = JSON.parse(stdout) as SandboxReport;
        for (const complaint of complaints) console.log(`✖ ${call}, ${moment}, ${code}: ${complaint}`);
        wrong += complaints.length;
        const failures = [...new Set(refused.map(([name, told]) => `${name} (${told})`))];
        row.push(complaints.length > 0 ? 'wrong' : failures.length === 0 ? 'same bytes' : failures.join(', '));
      }
    }
    forbidden.push(row);
  }
  console.log(forbidden.toString());
}
if (values.only === undefined) {
  const { stdout } = await run(process.execPath, [program('hungry')]);
  const { complaints, failed, whole } = JSON.parse(stdout) as HungryReport;
  for (const complaint of complaints) console.log(`✖ without descriptors: ${complaint}`);
  console.log(
    `without descriptors: ${whole} transfers brought the same bytes, ${failed} said EMFILE, ${complaints.length} wrong`,
  );
  wrong += complaints.length;
}
process.exitCode = wrong === 0 ? 0 : 1;
