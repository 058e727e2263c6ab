/**
 * What terminated workers leave behind: each is ended in the midst of its transfers, and then the process's descriptors,
 * threads and mapped files are counted. Prints JSON. Arguments: how many workers, a directory.
 */
import { mkdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads';
import { feature } from '@zerocopy/core-syscalls';
import { acquireLease } from '@zerocopy/lease-guard';
import { mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { descriptorTargets, mappedAreas, threads } from '@zerocopy/testing/holdings';
import fc from 'fast-check';
import { type Job, jobs, makeDurableFile, startAll } from './cargo.js';

/**
 * Not those by HTTP: Node's parser aborts the process if its thread is terminated at the wrong moment, with Node's own
 * streams as well. Nor those that make one view after the other: koffi does so, within about a microsecond.
 */
const NAMES = ['stream', 'coldFile', 'toFile', 'joined', 'recorded', 'read', 'proxied', 'teed', 'copied', 'leased'];
/** Milliseconds between the first bytes of the last job and the end. */
const LATEST = 40;
/** Milliseconds that the kernel and libuv get to tidy up. */
const PATIENCE = 10_000;

interface Holding {
  readonly directory: string;
  readonly file: string;
  readonly pool: number;
}

export interface Left {
  readonly descriptors: readonly string[];
  readonly threads: number;
  /** Lines of /proc/self/maps that are of files in the directory, or of a pool. */
  readonly mappings: number;
}

export interface LeakReport {
  readonly workers: number;
  readonly before: Left;
  readonly after: Left;
  /** Of the pool's buffers, those free after reclaim(). */
  readonly free: number;
  /** Milliseconds to open the leased file for writing. */
  readonly opened: number;
}

async function busyWorker({ directory, file, pool }: Holding): Promise<void> {
  const own = join(directory, String(threadId));
  mkdirSync(own, { recursive: true });
  const setting = { side: 'ours' as const, hooks: { onProgress() {}, onEvent() {} }, directory: own, file };
  const kept: unknown[] = [];
  if (feature('lease').available) kept.push(await acquireLease(file, 'read', { autoRelease: false }));
  if (feature('mmap').available) kept.push(await mapFile(file));
  if (pool >= 0) kept.push(SharedBufferPool.open(pool).acquire());
  await startAll(
    NAMES.map((name) => jobs[name] as Job),
    setting,
  );
  parentPort?.postMessage(kept.length);
}

function left(directory: string): Left {
  return {
    descriptors: [...descriptorTargets().values()].map((target) => target.replace(/\d+/g, 'N')).sort(),
    threads: threads(),
    mappings: mappedAreas(new RegExp(`${directory}|zerocopy-pool`)),
  };
}

async function terminateOne(holding: Holding, wait: number): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: holding });
  const failure = new Promise<never>((_resolve, reject) => worker.once('error', reject));
  await Promise.race([new Promise((resolve) => worker.once('message', resolve)), failure]);
  await delay(wait);
  await worker.terminate();
}

async function main(count: number, directory: string): Promise<LeakReport> {
  const file = makeDurableFile(directory, 'file');
  const pool = feature('memfdSeals').available && feature('mmap').available;
  const shared = pool ? new SharedBufferPool({ bufferSize: 4096, count: 8 }) : undefined;
  const holding = { directory, file, pool: shared?.fd ?? -1 };
  const waits = fc.sample(fc.integer({ min: 0, max: LATEST }), { seed: count, numRuns: count + 2 });
  // The first make what stays: libuv's threads, the trap.
  for (const wait of waits.splice(0, 2)) await terminateOne(holding, wait);
  const before = left(directory);
  while (waits.length > 0) {
    await Promise.all(waits.splice(0, 2).map((wait) => terminateOne(holding, wait)));
    shared?.reclaim();
  }
  let after = left(directory);
  for (const from = performance.now(); performance.now() - from < PATIENCE; after = left(directory)) {
    if (after.descriptors.length <= before.descriptors.length && after.threads <= before.threads) break;
    await delay(50);
  }
  const from = performance.now();
  await (await open(file, 'r+')).close();
  const opened = performance.now() - from;
  shared?.reclaim();
  const free = Array.from({ length: 8 }, () => shared?.acquire()).filter((buffer) => buffer !== undefined).length;
  return { workers: count, before, after, free: shared === undefined ? 8 : free, opened };
}

if (isMainThread) console.log(JSON.stringify(await main(Number(process.argv[2]), process.argv[3] as string)));
else await busyWorker(workerData as Holding);
