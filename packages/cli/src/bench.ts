/** `zerocopy bench`. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type Turn } from './bench/client.js';
import { type Contestant, nginxVersion, OWN, ROLE, startNginx, startOwn } from './bench/contestants.js';
import { serve } from './bench/server.js';
import { type Call, UsageError } from './command.js';
import { wrap } from './help.js';
import { Progress } from './progress.js';
import type { Terminal } from './terminal.js';
import { formatBytes, parseCount, parseDuration, parseSize } from './units.js';

const SIZES = [64 * 1024, 2 ** 20, 16 * 2 ** 20];
const LARGEST = 2 ** 30;
const ROUNDS = 5;
const TURN = 200;
const PATIENCE = 10_000;
/** Of all servers at once, before anything counts: until their code is compiled. */
const WARM_UP = 3000;

interface Racer {
  readonly contestant: Contestant;
  readonly client: Client;
}

/** What one server has shown with one size. */
interface Figures {
  readonly size: number;
  readonly name: string;
  readonly method: string;
  readonly turns: readonly Turn[];
}

/** Runs the race. @returns 0. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const role = process.env[ROLE];
  if (role !== undefined && process.send !== undefined) return await serve(role);
  const rounds = call.read('rounds', parseCount(1), 'a number from 1 on') ?? ROUNDS;
  const turn = call.read('turn', parseDuration, 'a time, such as 200ms') ?? TURN;
  const patience = call.read('patience', parseDuration, 'a time, such as 10s') || PATIENCE;
  const start = Math.max(patience, PATIENCE);
  const sizes = call.has('size') ? call.all('size').map(sizeOf) : SIZES;
  const nginx = nginxVersion();
  const loadBefore = loadavg()[0] as number;
  const directory = await mkdtemp(join(tmpdir(), 'zerocopy-bench-'));
  const { signal } = terminal;
  const racers: Racer[] = [];
  const progress = await Progress.on(terminal, !call.has('quiet'), 'turns');
  try {
    const hashes = new Map<number, string>();
    for (const size of sizes) hashes.set(size, await writeRandom(join(directory, String(size)), size, signal));
    const enter = (contestant: Contestant): void => {
      racers.push({ contestant, client: new Client(contestant, patience, signal) });
    };
    for (const name of OWN) enter(await startOwn(name, directory, start, signal));
    if (nginx !== undefined) enter(await startNginx(directory, start, signal));
    const all: Figures[] = [];
    const total = sizes.length * rounds * racers.length;
    for (const [size, hash] of hashes) {
      const turns = new Map(racers.map(({ contestant }) => [contestant.name, [] as Turn[]]));
      for (const { client } of racers) await client.check(`/${size}`, hash);
      const warmUp = Math.min(all.length === 0 ? WARM_UP : WARM_UP / 2, turn * rounds * racers.length);
      await Promise.all(racers.map(({ client }) => client.turn(`/${size}`, warmUp, signal)));
      for (let round = 0; round < rounds; round++) {
        // Another is the first each time: whatever comes and goes on the machine does not always meet the same.
        for (let n = 0; n < racers.length; n++) {
          const { contestant, client } = racers[(n + round) % racers.length] as Racer;
          turns.get(contestant.name)?.push(await client.turn(`/${size}`, turn, signal));
          const done = all.length * rounds + round * racers.length + n + 1;
          progress.update(`${formatBytes(size)}`, done, total);
        }
      }
      for (const { contestant } of racers) {
        const { name } = contestant;
        all.push({ size, name, method: await contestant.method(), turns: turns.get(name) ?? [] });
      }
    }
    progress.stop();
    const machine = machineOf(loadBefore, nginx);
    if (call.has('json')) terminal.out(asJson(all, machine, { rounds, turn }));
    else await print(all, machine, { rounds, turn }, terminal);
    return 0;
  } finally {
    progress.stop();
    for (const { contestant, client } of racers) {
      client.close();
      await contestant.stop();
    }
    await rm(directory, { recursive: true, force: true });
  }
}

function sizeOf(text: string): number {
  const size = parseSize(text);
  if (size === undefined || size < 1 || size > LARGEST) throw new UsageError(`--size: expected 1 to 1G, got '${text}'`);
  return size;
}

/** @returns its SHA-256. */
async function writeRandom(path: string, size: number, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const piece = randomBytes(Math.min(size, 2 ** 20));
  const pieces = function* (): Generator<Buffer> {
    for (let left = size; left > 0; left -= piece.length) {
      const next = piece.subarray(0, Math.min(left, piece.length));
      hash.update(next);
      yield next;
    }
  };
  await writeFile(path, pieces(), { signal });
  return hash.digest('hex');
}

interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
  /** null: it is not installed. */
  readonly nginx: string | null;
  /** Processes that ran or wanted to, a minute's mean before the race and at its end. */
  readonly load: readonly [before: number, after: number];
}

function machineOf(loadBefore: number, nginx: string | undefined): Machine {
  const all = cpus();
  const load = [loadBefore, loadavg()[0] as number] as const;
  const cpu = all[0]?.model.trim() ?? 'unknown';
  return { kernel: release(), cpu, cores: all.length, node: process.version, nginx: nginx ?? null, load };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

interface Effort {
  readonly rounds: number;
  readonly turn: number;
}

function asJson(all: readonly Figures[], machine: Machine, { rounds, turn }: Effort): string {
  const figures = all.map(({ turns, ...rest }) => ({
    ...rest,
    cpuSecondsPerRequest: median(turns.map(({ cpu }) => cpu)),
    bytesPerSecond: median(turns.map(({ rate }) => rate)),
    turns,
  }));
  return JSON.stringify({ machine, rounds, turnSeconds: turn / 1000, figures }, undefined, 2);
}

const microseconds = (seconds: number): string => (seconds * 1e6).toFixed(seconds < 1e-4 ? 1 : 0);

async function print(all: readonly Figures[], machine: Machine, effort: Effort, terminal: Terminal): Promise<void> {
  const { default: Table } = await import('cli-table3');
  const { kernel, cpu, cores, node, nginx, load } = machine;
  const peer = nginx === null ? 'nginx: not installed' : `nginx ${nginx}`;
  const [before, after] = load.map((value) => value.toFixed(1));
  terminal.out(`Linux ${kernel}, ${cores} × ${cpu}`);
  terminal.out(`Node ${node}, ${peer}; load ${before} before, ${after} after`);
  const right = 'right' as const;
  for (const size of new Set(all.map((figures) => figures.size))) {
    const rows = all.filter((figures) => figures.size === size);
    const heads = ['server', 'by', 'CPU µs/request', 'least', 'most', 'MB/s'];
    const table = new Table({
      head: heads,
      style: { head: [], border: [], compact: true, 'padding-left': 0 },
      chars: BORDERLESS,
      colAligns: ['left', 'left', right, right, right, right],
    });
    for (const { name, method, turns } of rows) {
      const cpuOf = turns.map((turn) => turn.cpu);
      const told = [median(cpuOf), Math.min(...cpuOf), Math.max(...cpuOf)].map(microseconds);
      table.push([name, method, ...told, (median(turns.map(({ rate }) => rate)) / 1e6).toFixed(0)]);
    }
    terminal.out(
      `\n${terminal.paint('bold', `a file of ${formatBytes(size)}`)}\n${table.toString().replaceAll(/ +$/gm, '')}`,
    );
  }
  const busy = load[0] > cores / 2 ? ', on a machine that had other things to do' : '';
  const { rounds, turn } = effort;
  const turns = rounds === 1 ? 'One turn' : `Medians of ${rounds} turns`;
  const note = `${turns} of ${turn / 1000} s${busy}: a short race. Figures that are close say nothing.`;
  terminal.out(`\n${wrap(note, terminal.width).join('\n')}`);
}

const NO_LINES = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'];
const BORDERLESS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [...NO_LINES, 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'].map((at) => [at, '']),
  ),
  middle: ' ',
};
