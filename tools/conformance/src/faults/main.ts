/** `node tools/conformance/dist/faults/main.js`: every fault at the first 20 calls of every traffic. */
import './install.js';
import { parseArgs } from 'node:util';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import Table from 'cli-table3';
import { allTraffic } from '../traffic/index.js';
import { pattern } from '../traffic/traffic.js';
import { describeFault, exhaust } from './exhaustive.js';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    calls: { type: 'string', default: '20' },
    size: { type: 'string', default: '1000000' },
    patience: { type: 'string', default: '10000' },
  },
});
const content = pattern(Number(values.size));
const table = new Table({ head: ['traffic', 'trials', 'not reached', 'same bytes', 'clear error', 'wrong'] });
let wrong = 0;
for (const traffic of allTraffic) {
  if (values.only !== undefined && !traffic.name.includes(values.only)) continue;
  const trials = await exhaust(traffic, {
    content,
    firstCalls: Number(values.calls),
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
