/** What a run must not leave behind: open descriptors, and handles or timers that keep the process alive. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import { descriptorTargets } from '@zerocopy/testing/holdings';

export interface Holdings {
  readonly descriptors: number;
  readonly resources: Readonly<Record<string, number>>;
}

function count(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

export function holdings(): Holdings {
  return {
    // Pipes that wait for their next use are no leak: the pool closes them after a second.
    descriptors: descriptorTargets().size - 2 * pipePoolStats().idle,
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
      `${now.descriptors - before.descriptors} more descriptors are open: ${[...descriptorTargets().values()].slice(-6).join(' ')}`,
    );
  }
  for (const [name, number] of Object.entries(now.resources)) {
    const more = number - (before.resources[name] ?? 0);
    // The wait above is one of them.
    if (more > (name === 'Timeout' || name === 'Immediate' ? 1 : 0)) found.push(`${more} more ${name} are active`);
  }
  return found;
}
