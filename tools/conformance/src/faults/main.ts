/** `node tools/conformance/dist/faults/main.js`: every fault at the first 20 calls of every traffic. */
import './install.js';
import { parseArgs } from 'node:util';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import Table from 'cli-table3';
import { allTraffic } from '../traffic/index.js';
import { pattern } from '../traffic/traffic.js';
import { describeFault, exhaust, FAULTS } from './exhaustive.js';
import type { Fault } from './injection.js';
import { exhaustLeaseThread } from './lease-thread.js';
import { exhaustProbe } from './probe.js';
import { exhaustTrap } from './trap.js';

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
const table = new Table({ head: ['traffic', 'trials', 'not reached', 'same bytes', 'clear error', 'wrong'] });
let wrong = 0;
interface OtherTrial {
  readonly at: number;
  readonly fault: Fault | undefined;
  readonly call: string | undefined;
  readonly complaint: string | undefined;
}

/** What is no traffic. The probe makes many calls, each with the same consequence: of the later ones, a few faults. */
const others: Readonly<Record<string, () => Promise<readonly (OtherTrial & { readonly clear: boolean })[]>>> = {
  'the thread that answers for leases': async () => [
    ...(await exhaustLeaseThread('released', content, FAULTS, firstCalls)).map((trial) => ({
      ...trial,
      clear: trial.error !== undefined,
    })),
    ...(await exhaustLeaseThread('told', content, FAULTS, firstCalls)).map((trial) => ({
      ...trial,
      clear: trial.error !== undefined,
    })),
    ...(await exhaustLeaseThread('copied', content, FAULTS, firstCalls)).map((trial) => ({
      ...trial,
      clear: trial.error !== undefined,
    })),
  ],
  'the first SIGBUS trap of a process': async () =>
    (await exhaustTrap(FAULTS)).map((trial) => ({ ...trial, clear: trial.code !== undefined })),
  probePath: async () =>
    (await exhaustProbe('probePath', FAULTS)).map((trial) => ({ ...trial, clear: trial.missing.length > 0 })),
  'the probe': async () =>
    (await exhaustProbe('probe', FAULTS, (at, fault) => at <= firstCalls || FAULTS.indexOf(fault) % 4 === 3)).map(
      (trial) => ({ ...trial, clear: trial.missing.length > 0 }),
    ),
};

// First: a thread that some traffic has left alive would not be tried.
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
for (const traffic of allTraffic) {
  if (values.only !== undefined && !traffic.name.includes(values.only)) continue;
  const trials = await exhaust(traffic, {
    content,
    firstCalls,
    patience: Number(values.patience),
    pooled: () => 2 * pipePoolStats().idle,
    onTrial({ at, fault, call, complaint }) {
      if (complaint !== undefined)
        console.log(`✖ ${traffic.name}: ${describeFault(fault)} at call ${at} (${call}): ${complaint}`);
    },
  });
  const bad = trials.filter(({ complaint }) => complaint !== undefined);
  const good = trials.filter(({ complaint, call }) => complaint === undefined && call !== undefined);
  const clear = good.filter(({ deliveries }) => deliveries.some(({ error }) => error !== undefined));
  const missed = trials.filter(({ complaint, call }) => complaint === undefined && call === undefined);
  table.push([traffic.name, trials.length, missed.length, good.length - clear.length, clear.length, bad.length]);
  wrong += bad.length;
}
console.log(table.toString());
process.exitCode = wrong === 0 ? 0 : 1;
