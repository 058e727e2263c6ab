/**
 * `npm run conformance -- static [--fuzz N] [--races N] [--aborts N] [--seed N] [--only NAME …] [--no-comparison]`:
 * serve-files by the table of what is right, beside what people use today; and serve-files under hostile clients.
 */
import { parseArgs } from 'node:util';
import { compare } from './comparison.js';
import { aborts, type Findings, fuzz, races, slowReaders } from './hostile.js';
import { startNode } from './running.js';
import { makeSite } from './site.js';

const { values } = parseArgs({
  options: {
    fuzz: { type: 'string', default: '100000' },
    races: { type: 'string', default: '10000' },
    aborts: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    only: { type: 'string', multiple: true },
    'no-comparison': { type: 'boolean', default: false },
  },
});

let failed = false;

async function tell(title: string, findings: Promise<Findings>): Promise<void> {
  const startedAt = performance.now();
  const found = await findings;
  failed ||= found.length > 0;
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${title}: ${found.length === 0 ? 'nothing wrong' : found.join('\n  ')} (${seconds} s)`);
}

if (!values['no-comparison']) {
  const { clean, text } = await compare(values.only);
  failed ||= !clean;
  console.log(text);
}

console.log(`seed ${values.seed}`);
/** With how many of the files that a run asks for it may keep open. */
const tried = [
  ['serveFiles', 0],
  ['serveFiles, kept open', 1],
] as const;
for (const [name, kept] of tried) {
  const site = makeSite();
  const server = await startNode(name, site.root);
  await tell(`${name}: ${values.fuzz} requests of nonsense`, fuzz(server, Number(values.fuzz), Number(values.seed)));
  await tell(
    `${name}: ${values.races} turns of a name that leads elsewhere`,
    races(server, site, Number(values.races), kept),
  );
  await tell(`${name}: ${values.aborts} downloads given up`, aborts(server, Number(values.aborts), kept));
  await tell(`${name}: 100 slow readers`, slowReaders(server));
  await server.stop();
  site.remove();
}
if (failed) process.exitCode = 1;
