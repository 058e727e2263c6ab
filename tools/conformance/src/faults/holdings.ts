/** What this process holds: descriptors, mappings of a trial's files, leases. Compared before and after a trial. */
import { readdirSync, readFileSync } from 'node:fs';
import { pid } from 'node:process';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { mappingStats } from '@zerocopy/mmap-buffer';

/** Of the directories that trials run in, and so of every mapping of their files in /proc/self/maps. */
export const TRIAL_PREFIX = 'zerocopy-fault-';

export interface Holdings {
  readonly descriptors: number;
  /** Of files of trials. */
  readonly mappings: number;
  /** Of address space, by mmap-buffer's own count. */
  readonly regions: number;
  readonly leases: number;
}

const linesWith = (file: string, what: RegExp): number =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => what.test(line)).length;

/** @param pooled descriptors that may stay open. */
export function holdings(pooled: number): Holdings {
  return {
    descriptors: readdirSync('/proc/self/fd').length - pooled,
    mappings: linesWith('/proc/self/maps', new RegExp(`${TRIAL_PREFIX}|memfd:zerocopy-pool`)),
    regions: mappingStats().regions,
    leases: linesWith('/proc/locks', new RegExp(`LEASE.* ${pid} `)),
  };
}

/** What is held now and was not, in words; undefined: nothing. */
export function describeKept(before: Holdings, after: Holdings): string | undefined {
  const kept = Object.entries(after)
    .map(([what, count]) => [what, count - before[what as keyof Holdings]] as const)
    .filter(([, more]) => more > 0);
  return kept.length === 0
    ? undefined
    : `afterwards it still holds ${kept.map(([what, n]) => `${n} ${what}`).join(', ')}`;
}

let gc: (() => void) | undefined;

/** Collects what nobody holds, finalizers included, until `done`: a mapping lasts for as long as its views. */
export async function collectGarbage(done: () => boolean): Promise<void> {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as () => void;
  }
  for (let round = 0; round < 4 && !done(); round++) {
    gc();
    // A finalizer runs in a task of its own.
    for (let turn = 0; turn < 3 && !done(); turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}
