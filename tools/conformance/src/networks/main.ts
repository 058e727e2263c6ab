/** `node tools/conformance/dist/networks/main.js`: everything between two hosts on networks that lose, delay and reorder. */
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { namespacesPermitted } from './namespaces.js';
import { LONG, QUICK, type Row, USUAL } from './report.js';
import { runNetworks } from './run.js';

const HELP = `Two hosts in network namespaces, joined by veth: every way that has connections, over that link and back.

  --long       larger files, receivers that stall for minutes, a link that is down for longer
  --quick      what the everyday test does
  --seed N     of the bytes, and of what happens to packets (default: random, printed)
  --only NAME  the conditions or ways whose names contain it
`;

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    seed: { type: 'string' },
    only: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

function describe({ faults, outcome }: Row): string {
  return faults.length === 0 ? outcome : `✖ ${[...faults, outcome].filter(Boolean).join('\n')}`;
}

const nameOf = ({ what }: Row): string => (what.length === 1 ? (what[0] as string) : `${what.length} ways`);

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`--seed takes an integer, not ${values.seed}`);
  const permission = namespacesPermitted();
  if (!permission.permitted) {
    console.log(`skipped: ${permission.reason}`);
    return 0;
  }
  const interrupted = new AbortController();
  let exitCode = 1;
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ] as const) {
    process.once(signal, () => {
      exitCode = 128 + number;
      interrupted.abort();
    });
  }
  const options = { ...(values.long ? LONG : values.quick ? QUICK : USUAL), seed, only: values.only };
  try {
    const { rows } = await runNetworks(options, {
      signal: interrupted.signal,
      onLink: (kind, congestionControl) =>
        console.log(
          `packets are impaired by ${kind}; TCP's congestion control: ${congestionControl}; --seed ${seed}\n`,
        ),
      onRow: (row) =>
        process.stderr.write(
          `${row.faults.length === 0 ? '✔' : '✖'} ${[`${row.condition}: ${nameOf(row)}`, ...row.faults].join('\n    ')}\n`,
        ),
    });
    const table = new Table({
      head: ['condition', 'what', 'MiB verified', 's', 'by, or what came of it'],
      chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    });
    for (const row of rows) {
      const { condition, bytes, seconds } = row;
      table.push([
        condition,
        nameOf(row),
        bytes === 0 ? '' : (bytes / 2 ** 20).toFixed(1),
        seconds.toFixed(1),
        describe(row),
      ]);
    }
    console.log(table.toString());
    const failed = rows.filter(({ faults }) => faults.length > 0).length;
    console.log(
      failed === 0 ? `all ${rows.length} as they should be` : `${failed} of ${rows.length} are not as they should be`,
    );
    return failed === 0 && rows.length > 0 ? 0 : 1;
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    console.log('interrupted; namespaces, devices and files are gone');
    return exitCode;
  }
}

process.exitCode = await main();
