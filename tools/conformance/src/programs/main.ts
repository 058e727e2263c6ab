/** Real programs, with the pipes moved by the kernel and without: `--runs N`, and names of programs. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compare } from './comparison.js';
import { programs } from './programs.js';
import { writeSite } from './site.js';

const { values, positionals } = parseArgs({
  options: { runs: { type: 'string', default: '5' } },
  allowPositionals: true,
});
const chosen = programs.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-programs-'));
try {
  const sites = [join(directory, 'a'), join(directory, 'b')] as const;
  for (const site of sites) writeSite(site);
  for (let run = 1; run <= Number(values.runs); run++) {
    console.log(`run ${run}`);
    for (const { program, exchanges, missing, complaints, declined } of await compare(chosen, sites)) {
      const mark = missing.length > 0 ? '-' : complaints.length === 0 ? '✔' : '✖';
      const rest = missing.length > 0 ? `not installed: ${missing}` : `${exchanges} exchanges`;
      console.log(`  ${mark} ${program}: ${rest}`);
      for (const complaint of complaints) console.log(`      ${complaint}`);
      if (run === 1) for (const reason of declined) console.log(`      left to Node: ${reason}`);
      if (complaints.length > 0) process.exitCode = 1;
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
