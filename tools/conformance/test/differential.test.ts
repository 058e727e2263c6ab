/**
 * Random programs against Node's own streams: a few of each family, with a seed of their own in every run, and all that
 * ever differed (regressions/programs.jsonl, one a line). `node dist/differential/main.js` runs many.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { examine } from '@zerocopy/conformance/differential/examine';
import { families } from '@zerocopy/conformance/differential/families/index';
import { search } from '@zerocopy/conformance/differential/search';
import { Workspace } from '@zerocopy/conformance/differential/workspace';
import test from 'ava';

/** Programs of one family. */
const CASES = 15;

interface Regression {
  readonly family: string;
  /** What was wrong. */
  readonly was: string;
  readonly program: unknown;
}

const regressions = readFileSync(new URL('../test/regressions/programs.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Regression);
const given = process.env.DIFFERENTIAL_SEED;
// In CI the same each time: what decides on a change is that change.
const seed = given !== undefined ? Number(given) : process.env.CI ? 1421328794 : randomInt(2 ** 31);

const familyOf = (name: string): (typeof families)[number] => {
  const family = families.find((one) => one.name === name);
  if (family === undefined) throw new Error(`there is no family ${name}`);
  return family;
};

let workspace: Workspace;
test.before(async () => {
  workspace = await Workspace.open();
});
test.after.always(() => workspace?.close());

// One after the other: each looks at what the process holds.
for (const family of families) {
  test.serial(`${family.name}: random programs end as with Node's own streams`, async (t) => {
    t.log(`seed ${seed} (DIFFERENTIAL_SEED)`);
    const { cases, failure } = await search(family, workspace, { cases: CASES, seed });
    if (failure !== undefined) {
      t.log(`seed ${failure.seed}, path ${failure.path}: ${JSON.stringify(failure.program)}`);
      t.fail(failure.differences.join('\n'));
      return;
    }
    t.is(cases, CASES);
  });
}

for (const [number, { family: name, was, program }] of regressions.entries()) {
  test.serial(`${name} ${number}: not again ${was}`, async (t) => {
    const { differences } = await examine(familyOf(name), program, workspace);
    t.deepEqual(differences, []);
  });
}
