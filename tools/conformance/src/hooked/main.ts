/** Pipes that other code disturbs, with the hook and, as their twins, without: `--cases N`, drawn by `--seed S`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { search } from './search.js';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
console.log(`seed ${values.seed}`);
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-hooked-'));
try {
  const { runs, kinds, complaints } = await search(Number(values.cases), Number(values.seed), directory);
  for (const { tried, complaint } of complaints.slice(0, 30))
    console.log(`✖ ${complaint}\n    ${JSON.stringify(tried)}`);
  console.log(`${runs} cases, ${complaints.length} wrong; beneath Node's: ${JSON.stringify(kinds)}`);
  process.exitCode = complaints.length === 0 ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
