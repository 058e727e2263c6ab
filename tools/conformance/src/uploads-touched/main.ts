/** Uploads whose connections are touched at random by other code: `--runs N`, drawn by `--seed S`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { search } from './search.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
console.log(`seed ${values.seed}`);
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-touched-'));
try {
  const { runs, whole, failed, complaints } = await search(Number(values.runs), Number(values.seed), directory);
  for (const { plan, complaint } of complaints.slice(0, 20)) console.log(`✖ ${complaint}: ${JSON.stringify(plan)}`);
  console.log(`${runs} uploads: ${whole} whole, ${failed} with an error, ${complaints.length} wrong`);
  process.exitCode = complaints.length === 0 ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
