/**
 * The thread that answers for leases, disturbed: whoever wants the file gets it soon all the same, and what was mapped
 * stays what it was; or there is no lease, and an error says so.
 */
import { closeSync, constants as fs, openSync, truncateSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Worker, WorkerOptions } from 'node:worker_threads';
import { acquireLease } from '@zerocopy/lease-guard';
import { mapFile } from '@zerocopy/mmap-buffer';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { threads } from '@zerocopy/testing/holdings';
import { describeKept, holdings, TRIAL } from '../holdings.js';
import { hurryTimers } from './hurried-timers.js';
import type { Fault } from './injection.js';
import type { Trial } from './trials.js';

/** What the thread gets besides its own data. */
export interface ThreadFaults {
  readonly plan: { readonly at: number; readonly fault: Fault } | undefined;
  /** How many calls there were; and then the name of the one that was disturbed. */
  readonly calls: Int32Array;
  readonly hit: Uint8Array;
}

let next: ThreadFaults | undefined;

/** Lease threads that start from now on are disturbed, if there is something to disturb them with. */
function preloadLeaseThreads(): void {
  const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Worker };
  const native = threads.Worker;
  const preload = fileURLToPath(new URL('./lease-thread.preload.js', import.meta.url));
  // A thread whose code is text runs no --import.
  const execArgv = ['--no-warnings', '--require', preload];
  threads.Worker = class extends native {
    constructor(file: string | URL, options: WorkerOptions = {}) {
      const faults = options.name === 'zerocopy-leases' ? next : undefined;
      if (faults === undefined) super(file, options);
      else super(file, { ...options, execArgv, workerData: { ...options.workerData, faults } });
    }
  };
  syncBuiltinESMExports();
}

/** Milliseconds that somebody else may have to wait. The kernel would let them wait for 45 s. */
const PATIENCE = 15_000;

async function until(condition: () => boolean): Promise<boolean> {
  const deadline = performance.now() + PATIENCE;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await delay(5);
  }
  return true;
}

/** Wants to write to the file: starts a break of its lease, if there is one. Whether it may. */
function mayWrite(path: string): boolean {
  try {
    closeSync(openSync(path, fs.O_RDWR | fs.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

const LATE = `the file could not be written to for ${PATIENCE} ms`;

/** What is wrong, or undefined. Throws where the lease cannot be had. */
type Scene = (path: string, content: Buffer) => Promise<string | undefined>;

export const LEASE_SCENES = ['released', 'told', 'copied'] as const;
export type LeaseScene = (typeof LEASE_SCENES)[number];

const scenes: Readonly<Record<LeaseScene, Scene>> = {
  async released(path) {
    const lease = await acquireLease(path, 'read');
    mayWrite(path);
    const gone = await until(() => lease.state === 'released');
    if (!gone || !mayWrite(path)) return LATE;
    await lease.release();
    return undefined;
  },
  async told(path) {
    const lease = await acquireLease(path, 'read');
    lease.on('break', () => void lease.release().catch(() => {}));
    mayWrite(path);
    if (!(await until(() => lease.state === 'released')) || !mayWrite(path)) return LATE;
    await lease.release();
    return undefined;
  },
  async copied(path, content) {
    const file = await mapFile(path, { guard: 'lease' });
    if (!(await until(() => mayWrite(path)))) return LATE;
    truncateSync(path);
    const same = file.buffer.equals(content);
    await file.close();
    return same ? undefined : 'the mapping does not show what it did before the file was cut';
  },
};

export interface ThreadTrial extends Trial {
  /** What the one who wanted the lease was told. */
  readonly error: NodeJS.ErrnoException | undefined;
}

let preloaded = false;

/** @param fault undefined: it only counts. Nobody else may have a lease in this thread meanwhile. */
export async function leaseThreadUnder(
  scene: LeaseScene,
  content: Buffer,
  at: number,
  fault: Fault | undefined,
): Promise<ThreadTrial> {
  if (!preloaded) {
    preloadLeaseThreads();
    hurryTimers();
  }
  preloaded = true;
  const shared = new SharedArrayBuffer(4 + 64);
  const calls = new Int32Array(shared, 0, 1);
  const hit = new Uint8Array(shared, 4);
  next = { plan: fault === undefined ? undefined : { at, fault }, calls, hit };
  const directory = temporaryDirectory(undefined, TRIAL);
  const path = join(directory, 'file');
  writeFileSync(path, content);
  await stat(path); // by Node's thread pool, which starts with its first use
  const before = holdings();
  const threadsBefore = threads();
  let error: NodeJS.ErrnoException | undefined;
  let complaint: string | undefined;
  try {
    complaint = await scenes[scene](path, content);
  } catch (failure) {
    error = failure as NodeJS.ErrnoException;
    if (typeof error.code !== 'string') complaint = `an error that is not clear: ${error.stack}`;
  } finally {
    next = undefined;
    removeDirectory(directory);
  }
  if (!(await until(() => threads() <= threadsBefore))) complaint ??= 'the thread does not end';
  complaint ??= describeKept({ ...before, regions: Number.POSITIVE_INFINITY }, holdings());
  const call = Buffer.from(hit).toString('latin1').replace(/\0+$/, '');
  const clear = error !== undefined;
  return { at, fault, call: call === '' ? undefined : call, calls: Atomics.load(calls, 0), clear, error, complaint };
}
