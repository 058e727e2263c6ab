/**
 * Several processes behind one listening socket. Each accepts from the socket itself (SCHED_NONE): a connection is never on
 * its way from one process to another, where it would be lost with a worker that stops.
 */
import cluster, { type Worker } from 'node:cluster';
import type { Call } from '../command.js';
import type { Terminal } from '../terminal.js';
import { DRAIN } from './drain-message.js';

/** Whether this process is to start workers, and not to serve itself. */
export const isPrimary = (workers: number): boolean => workers > 1 && cluster.isPrimary;

/** Whether this process is the one that says where it listens. */
export const isSpokesman = (): boolean => cluster.isPrimary || cluster.worker?.id === 1;

/** A worker that has lived for less, in milliseconds, is replaced that much later: what ends each at once must not be all there is. */
const SHORT = 1000;

/**
 * Until the signal: workers that die are replaced, unless they have died before they listened.
 *
 * @returns the status: 1 also where a worker has not drained.
 */
export function runWorkers(count: number, { command, args }: Call, terminal: Terminal): Promise<number> {
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  // What runs is the program itself: Node's default for `exec`.
  cluster.setupPrimary({ args: [command, ...args] });
  const { signal } = terminal;
  const alive = new Set<Worker>();
  /** When each began to listen. */
  const listening = new Map<Worker, number>();
  const replacements = new Set<NodeJS.Timeout>();
  let failed = false;
  const fork = (): void => {
    alive.add(cluster.fork());
  };
  const replace = (lived: number): void => {
    const start = (): void => {
      replacements.delete(timer);
      fork();
    };
    const timer = setTimeout(start, Math.max(0, SHORT - lived));
    replacements.add(timer);
  };
  return new Promise((resolve) => {
    const drain = (): void => {
      for (const timer of replacements) clearTimeout(timer);
      replacements.clear();
      for (const worker of alive) {
        if (worker.isConnected()) worker.send(DRAIN, undefined, undefined, () => {}); // it may be gone by now
      }
      end();
    };
    const end = (): void => {
      if (alive.size === 0 && replacements.size === 0) resolve(failed ? 1 : 0);
    };
    const onExit = (worker: Worker, code: number, killedBy: string): void => {
      alive.delete(worker);
      if (signal.aborted)
        failed ||= code !== 0; // it has cut connections off, or was killed before they ended
      else if (!failed) {
        terminal.note(`zerocopy ${command}: worker ${worker.process.pid} ended (${killedBy ?? code})`);
        const since = listening.get(worker);
        if (since === undefined) {
          failed = true;
          drain();
        } else replace(performance.now() - since);
      }
      listening.delete(worker);
      end();
    };
    cluster.on('listening', (worker) => listening.set(worker, performance.now()));
    cluster.on('exit', onExit);
    signal.addEventListener('abort', drain, { once: true });
    for (let n = 0; n < count; n++) fork();
  });
}
