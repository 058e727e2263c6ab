/** What this process holds, counted, and what it holds more than before. Used by every loop. */
import { readFileSync } from 'node:fs';
import { pid } from 'node:process';
import { mappingStats } from '@zerocopy/mmap-buffer';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import { descriptorTargets, mappedAreas } from '@zerocopy/testing/holdings';
import { activeTransfers } from '@zerocopy/transfer';

/** In the names of the directories that trials run in, and so of every mapping of their files in /proc/self/maps. */
export const TRIAL = 'fault';

export interface Holdings {
  /** Without those of pipes that are kept for the next transfer, and of /proc and /dev. */
  readonly descriptors: number;
  /** Of files of trials, and of pools. */
  readonly mappings: number;
  /** Of address space, by mmap-buffer's own count. */
  readonly regions: number;
  readonly leases: number;
  readonly transfers: number;
}

export const openDescriptors = (): number =>
  [...descriptorTargets().values()].filter((target) => /^(\/(?!proc\/|dev\/)|socket:|pipe:|\/memfd:)/.test(target))
    .length -
  2 * pipePoolStats().idle;

export const holdings = (): Holdings => ({
  descriptors: openDescriptors(),
  mappings: mappedAreas(new RegExp(`zerocopy-${TRIAL}-|memfd:zerocopy-pool`)),
  regions: mappingStats().regions,
  leases: readFileSync('/proc/locks', 'utf8').split(new RegExp(`LEASE.* ${pid} `)).length - 1,
  transfers: activeTransfers(),
});

/** What is held now and was not, in words; undefined: nothing. */
export function describeKept(before: Holdings, after: Holdings): string | undefined {
  const kept = Object.entries(after)
    .map(([what, count]) => [what, count - before[what as keyof Holdings]] as const)
    .filter(([, more]) => more > 0);
  return kept.length === 0
    ? undefined
    : `afterwards it still holds ${kept.map(([what, n]) => `${n} ${what}`).join(', ')}`;
}
