/**
 * Random programs, run by Node's own streams and by ours, and compared.
 *
 *   node dist/differential/main.js --cases 10000 [--seed N] [--family NAME] [--path P] [--program JSON]
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { examine, observe } from './examine.js';
import { families } from './families/index.js';
import { uncaught } from './run.js';
import { type Failure, type Search, search } from './search.js';
import { Workspace } from './workspace.js';

const USAGE = `node dist/differential/main.js [options]
  --cases N       programs in all (default 1000), shared out among the families
  --seed N        default: a random one, which is printed
  --family NAME   only this one: ${families.map(({ name }) => name).join(', ')}
  --path P        of a counterexample, with its seed and family: run that again
  --every         all programs of a family that has a list of them: ways
  --verbose       print programs for which one run of Node was not enough
  --program JSON  run this program of the family by both, and print what is seen
`;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000' },
    seed: { type: 'string' },
    family: { type: 'string' },
    path: { type: 'string' },
    program: { type: 'string' },
    every: { type: 'boolean' },
    verbose: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});

if (values.help) {
  process.stdout.write(USAGE);
  process.exit();
}

const chosen = families.filter(({ name }) => values.family === undefined || name === values.family);
if (chosen.length === 0) {
  process.stderr.write(USAGE);
  process.exit(2);
}

for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => uncaught.push(error));

const workspace = await Workspace.open();
if (values.program !== undefined) await replay(JSON.parse(values.program));
else await campaign();
await workspace.close();

async function replay(program: unknown): Promise<void> {
  const [family] = chosen as [(typeof families)[number]];
  for (const side of ['node', 'ours'] as const) {
    process.stdout.write(`${side}: ${JSON.stringify(await observe(family, program, side, workspace), null, 2)}\n`);
  }
  const { differences, runs } = await examine(family, program, workspace);
  process.stdout.write(
    differences.length === 0 ? `the same, after ${runs} runs of Node\n` : `${differences.join('\n')}\n`,
  );
  if (differences.length > 0) process.exitCode = 1;
}

async function campaign(): Promise<void> {
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
  process.stdout.write(`seed ${seed}\n`);
  const cases = Math.ceil(Number(values.cases) / chosen.length);
  const results: Search[] = [];
  for (const family of chosen) {
    let done = 0;
    let last: unknown;
    const result = await search(family, workspace, {
      cases,
      seed,
      path: values.path,
      every: values.every,
      onProgram(program) {
        last = program;
        if (++done % 250 === 0) process.stdout.write(`${family.name}: ${done} programs\n`);
      },
      onRepeated({ first, runs, rare }) {
        if (rare !== undefined) {
          process.stdout.write(`  rare: ${rare.join('\n    ')}\n    ${JSON.stringify(last)}\n`);
        }
        if (values.verbose)
          process.stdout.write(`  ${runs} runs of Node: ${first.join('\n    ')}\n    ${JSON.stringify(last)}\n`);
      },
    });
    results.push(result);
    if (result.failure !== undefined) report(result.family, result.failure);
  }
  const table = new Table({
    head: ['family', 'cases', 'Node run again', 'rare', 'seconds', ''],
    style: { head: [], border: [] },
  });
  for (const { family, cases: ran, repeated, rare, milliseconds, failure } of results) {
    const verdict = failure === undefined ? 'same' : 'DIFFERENT';
    table.push([family, ran, repeated, rare, (milliseconds / 1000).toFixed(1), verdict]);
  }
  process.stdout.write(`${table.toString()}\nseed ${seed}\n`);
  if (results.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
}

function report(family: string, { program, differences, seed, path }: Failure): void {
  process.stdout.write(
    `${family} differs:\n  ${differences.join('\n  ')}\n${JSON.stringify(program)}\n` +
      `again: node dist/differential/main.js --family ${family} --seed ${seed} --path ${path}\n` +
      `by hand: node dist/differential/main.js --family ${family} --program '${JSON.stringify(program)}'\n`,
  );
}
