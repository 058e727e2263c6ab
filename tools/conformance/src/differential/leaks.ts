/** What a run must not leave behind: open descriptors, and handles or timers that keep the process alive. */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pipePoolStats } from '@zerocopy/splice-pipe';

export interface Holdings {
  readonly descriptors: number;
  readonly resources: Readonly<Record<string, number>>;
}

/** Pipes that wait for their next use are no leak: the pool closes them after a second. */
function openDescriptors(): string[] {
  const open: string[] = [];
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      open.push(readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // that of the directory itself
    }
  }
  return open;
}

function count(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

export function holdings(): Holdings {
  return {
    descriptors: openDescriptors().length - 2 * pipePoolStats().idle,
    resources: count(process.getActiveResourcesInfo()),
  };
}

const DEADLINE = 5000;

/** Waits until no more is held than `before`. @returns what is, after all, in words. */
export async function leaks(before: Holdings): Promise<string[]> {
  const deadline = performance.now() + DEADLINE;
  for (let turn = 0; ; turn++) {
    const found = compare(before);
    if (found.length === 0 || performance.now() > deadline) return found;
    if (turn < 10) await new Promise(setImmediate);
    else await sleep(1);
  }
}

function compare(before: Holdings): string[] {
  const now = holdings();
  const found: string[] = [];
  if (now.descriptors > before.descriptors) {
    found.push(
      `${now.descriptors - before.descriptors} more descriptors are open: ${openDescriptors().slice(-6).join(' ')}`,
    );
  }
  for (const [name, number] of Object.entries(now.resources)) {
    const more = number - (before.resources[name] ?? 0);
    // The wait above is one of them.
    if (more > (name === 'Timeout' || name === 'Immediate' ? 1 : 0)) found.push(`${more} more ${name} are active`);
  }
  return found;
}
