/** `npm run bench`: what serving files costs every contestant, interleaved, against the floor of the same run. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import CliTable from 'cli-table3';
import { max, median, min } from 'simple-statistics';
import { CLIENT_CORE, ContestantServer, canPin, type Server } from './contestant-server.js';
import { contestants } from './contestants.js';
import { cpuSecondsPerGB, GB, hashOfDownload, measure, type Sample, warmUp } from './measure.js';
import { peers } from './peers.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const { values } = parseArgs({
  options: {
    size: { type: 'string', multiple: true, default: ['1KiB', '16KiB', '64KiB', '1MiB', '16MiB', '256MiB'] },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', multiple: true },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly version: string | undefined;
  start(path: string, pin: boolean): Promise<Server>;
}

const everybody: readonly Entry[] = [
  ...contestants.map(({ name, description }) => ({
    name,
    description,
    version: process.version,
    start: (path: string, pinned: boolean) => ContestantServer.start(name, path, pinned),
  })),
  ...peers.map((peer) => ({ ...peer, version: peer.version() })),
];
/** Without those that only tune us. */
const DEFAULT = ['node', 'zerocopy', 'zerocopy-sendFile', 'memory', 'floor', ...peers.map(({ name }) => name)];

if (values.help) {
  console.log(`npm run bench -- [--size 16KiB|1MiB]… [--rounds N] [--only CONTESTANT]… [--json FILE]
Contestants:
${everybody.map(({ name, description, version }) => `  ${name.padEnd(18)} ${description}${version === undefined ? ' (not installed)' : ''}`).join('\n')}`);
  process.exit(0);
}

function sizeOf(text: string): number {
  const match = /^(\d+)(KiB|MiB)?$/.exec(text);
  if (match === null) throw new RangeError(`--size takes a number with KiB or MiB; got '${text}'`);
  return Number(match[1]) * (match[2] === 'KiB' ? KiB : MiB);
}

const nameOf = (size: number): string => (size < MiB ? `${size / KiB} KiB` : `${size / MiB} MiB`);

const sizes = values.size.map(sizeOf);
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1) throw new RangeError(`--rounds takes a whole number from 1`);
const chosen = (values.only ?? DEFAULT).map((name) => {
  const entry = everybody.find((one) => one.name === name);
  if (entry === undefined) throw new RangeError(`no contestant '${name}'; --help lists them`);
  return entry;
});
const PEERS: Readonly<Record<string, unknown>> = Object.fromEntries(peers.map((peer) => [peer.name, peer]));
const present = chosen.filter(({ version }) => version !== undefined);
/** Moved in each round by each contestant, within the bounds on requests. */
const BYTES_PER_ROUND = 1024 * MiB;
const REQUESTS_MAX = 4000;

interface Row {
  readonly size: number;
  readonly contestant: string;
  readonly cpuSecondsPerGB: { readonly median: number; readonly min: number; readonly max: number };
  readonly cpuMicrosecondsPerRequest: number;
  readonly requestsPerSecond: number;
  readonly toFloor: number | undefined;
  readonly gigabytesPerSecond: number;
  readonly method: string;
}

const pin = canPin();
if (pin) spawnSync('taskset', ['-cp', CLIENT_CORE, String(process.pid)]);
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-bench-'));
const rows: Row[] = [];
try {
  for (const size of sizes) rows.push(...(await race(size)));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
report(rows);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);

async function race(size: number): Promise<Row[]> {
  const path = join(directory, String(size));
  const content = Buffer.alloc(size);
  for (let at = 0; at < size; at += 4) content.writeUInt32LE((Math.imul(at, 2654435761) ^ (at >>> 7)) >>> 0, at);
  writeFileSync(path, content);
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex');
  const requests = Math.min(REQUESTS_MAX, Math.max(1, Math.round(BYTES_PER_ROUND / size)));
  const samples = new Map<string, Sample[]>(present.map(({ name }) => [name, []]));
  const servers = await Promise.all(
    present.map(async (entry) => ({ name: entry.name, server: await entry.start(path, pin) })),
  );
  try {
    for (const { name, server } of servers) {
      // Nobody wins by sending less.
      const received = await hashOfDownload(server);
      if (received.sha256 !== sha256) throw new Error(`${name} sent other bytes than the file's`);
      await warmUp(server);
      await measure(server, Math.ceil(requests / 8));
    }
    for (let round = 0; round < rounds; round++) {
      for (const { name, server } of servers) {
        samples.get(name)?.push(await measure(server, requests));
        if (process.stderr.isTTY) process.stderr.write(`\r${nameOf(size)}, round ${round + 1} of ${rounds}   `);
      }
    }
    if (process.stderr.isTTY) process.stderr.write('\n');
  } finally {
    await Promise.all(servers.map(({ server }) => server.stop()));
  }
  const floorSamples = samples.get('floor');
  return present.map(({ name }) => {
    const own = samples.get(name) ?? [];
    const costs = own.map(cpuSecondsPerGB);
    // Round by round, so that a machine whose speed drifts does not look like a difference.
    const ratios = floorSamples?.map((floor, round) => (costs[round] ?? Number.NaN) / cpuSecondsPerGB(floor));
    return {
      size,
      contestant: name,
      cpuSecondsPerGB: { median: median(costs), min: min(costs), max: max(costs) },
      cpuMicrosecondsPerRequest: median(own.map((sample) => (sample.cpuSeconds * 1e6) / requests)),
      requestsPerSecond: median(own.map((sample) => requests / sample.seconds)),
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
    ...Object.fromEntries(
      chosen.filter(({ name }) => name in PEERS).map(({ name, version }) => [name, version ?? 'not installed']),
    ),
  };
}

function report(results: readonly Row[]): void {
  const table = new CliTable({
    head: ['file', 'contestant', 'path', 'CPU s/GB', 'min–max', '× floor', 'GB/s', 'CPU µs/request', 'requests/s'],
    style: { head: [], border: [] },
  });
  for (const row of results) {
    const { cpuSecondsPerGB: cost } = row;
    table.push([
      nameOf(row.size),
      row.contestant,
      row.method,
      cost.median.toFixed(3),
      `${cost.min.toFixed(3)}–${cost.max.toFixed(3)}`,
      row.toFloor?.toFixed(2) ?? '–',
      row.gigabytesPerSecond.toFixed(2),
      row.cpuMicrosecondsPerRequest.toFixed(0),
      row.requestsPerSecond.toFixed(0),
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
