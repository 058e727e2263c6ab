/**
 * A descriptor is closed, or its stream destroyed, while a transfer uses it, and its number is used again in the same
 * tick (kernel-rules: fd-reuse). Whatever becomes of the transfer, it must not touch what has the number now. Each
 * victim of each way of the catalogue is a theft.
 */
import { pbkdf2 } from 'node:crypto';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { acquireLease } from '@zerocopy/lease-guard';
import { MiB } from '@zerocopy/testing/bytes';
import { turn } from '@zerocopy/testing/waiting';
import { openDescriptors } from '../holdings.js';
import { allWays, whyNot } from '../ways/index.js';
import type { Stage } from '../ways/stage.js';
import { type Begun, begin, disorderIn, type Way } from '../ways/way.js';
import { type Canaries, canaryByteIn, innocent } from './canaries.js';

/** When it happens. */
export const MOMENTS = ['at once', 'next microtask', 'next tick', 'next turn', 'moving', 'pool busy'] as const;
export type Moment = (typeof MOMENTS)[number];

export interface Theft {
  readonly name: string;
  /** Why it cannot be shown here: a stream that is Node's own reads and writes by the number it was given. */
  readonly skipped: string | undefined;
  readonly way: Way;
  readonly victim: string;
}

export interface Loot {
  /** A number that the transfer had used was a canary's in the same tick. */
  readonly reused: boolean;
  readonly complaints: readonly string[];
}

/** No byte of it is in a canary. More than sockets hold. */
export const CONTENT: Buffer = innocent(MiB + 1234);
/** Milliseconds. */
const PATIENCE = 10_000;

export async function comesTrue(condition: () => boolean): Promise<boolean> {
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

function complaintSoFar(stage: Stage, whole: boolean): string | undefined {
  for (const { bytes, expected } of stage.soFar()) {
    const canary = canaryByteIn(bytes);
    if (canary >= 0) return `at byte ${canary} of what has arrived is somebody else's`;
    const disorder = disorderIn(bytes, expected);
    if (disorder !== undefined) return disorder;
    if (whole && bytes.length < expected.length) return `only ${bytes.length} bytes have arrived`;
  }
  return undefined;
}

export interface Watched extends Begun {
  /** What is wrong so far; undefined: nothing. What has arrived may be short, unless it is to be whole. */
  complaint(whole?: boolean): string | undefined;
}

/** A way begun on a stage whose receivers wait. */
export async function beginHeld(way: Way, directory: string): Promise<Watched> {
  const begun = await begin(way, { directory, content: CONTENT }, true);
  let wrong: string | undefined;
  begun.over.catch((error: Error) => {
    wrong = error.stack;
  });
  return { ...begun, complaint: (whole = false) => wrong ?? complaintSoFar(begun.stage, whole) };
}

/** One theft at one moment. @param parent a directory to work in. */
export async function commit(
  { way, victim }: Theft,
  moment: Moment,
  parent: string,
  canaries: Canaries,
): Promise<Loot> {
  const directory = mkdtempSync(join(parent, 'theft-'));
  const before = openDescriptors();
  let pool: Promise<unknown> | undefined;
  const { stage, told, moving, complaint } = await beginHeld(way, directory);
  try {
    if (moment === 'next microtask') await Promise.resolve();
    else if (moment === 'next tick') await new Promise<void>((resolve) => process.nextTick(resolve));
    else if (moment === 'next turn') await turn();
    else if (moment === 'moving') await comesTrue(moving);
    else if (moment === 'pool busy') {
      await comesTrue(moving);
      pool = occupyPool();
      stage.goOn(); // more calls are made, and wait for a thread
      await turn();
    }
    stage.take(victim);
    canaries.occupy(12);
    let reused = canaries.sitsOn(stage.fds);
    await turn();
    canaries.occupy(6); // of what is closed a little later, or by another thread
    stage.goOn();
    const hung = !(await comesTrue(() => told() !== undefined));
    await pool;
    canaries.occupy(3);
    reused ||= canaries.sitsOn(stage.fds);
    await turn();
    const complaints = canaries.release();
    if (hung) complaints.push('the transfer does not end');
    const wrong = complaint();
    if (wrong !== undefined) complaints.push(wrong);
    await stage.dispose();
    if (!(await comesTrue(() => openDescriptors() <= before))) {
      complaints.push(`${openDescriptors() - before} descriptors have not been closed`);
    }
    return { reused, complaints };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A lease on a number that is closed, and gets another lease: giving up the first leaves the other. */
const leaseOnNumber: Way = {
  name: 'a lease on a number',
  needs: ['lease'],
  async begin(stage) {
    const fd = openSync(stage.file(), 'r');
    stage.fds.push(fd);
    const lease = await acquireLease(fd, 'read');
    const over = (async () => {
      closeSync(fd);
      const other = openSync(stage.file(), 'r');
      const second = await acquireLease(other, 'read');
      const complaints: string[] = [];
      if (other !== fd) complaints.push('the number was not used again');
      await lease.release();
      if (syscalls.fcntl(other, constants.F_GETLEASE) !== constants.F_RDLCK)
        complaints.push("another's lease was given up");
      if (second.state !== 'held') complaints.push("another's lease says that it has been given up");
      await second.release();
      if (fstatSync(other).size !== CONTENT.length) complaints.push('the file has changed');
      closeSync(other);
      stage.receiveLast(() => Buffer.alloc(0));
      if (complaints.length > 0) throw new Error(complaints.join(', '));
      return [];
    })();
    return { over, moving: () => true };
  },
};

export const allThefts: readonly Theft[] = [
  ...allWays.flatMap((way) => (way.victims ?? []).map((victim) => ({ way, victim }))),
  { way: leaseOnNumber, victim: 'the number' },
].map(({ way, victim }) => ({ name: `${way.name}; ${victim} taken away`, skipped: whyNot(way), way, victim }));
