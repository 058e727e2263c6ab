/**
 * Asynchronous system calls on libuv's thread pool: never on all of its threads, so that at least one is left to the fs
 * and dns calls of the program (with all of them in sendfile, an fs.stat waited 395 ms; kernel-rules: koffi-cost).
 */

import { constants } from '@zerocopy/core-syscalls';
import { setImmediate } from './timers.js';

const DEFAULT_POOL_SIZE = 4; // libuv's, if UV_THREADPOOL_SIZE does not say otherwise
/**
 * koffi throws beyond 256 asynchronous calls at once (max_async_calls), counted over all of its users in the process.
 */
const CALLS_MAX = 64;

function threadLimit(): number {
  const configured = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10);
  const size = configured > 0 ? configured : DEFAULT_POOL_SIZE;
  return Math.min(CALLS_MAX, Math.max(1, size - 1));
}

/** Makes one asynchronous call, and calls back with its result: a count or a negative errno. */
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
    setImmediate(done, -constants.ENOMEM); // other users of koffi have as many calls under way as it allows
  }
}

/**
 * Makes `call` as soon as fewer than the allowed number of threads are in use. The descriptors that it uses must stay
 * open until `callback`; `call` asks for their numbers when it is made, and not before.
 * @param callback gets the result; -ENOMEM if koffi had no call left.
 */
export function runOffThread(call: OffThreadCall, callback: (result: number) => void): void {
  limit ??= threadLimit();
  if (running < limit) start({ call, callback });
  else queue.push({ call, callback });
}
