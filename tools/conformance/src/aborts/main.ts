/**
 * Processes that end in the middle of everything, and twins that do so with Node's own streams.
 * `--rounds N` of all endings, at moments drawn by `--seed S`; `--only NAME` those whose name has that in it;
 * `--hazards` with what is known to abort in terminated threads, by Node's HTTP parser and by koffi: see child.ts.
 */
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { endings } from './endings.js';
import { momentsOf } from './moments.js';
import { difference, type Outcome, run } from './round.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string' },
    hazards: { type: 'boolean', default: false },
  },
});
console.log(`seed ${values.seed}`);
const chosen = endings.filter(({ name }) => values.only === undefined || name.includes(values.only));
const table = new Table({ head: ['ending', 'rounds', 'as the twin', 'otherwise'] });
let wrong = 0;
for (const ending of chosen) {
  let same = 0;
  let twins: Outcome | undefined;
  for (const [round, moment] of momentsOf(ending, Number(values.seed), Number(values.rounds)).entries()) {
    // How the twin ends does not depend on the moment; once in a while it is asked again.
    if (round % 10 === 0) twins = await run('node', ending, moment, values.hazards);
    const complaint = difference(ending, await run('ours', ending, moment, values.hazards), twins as Outcome);
    if (complaint === undefined) same++;
    else console.log(`✖ ${ending.name}, ${JSON.stringify(moment)}: ${complaint}`);
  }
  wrong += Number(values.rounds) - same;
  table.push([ending.name, values.rounds, same, Number(values.rounds) - same]);
}
console.log(table.toString());
process.exitCode = wrong === 0 ? 0 : 1;
