/** The process that is looked at: all packages in use, and threads that come and go. */
import { once } from 'node:events';
import { mkdtempSync, openSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import { MiB } from '@zerocopy/testing/bytes';
import { threads as countThreads, mappedAreas, openDescriptors } from '@zerocopy/testing/holdings';
import { activeTransfers } from '@zerocopy/transfer';
import { answerBy, tell } from '../asking.js';
import type { Go, Leak, Pause, Seen, ServerOptions } from './protocol.js';
import { Dice } from './random.js';
import type { ShortLivedData } from './short-lived.worker.js';
import { Traffic } from './traffic.js';

const { MAP_ANONYMOUS, MAP_PRIVATE, PROT_NONE, PROT_READ } = constants;

const options = JSON.parse(process.argv[2] as string) as ServerOptions;
const wrong = (what: string): void => tell('wrong', what);
const dice = new Dice(options.seed);
const leaks: Readonly<Record<Leak, () => void>> = {
  descriptors: () => openSync('/dev/null', 'r'),
  listeners: () => process.on('SIGWINCH', () => {}),
  timers: () => setTimeout(() => {}, 3_600_000),
  // Of two protections in turn, or the kernel would make one mapping of neighbours.
  mappings: () => {
    for (const protection of [PROT_NONE, PROT_READ]) {
      syscalls.mmap(null, MiB, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
  },
};

let threads = 0;
let threadsGone = 0;

/** A thread; every other one is terminated somewhere on its way. */
async function comeAndGo(): Promise<void> {
  threads++;
  const directory = mkdtempSync(`${options.directory}/thread-`);
  const workerData: ShortLivedData = { directory };
  const worker = new Worker(new URL('./short-lived.worker.js', import.meta.url), { workerData });
  const gone = once(worker, 'exit').catch((error: Error) => wrong(`a thread: ${error.stack}`));
  const terminated = dice.chance(0.5);
  if (terminated) {
    await Promise.race([once(worker, 'message'), gone]).catch(() => {}); // an error is told by `gone`
    await Promise.race([sleep(dice.between(0, 100)), gone]);
    await worker.terminate();
  }
  await gone;
  traffic.count('a thread', terminated ? 'brokenOff' : 'whole');
  await rm(directory, { recursive: true, force: true });
  threadsGone++;
  threads--;
}

/** What has been forgotten is collected in several rounds, with finalizers in between, until no mapping goes any more. */
async function collect(): Promise<void> {
  let before = Number.POSITIVE_INFINITY;
  for (let round = 0, same = 0; round < 30 && same < 4; round++) {
    gc?.();
    await sleep(5);
    const now = mappedAreas();
    same = now < before ? 0 : same + 1;
    before = now;
  }
}

const listenersOf = (emitter: NodeJS.EventEmitter): number =>
  emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0);

async function sample(): Promise<Seen> {
  await collect();
  const { inUse, idle } = pipePoolStats();
  return {
    descriptors: openDescriptors() - 2 * idle,
    residentSet: process.memoryUsage.rss() / MiB,
    mappings: mappedAreas(),
    threads: countThreads(),
    listeners: lasting.reduce((sum, emitter) => sum + listenersOf(emitter), 0),
    resources: process.getActiveResourcesInfo().length,
    transfers: activeTransfers(),
    pipesInUse: inUse,
    threadsGone,
  };
}

/** When nothing is under way. */
async function quiet(): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (traffic.running().length > 0 || threads > 0 || activeTransfers() > 0) {
    if (performance.now() > deadline) {
      wrong(`not quiet after 20 s: [${traffic.running()}], ${threads} threads, ${activeTransfers()} transfers`);
      break;
    }
    await sleep(10);
  }
}

process.on('uncaughtException', (error) => wrong(`uncaught: ${error.stack}`));

const traffic = new Traffic(options.directory, options.seed, dice, wrong);
await traffic.warmUp();
/** Whose listeners are to stay what they are. */
const lasting: readonly NodeJS.EventEmitter[] = [process, await traffic.lasting()];
if (options.leak !== undefined) setInterval(leaks[options.leak], 40);

answerBy({
  go({ crossing }: Go) {
    traffic.go(crossing);
    if (threads === 0) void comeAndGo(); // with each round one
  },
  pause: ({ vanishing }: Pause) => traffic.pause(vanishing),
  quiet,
  sample,
  counts: () => traffic.counts,
});
tell('ready');
