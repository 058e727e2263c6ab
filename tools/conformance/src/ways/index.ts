/** The whole catalogue. */
import { feature } from '@zerocopy/core-syscalls';
import { copyWays } from './copy.js';
import { leaseWays } from './lease.js';
import { mapWays } from './map.js';
import { mmapStreamWays } from './mmap-stream.js';
import { sendWays } from './send.js';
import { sharedPoolWays } from './shared-pool.js';
import { spliceWays } from './splice.js';
import type { Way } from './way.js';

export { sendWays };

export const allWays: readonly Way[] = [
  ...sendWays,
  ...spliceWays,
  ...copyWays,
  ...mapWays,
  ...mmapStreamWays,
  ...sharedPoolWays,
  ...leaseWays,
];

/** The way of this name. */
export function wayNamed(name: string): Way {
  const found = allWays.find((way) => way.name === name);
  if (found === undefined) throw new Error(`there is no way called ${name}`);
  return found;
}

/** Which feature is missing for a way, and why; undefined: none. */
export function whyNot({ needs = [] }: Way): string | undefined {
  const missing = needs.find((need) => !feature(need).available);
  return missing === undefined ? undefined : `${missing}: ${feature(missing).reason}`;
}
