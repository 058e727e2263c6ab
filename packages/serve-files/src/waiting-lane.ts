/**
 * Calls that may wait for a server, on the thread pool.
 *
 * What waits for a server that is gone waits for ever, and holds its thread. So few of these calls are under way at a time,
 * and cold files on local disks always find a thread; and no more than so many wait.
 */
import { close } from 'node:fs';
import { constants } from '@zerocopy/core-syscalls';
import { type OffThreadCall, runOffThread, threadPoolSize } from '@zerocopy/transfer';

/** Beyond that a call is refused with EAGAIN: the server is overloaded, or the mount is dead. */
const WAITING_MAX = 1024;

const laneWidth = (): number => Math.max(1, threadPoolSize() - 2);

interface Waiting {
  readonly call: OffThreadCall;
  readonly resolve: (result: number) => void;
}

const queue: Waiting[] = [];
let running = 0;
let width: number | undefined;

function start({ call, resolve }: Waiting): void {
  running++;
  runOffThread(
    call,
    (result) => {
      running--;
      const next = queue.shift();
      if (next !== undefined) start(next);
      resolve(result);
    },
    'server',
  );
}

function enqueue(waiting: Waiting): void {
  width ??= laneWidth();
  if (running < width) start(waiting);
  else queue.push(waiting);
}

/** A call that may wait for a server, and perhaps for ever. @returns what the call answers; -EAGAIN if too many wait. */
export function waitForServer(call: OffThreadCall): Promise<number> {
  return new Promise((resolve) => {
    if (queue.length < WAITING_MAX) enqueue({ call, resolve });
    else resolve(-constants.EAGAIN);
  });
}

/** Closes a descriptor that was opened for reading; that, too, asks the server. It is never refused. */
export function closeBehindServer(fd: number): void {
  enqueue({ call: (done) => close(fd, () => done(0)), resolve: () => {} });
}
