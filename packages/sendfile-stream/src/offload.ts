/**
 * sendfile on libuv's thread pool, for cold ranges: never on all of its threads, so that the process's own fs and
 * dns calls keep at least one (findings: with all of them in sendfile an fs.stat waited 395 ms).
 */
import { syscalls } from '@zerocopy/core-syscalls';

const DEFAULT_POOL_SIZE = 4; // libuv's, if UV_THREADPOOL_SIZE does not say otherwise

function threadLimit(): number {
  const configured = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10);
  const size = configured > 0 ? configured : DEFAULT_POOL_SIZE;
  return Math.max(1, size - 1);
}

interface Job {
  readonly outFd: () => number;
  readonly inFd: number;
  readonly cell: syscalls.OffsetCell;
  readonly count: number;
  readonly callback: (result: number) => void;
}

let limit: number | undefined;
let running = 0;
const queue: Job[] = [];

function start(job: Job): void {
  running++;
  syscalls.sendfileAsync(job.outFd(), job.inFd, job.cell, job.count, (result) => {
    running--;
    const next = queue.shift();
    if (next !== undefined) start(next);
    job.callback(result);
  });
}

/**
 * Sends `count` bytes from the offset in `cell` on another thread, when one of the bounded number is free.
 * @param outFd asked when the call begins; the descriptor must stay open until the callback.
 */
export function sendfileOffThread(
  outFd: () => number,
  inFd: number,
  cell: syscalls.OffsetCell,
  count: number,
  callback: (result: number) => void,
): void {
  limit ??= threadLimit();
  const job: Job = { outFd, inFd, cell, count, callback };
  if (running < limit) start(job);
  else queue.push(job);
}
