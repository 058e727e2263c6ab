/** `node tools/conformance/dist/security/main.js`: every theft of a descriptor, at every moment, again and again. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { Canaries } from './canaries.js';
import { commit, MOMENTS } from './theft.js';
import { allThefts } from './thefts.js';

const { values } = parseArgs({
  options: { only: { type: 'string' }, rounds: { type: 'string', default: '20' } },
});
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-theft-'));
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
rmSync(directory, { recursive: true, force: true });
console.log(table.toString());
process.exitCode = wrong === 0 ? 0 : 1;
