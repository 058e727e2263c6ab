/**
 * Several processes behind one listening socket. Each accepts from the socket itself (SCHED_NONE): a connection is never on
 * its way from one process to another, where it would be lost with a worker that stops.
 */
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import type { Call } from '../command.js';
import type { Terminal } from '../terminal.js';
import { DRAIN } from './drain-message.js';

/** Whether this process is to start workers, and not to serve itself. */
export const isPrimary = (workers: number): boolean => workers > 1 && cluster.isPrimary;

/** Whether this process is the one that says where it listens. */
export const isSpokesman = (): boolean => cluster.isPrimary || cluster.worker?.id === 1;

/** Until the signal: workers that die are replaced, unless they have died before they listened. @returns the status. */
export async function runWorkers(count: number, { command, args }: Call, terminal: Terminal): Promise<number> {
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  // What runs is the program itself: Node's default for `exec`.
  cluster.setupPrimary({ args: [command, ...args] });
  const { signal } = terminal;
  const listening = new Set<Worker>();
  let failed = false;
  const drain = (): void => {
    for (const worker of Object.values(cluster.workers ?? {})) {
      if (worker?.isConnected()) worker.send(DRAIN, undefined, undefined, () => {}); // it may be gone by now
    }
  };
  cluster.on('listening', (worker) => listening.add(worker));
  cluster.on('exit', (worker, code, killedBy) => {
    if (signal.aborted || failed) return;
    terminal.note(`zerocopy ${command}: worker ${worker.process.pid} ended (${killedBy ?? code})`);
    if (listening.delete(worker)) cluster.fork();
    else {
      failed = true;
      drain();
    }
  });
  signal.addEventListener('abort', drain, { once: true });
  for (let n = 0; n < count; n++) cluster.fork();
  while (Object.keys(cluster.workers ?? {}).length > 0) await once(cluster, 'exit');
  return failed ? 1 : 0;
}
