/**
 * Asynchronous system calls on libuv's thread pool: never on all of its threads, so that at least one is left to the fs
 * and dns calls of the program (with all of them in sendfile, an fs.stat waited 395 ms; kernel-rules: koffi-cost).
 *
 * What waits for a server that is gone waits for ever, and holds its thread. So calls that may wait for a server get one
 * thread less than all together (kernel-rules: open-may-wait): those that wait for a disk of this machine always find one.
 */

import { constants } from '@zerocopy/core-syscalls';
import { setImmediate } from './timers.js';

const DEFAULT_POOL_SIZE = 4; // libuv's, if UV_THREADPOOL_SIZE does not say otherwise
/**
 * koffi throws beyond 256 asynchronous calls at once (max_async_calls), counted over all of its users in the process.
 */
const CALLS_MAX = 64;

/** Threads of libuv's pool. */
export function threadPoolSize(): number {
  const configured = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10);
  return configured > 0 ? configured : DEFAULT_POOL_SIZE;
}

const threadLimit = (): number => Math.min(CALLS_MAX, Math.max(1, threadPoolSize() - 1));

/** Makes one asynchronous call, and calls back with its result: a count or a negative errno. */
export type OffThreadCall = (callback: (result: number) => void) => void;

interface Job {
  readonly call: OffThreadCall;
  readonly callback: (result: number) => void;
}

/** Who is waited for: the machine's own disks, or perhaps a server. */
export type OffThreadWait = 'disk' | 'server';

let limit: number | undefined;
const running: Record<OffThreadWait, number> = { disk: 0, server: 0 };
const queues: Readonly<Record<OffThreadWait, Job[]>> = { disk: [], server: [] };

function isFree(wait: OffThreadWait): boolean {
  limit ??= threadLimit();
  if (running.disk + running.server >= limit) return false;
  return wait === 'disk' || running.server < Math.max(1, limit - 1);
}

/** Of the last one that was taken from a queue: they take turns, so that neither kind starves the other. */
let last: OffThreadWait = 'server';

/** Starts the one that has waited longest, of the kind whose turn it is if there is a thread for it. */
function startNext(): void {
  for (const wait of last === 'disk' ? (['server', 'disk'] as const) : (['disk', 'server'] as const)) {
    const next = isFree(wait) ? queues[wait].shift() : undefined;
    if (next === undefined) continue;
    last = wait;
    return start(next, wait);
  }
}

function start({ call, callback }: Job, wait: OffThreadWait): void {
  running[wait]++;
  const done = (result: number): void => {
    running[wait]--;
    startNext();
    callback(result);
  };
  try {
    call(done);
  } catch {
    setImmediate(done, -constants.ENOMEM); // other users of koffi have as many calls under way as it allows
  }
}

/**
 * Makes `call` as soon as fewer than the allowed number of threads are in use. The descriptors that it uses must stay
 * open until `callback`; `call` asks for their numbers when it is made, and not before.
 * @param callback gets the result; -ENOMEM if koffi had no call left.
 * @param wait 'server' for files of which it is not known that they are on this machine.
 */
export function runOffThread(
  call: OffThreadCall,
  callback: (result: number) => void,
  wait: OffThreadWait = 'disk',
): void {
  if (isFree(wait)) start({ call, callback }, wait);
  else queues[wait].push({ call, callback });
}

/** {@link runOffThread} as a promise of the result, which is never rejected. */
export function callOffThread(call: OffThreadCall, wait: OffThreadWait = 'disk'): Promise<number> {
  return new Promise((resolve) => runOffThread(call, resolve, wait));
}
