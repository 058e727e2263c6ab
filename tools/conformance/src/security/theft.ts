/**
 * A descriptor is closed, or its stream destroyed, while a transfer uses it, and its number is used again in the same
 * tick (kernel-rules: fd-reuse). Whatever becomes of the transfer, it must not touch what has the number now.
 */
import { pbkdf2 } from 'node:crypto';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import type { Canaries } from './canaries.js';

/** When it happens. */
export const MOMENTS = ['at once', 'next microtask', 'next tick', 'next turn', 'moving', 'pool busy'] as const;
export type Moment = (typeof MOMENTS)[number];

/** A transfer under way. */
export interface Mark {
  /** The numbers that {@link steal} makes free; more may follow later. */
  readonly fds: readonly number[];
  /** Closes them, or destroys what owns them. */
  steal(): void;
  /** Whether bytes have begun to move. */
  moving(): boolean;
  /** Lets the transfer go on, where the other side has been kept waiting; called once the numbers are in use again. */
  goOn(): void;
  /** When nothing of it is under way any more: with its error, if it has failed. */
  readonly over: Promise<unknown>;
  /** What is wrong with what has arrived; undefined: nothing. It may be short, unless `whole`. */
  complaint(whole?: boolean): string | undefined;
  /** Closes everything else. */
  dispose(): Promise<void>;
}

export interface Theft {
  readonly name: string;
  /** Why it cannot be shown here: a stream that is Node's own reads and writes by the number it was given. */
  readonly skipped?: string | undefined;
  /** The transfer begins synchronously. @param directory empty, of this run's own. */
  begin(directory: string): Promise<Mark>;
}

export interface Loot {
  /** A number that the transfer had used was a canary's in the same tick. */
  readonly reused: boolean;
  readonly complaints: readonly string[];
}

/** Milliseconds. */
const PATIENCE = 10_000;

const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

export async function until(condition: () => boolean): Promise<boolean> {
  const deadline = Date.now() + PATIENCE;
  for (let looks = 0; !condition(); looks++) {
    if (Date.now() > deadline) return false;
    await (looks < 50 ? turn() : new Promise((resolve) => setTimeout(resolve, 2)));
  }
  return true;
}

/** All of libuv's threads have something else to do: calls on other threads begin when the numbers have changed hands. */
function occupyPool(): Promise<unknown> {
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
  const job = (): Promise<void> =>
    new Promise((resolve) => {
      pbkdf2('x', 'y', 6000, 64, 'sha512', () => resolve());
    });
  return Promise.all(Array.from({ length: threads }, job));
}

/** Descriptors, by what they are open on; pipes that are kept for the next transfer do not count. */
export function descriptors(): number {
  const open = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /^(\/(?!proc\/|dev\/)|socket:|pipe:|\/memfd:)/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false; // that of the listing itself
    }
  });
  return open.length - 2 * pipePoolStats().idle;
}

/** One theft at one moment. @param parent a directory to work in. */
export async function commit(theft: Theft, moment: Moment, parent: string, canaries: Canaries): Promise<Loot> {
  const directory = mkdtempSync(join(parent, 'theft-'));
  const before = descriptors();
  let pool: Promise<unknown> | undefined;
  const mark = await theft.begin(directory);
  try {
    if (moment === 'next microtask') await Promise.resolve();
    else if (moment === 'next tick') await new Promise<void>((resolve) => process.nextTick(resolve));
    else if (moment === 'next turn') await turn();
    else if (moment === 'moving') await until(() => mark.moving());
    else if (moment === 'pool busy') {
      await until(() => mark.moving());
      pool = occupyPool();
      mark.goOn(); // more calls are made, and wait for a thread
      await turn();
    }
    mark.steal();
    canaries.occupy(12);
    let reused = canaries.sitsOn(mark.fds);
    await turn();
    canaries.occupy(6); // of what is closed a little later, or by another thread
    mark.goOn();
    let over = false;
    mark.over.then(() => {
      over = true;
    });
    const hung = !(await until(() => over));
    await pool;
    canaries.occupy(3);
    reused ||= canaries.sitsOn(mark.fds);
    await turn();
    const complaints = canaries.release();
    if (hung) complaints.push('the transfer does not end');
    const complaint = mark.complaint();
    if (complaint !== undefined) complaints.push(complaint);
    await mark.dispose();
    if (!(await until(() => descriptors() <= before))) {
      complaints.push(`${descriptors() - before} descriptors have not been closed`);
    }
    return { reused, complaints };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
