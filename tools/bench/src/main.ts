/** `npm run bench`: CPU seconds per GB of every contestant, interleaved, against the floor of the same run. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import CliTable from 'cli-table3';
import { max, median, min } from 'simple-statistics';
import { CLIENT_CORE, ContestantServer, canPin } from './contestant-server.js';
import { contestantNamed, contestants } from './contestants.js';
import { cpuSecondsPerGB, GB, hashOfDownload, measure, type Sample, warmUp } from './measure.js';

const MiB = 1024 * 1024;
const { values } = parseArgs({
  options: {
    size: { type: 'string', multiple: true, default: ['1', '16', '256'] },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', multiple: true },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(`npm run bench -- [--size MIB]… [--rounds N] [--only CONTESTANT]… [--json FILE]
Contestants: ${contestants.map(({ name, description }) => `${name} (${description})`).join(', ')}`);
  process.exit(0);
}

function wholeNumber(text: string, option: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new RangeError(`--${option} takes a whole number from 1; got '${text}'`);
  return number;
}

const sizes = values.size.map((text) => wholeNumber(text, 'size'));
const rounds = wholeNumber(values.rounds, 'rounds');
const chosen = values.only === undefined ? contestants : values.only.map(contestantNamed);
/** Moved in each round by each contestant. */
const BYTES_PER_ROUND = 1024 * MiB;
interface Row {
  readonly sizeMiB: number;
  readonly contestant: string;
  readonly cpuSecondsPerGB: { readonly median: number; readonly min: number; readonly max: number };
  readonly toFloor: number | undefined;
  readonly gigabytesPerSecond: number;
  readonly method: string;
}

const pin = canPin();
if (pin) spawnSync('taskset', ['-cp', CLIENT_CORE, String(process.pid)]);
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-bench-'));
const rows: Row[] = [];
try {
  for (const sizeMiB of sizes) rows.push(...(await race(sizeMiB)));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
report(rows);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);

async function race(sizeMiB: number): Promise<Row[]> {
  const path = join(directory, `${sizeMiB}MiB`);
  const content = Buffer.alloc(sizeMiB * MiB);
  for (let at = 0; at < content.length; at += 4)
    content.writeUInt32LE((Math.imul(at, 2654435761) ^ (at >>> 7)) >>> 0, at);
  writeFileSync(path, content);
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex');
  const requests = Math.max(1, Math.round(BYTES_PER_ROUND / content.length));
  const samples = new Map<string, Sample[]>(chosen.map(({ name }) => [name, []]));
  const servers = await Promise.all(
    chosen.map(async (contestant) => ({
      contestant,
      server: await ContestantServer.start(contestant.name, path, pin),
    })),
  );
  try {
    for (const { contestant, server } of servers) {
      // Nobody wins by sending less.
      const received = await hashOfDownload(server);
      if (received.sha256 !== sha256) throw new Error(`${contestant.name} sent other bytes than the file's`);
      await warmUp(server);
      await measure(server, Math.ceil(requests / 8));
    }
    for (let round = 0; round < rounds; round++) {
      for (const { contestant, server } of servers) {
        samples.get(contestant.name)?.push(await measure(server, requests));
        if (process.stderr.isTTY) process.stderr.write(`\r${sizeMiB} MiB, round ${round + 1} of ${rounds}   `);
      }
    }
    if (process.stderr.isTTY) process.stderr.write('\n');
  } finally {
    await Promise.all(servers.map(({ server }) => server.stop()));
  }
  const floorSamples = samples.get('floor');
  return chosen.map(({ name }) => {
    const own = samples.get(name) ?? [];
    const costs = own.map(cpuSecondsPerGB);
    // Round by round, so that a machine whose speed drifts does not look like a difference.
    const ratios = floorSamples?.map((floor, round) => (costs[round] ?? Number.NaN) / cpuSecondsPerGB(floor));
    return {
      sizeMiB,
      contestant: name,
      cpuSecondsPerGB: { median: median(costs), min: min(costs), max: max(costs) },
      toFloor: ratios === undefined ? undefined : median(ratios),
      gigabytesPerSecond: median(own.map((sample) => sample.bytes / GB / sample.seconds)),
      method: own.at(-1)?.method ?? 'none',
    };
  });
}

function machine(): Record<string, string | number | boolean> {
  const [processor] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    kernel: release(),
    processor: processor?.model ?? 'unknown',
    cores: cpus().length,
    pinned: pin,
    rounds,
  };
}

function report(results: readonly Row[]): void {
  const table = new CliTable({
    head: ['file', 'contestant', 'path', 'CPU s/GB', 'min–max', '× floor', 'GB/s'],
    style: { head: [], border: [] },
  });
  for (const { sizeMiB, contestant, method, cpuSecondsPerGB: cost, toFloor, gigabytesPerSecond } of results) {
    table.push([
      `${sizeMiB} MiB`,
      contestant,
      method,
      cost.median.toFixed(3),
      `${cost.min.toFixed(3)}–${cost.max.toFixed(3)}`,
      toFloor?.toFixed(2) ?? '–',
      gigabytesPerSecond.toFixed(2),
    ]);
  }
  console.log(
    Object.entries(machine())
      .map(([name, value]) => `${name}: ${value}`)
      .join(', '),
  );
  console.log(table.toString());
  console.log(
    'HTTP over loopback, one kept-alive connection, warm file, polling client. Medians over interleaved rounds.',
  );
}
