/** Where and with what was measured. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import type { Effort } from './scenario.js';

export interface Machine {
  readonly date: string;
  readonly node: string;
  readonly kernel: string;
  readonly processor: string;
  readonly cores: number;
  /** GiB. */
  readonly memory: number;
  /** Server and client on cores of their own. */
  readonly pinned: boolean;
  readonly effort: Effort;
  /** Of the last minute, when the run began. */
  readonly load: number;
  /** Of the time that this machine's cores could have worked during the run, the share that the host took away, in percent. */
  readonly stolen: number;
  readonly minutes: number;
}

/** All cores' ticks since boot, and those the host took: proc_stat(5). */
function ticks(): { all: number; stolen: number } {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
  const fields = line.split(/\s+/).slice(1, 9).map(Number);
  return { all: fields.reduce((a, b) => a + b, 0), stolen: fields[7] ?? 0 };
}

/** Begins now; the function it returns is called at the end. */
export function observeMachine(effort: Effort, pinned: boolean): () => Machine {
  const before = ticks();
  const startedAt = performance.now();
  const [load = 0] = loadavg();
  return () => {
    const after = ticks();
    const [processor] = cpus();
    return {
      date: new Date().toISOString().slice(0, 10),
      node: process.version,
      kernel: release().replace(/-.*/, ''), // without the builder's suffix
      processor: processor?.model ?? 'unknown',
      cores: cpus().length,
      memory: Math.round(totalmem() / 2 ** 30),
      pinned,
      effort,
      load,
      stolen: (100 * (after.stolen - before.stolen)) / Math.max(1, after.all - before.all),
      minutes: (performance.now() - startedAt) / 60_000,
    };
  };
}

export function machineInWords({ date, node, kernel, processor, cores, memory, pinned }: Machine): string {
  const cpu = processor === 'unknown' ? 'unknown processor' : processor;
  return `${date}, Node ${node}, Linux ${kernel}, ${cpu}, ${cores} cores${pinned ? ' (server and client each on its own)' : ''}, ${memory} GiB`;
}
