/**
 * Asynchronous system calls on libuv's thread pool: never on all of its threads, so that the process's own fs and
 * dns calls keep at least one (with all of them in sendfile an fs.stat waited 395 ms; kernel-rules: koffi-cost).
 */

import { constants } from '@zerocopy/core-syscalls';
import { setImmediate } from './timers.js';

const DEFAULT_POOL_SIZE = 4; // libuv's, if UV_THREADPOOL_SIZE does not say otherwise
/** koffi has 256 asynchronous calls (max_async_calls), for all of the process that uses it, and throws beyond that. */
const CALLS_MAX = 64;

function threadLimit(): number {
  const configured = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10);
  const size = configured > 0 ? configured : DEFAULT_POOL_SIZE;
  return Math.min(CALLS_MAX, Math.max(1, size - 1));
}

/** Makes one asynchronous call, and calls back with its result. */
export type OffThreadCall = (callback: (result: number) => void) => void;

interface Job {
  readonly call: OffThreadCall;
  readonly callback: (result: number) => void;
}

let limit: number | undefined;
let running = 0;
const queue: Job[] = [];

function start({ call, callback }: Job): void {
  running++;
  const done = (result: number): void => {
    running--;
    const next = queue.shift();
    if (next !== undefined) start(next);
    callback(result);
  };
  try {
    call(done);
  } catch {
    setImmediate(done, -constants.ENOMEM); // others have all of koffi's calls under way
  }
}

/**
 * Makes `call` when one of the bounded number of threads is free. The descriptors it uses must stay open until
 * `callback`, and are to be looked up when it is made, not before.
 */
export function runOffThread(call: OffThreadCall, callback: (result: number) => void): void {
  limit ??= threadLimit();
  if (running < limit) start({ call, callback });
  else queue.push({ call, callback });
}
