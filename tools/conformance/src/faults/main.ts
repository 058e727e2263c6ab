/** `node tools/conformance/dist/faults/main.js`: every fault at the first 20 calls of every way. */
import './install.js';
import { parseArgs } from 'node:util';
import { pattern } from '@zerocopy/testing/bytes';
import Table from 'cli-table3';
import { allWays, whyNot } from '../ways/index.js';
import { describeFault, exhaust, FAULTS } from './exhaustive.js';
import type { Fault } from './injection.js';
import { LEASE_SCENES, leaseThreadUnder } from './lease-thread.js';
import { probeUnder } from './probe.js';
import { trapUnder } from './trap.js';
import { everyFault, type Trial } from './trials.js';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    calls: { type: 'string', default: '20' },
    size: { type: 'string', default: '1000000' },
    patience: { type: 'string', default: '10000' },
  },
});
const content = pattern(Number(values.size));
const firstCalls = Number(values.calls);
const table = new Table({ head: ['way', 'trials', 'not reached', 'same bytes', 'clear error', 'wrong'] });
let wrong = 0;
/** What is no way. The probe makes many calls, each with the same consequence: of the later ones, a few faults. */
const others: Readonly<Record<string, () => Promise<readonly Trial[]>>> = {
  'the thread that answers for leases': async () => {
    const all: Trial[] = [];
    for (const scene of LEASE_SCENES) {
      const under = (at: number, fault: Fault | undefined) => leaseThreadUnder(scene, content, at, fault);
      all.push(...(await everyFault(under, FAULTS, { firstCalls })));
    }
    return all;
  },
  'the first SIGBUS trap of a process': () => everyFault(trapUnder, FAULTS),
  probePath: () => everyFault((at, fault) => probeUnder('probePath', at, fault), FAULTS),
  'the probe': () =>
    everyFault((at, fault) => probeUnder('probe', at, fault), FAULTS, {
      choose: (at, fault) => at <= firstCalls || FAULTS.indexOf(fault) % 4 === 3,
    }),
};

// First: a thread that some way has left alive would not be tried.
for (const [name, run] of Object.entries(others)) {
  if (values.only !== undefined && !name.includes(values.only)) continue;
  const trials = await run();
  const bad = trials.filter(({ complaint }) => complaint !== undefined);
  for (const { at, fault, call, complaint } of bad) {
    console.log(`✖ ${name}: ${fault && describeFault(fault)} at call ${at} (${call}): ${complaint}`);
  }
  const good = trials.filter(({ complaint, call }) => complaint === undefined && call !== undefined);
  const clear = good.filter((trial) => trial.clear);
  const missed = trials.length - bad.length - good.length;
  table.push([name, trials.length, missed, good.length - clear.length, clear.length, bad.length]);
  wrong += bad.length;
}
for (const way of allWays) {
  if (values.only !== undefined && !way.name.includes(values.only)) continue;
  const missing = whyNot(way);
  if (missing !== undefined) {
    table.push([`${way.name} (${missing})`, 'skipped', '', '', '', '']);
    continue;
  }
  const trials = await exhaust(way, {
    content,
    firstCalls,
    patience: Number(values.patience),
    onTrial({ at, fault, call, complaint }) {
      if (complaint !== undefined)
        console.log(`✖ ${way.name}: ${describeFault(fault)} at call ${at} (${call}): ${complaint}`);
    },
  });
  const bad = trials.filter(({ complaint }) => complaint !== undefined);
  const good = trials.filter(({ complaint, call }) => complaint === undefined && call !== undefined);
  const clear = good.filter(({ deliveries }) => deliveries.some(({ error }) => error !== undefined));
  const missed = trials.filter(({ complaint, call }) => complaint === undefined && call === undefined);
  table.push([way.name, trials.length, missed.length, good.length - clear.length, clear.length, bad.length]);
  wrong += bad.length;
}
console.log(table.toString());
process.exitCode = wrong === 0 ? 0 : 1;
