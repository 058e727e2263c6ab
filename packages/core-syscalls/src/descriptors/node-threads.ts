/**
 * node:worker_threads, loaded when it is first asked for: half a millisecond that importing does not need, and on Node 20
 * a fifth of the modules of Node that it would load.
 */
let threads: typeof import('node:worker_threads') | undefined;

/** The module node:worker_threads. */
export function nodeThreads(): typeof import('node:worker_threads') {
  threads ??= process.getBuiltinModule('node:worker_threads');
  return threads;
}

/** Whether this thread is not a worker. */
export const isMainThread = (): boolean => nodeThreads().isMainThread;
