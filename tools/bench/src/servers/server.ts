/** Somebody who serves, in a process of its own, pinned to one core where the system has two and taskset. */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import type { ProcessMeter } from './process-meter.js';

export const SERVER_CORE = '0';
export const CLIENT_CORE = '1';

/** Whether processes can be kept on cores of their own here. */
export function canPin(): boolean {
  return availableParallelism() > 1 && spawnSync('taskset', ['-c', SERVER_CORE, 'true']).status === 0;
}

/** Keeps this process, the one that measures, on the client's core. */
export function pinClient(): void {
  spawnSync('taskset', ['-acp', CLIENT_CORE, String(process.pid)]);
}

export function pinned(command: readonly string[], pin: boolean): [program: string, ...parameters: string[]] {
  const [program = '', ...parameters] = pin ? ['taskset', '-c', SERVER_CORE, ...command] : command;
  return [program, ...parameters];
}

/** What only the process itself knows. */
export interface Details {
  readonly method: string;
  /** System calls that the packages made since they were last asked for; 0 where they happen inside Node. */
  readonly syscalls: number;
  /** The 99th percentile of how late the event loop was since the last detailed question, in milliseconds. */
  readonly loopDelayP99?: number;
  /** JavaScript heap and what it keeps outside of it, after a collection, in bytes; only if asked in detail. */
  readonly heap?: number;
  /** Garbage collections since they were last asked for. */
  readonly collections?: number;
}

export interface Server {
  readonly port: number;
  readonly meter: ProcessMeter;
  /** @param detailed also of the loop's delay and the heap, which takes time and starts the delay anew. */
  details(detailed?: boolean): Promise<Details>;
  stop(): Promise<void>;
}
