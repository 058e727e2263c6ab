/** What it takes to start `zerocopy probe`, beside a Node that does nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { median } from 'simple-statistics';
import { program } from './command.js';

/** Milliseconds of CPU in which `zerocopy probe` has to have started, done its work, and ended. */
const LIMIT = 150;

interface Taken {
  /** Milliseconds, of the process itself, user and system. */
  readonly cpu: number;
  readonly wall: number;
}

async function run(preload: string, args: readonly string[]): Promise<Taken> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, ['-r', preload, ...args], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
  let told = '';
  child.stdio[3]?.on('data', (chunk) => {
    told += chunk;
  });
  await once(child, 'close');
  return { cpu: Number(told), wall: performance.now() - startedAt };
}

export interface Start {
  readonly text: string;
  readonly findings: readonly string[];
}

/** The two take turns. The wall clock is told; what is judged is the process' own, which the load of the machine does not touch. */
export async function starting(rounds: number): Promise<Start> {
  const directory = temporaryDirectory();
  const preload = join(directory, 'cpu.cjs');
  writeFileSync(
    preload,
    `process.on('exit', () => {
  const { user, system } = process.cpuUsage();
  require('node:fs').writeSync(3, String((user + system) / 1000));
});`,
  );
  const [empty, probe]: [Taken[], Taken[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    empty.push(await run(preload, ['-e', '0']));
    probe.push(await run(preload, [program, 'probe']));
  }
  removeDirectory(directory);
  const told = (all: readonly Taken[]): string => {
    const [cpu, wall] = [median(all.map((one) => one.cpu)), all.map((one) => one.wall)];
    return `${cpu.toFixed(0)} ms of CPU (${median(wall).toFixed(0)} ms, at least ${Math.min(...wall).toFixed(0)} ms)`;
  };
  const cpu = median(probe.map((one) => one.cpu));
  return {
    text: `start of probe: ${told(probe)}; node -e 0: ${told(empty)}; ${process.version}, load ${loadavg()[0]?.toFixed(1)}`,
    findings: cpu > 0 && cpu < LIMIT ? [] : [`it takes ${cpu} ms of CPU, and may take ${LIMIT}`],
  };
}
