/** Files under a lease, by lease-guard. */
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { acquireLease, type Lease, type LeaseTarget } from '@zerocopy/lease-guard';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import { contentOf } from './files.js';
import { remembering } from './remembering.js';
import type { Stage } from './stage.js';
import type { Way } from './way.js';

let keeper: Promise<Lease> | undefined;

/** Keeps the thread that answers for leases from ending, and starting again, between two runs. */
export function keepLeaseThread(): Promise<Lease> {
  keeper ??= acquireLease(makeFile(temporaryDirectory(), ''), 'read');
  return keeper;
}

/** The release of a lease was told: then nobody has to wait for the file. */
function assertWritable(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  } catch (failure) {
    throw new Error(`the lease was released, and the file cannot be written to: ${(failure as Error).message}`);
  }
}

/** Takes a lease on a file, uses it, reads beside it, and gives it up. */
const leasing = (
  name: string,
  type: 'read' | 'write',
  targetOf: (stage: Stage, path: string) => LeaseTarget,
  use: (lease: Lease) => void | Promise<void>,
): Way =>
  remembering(
    name,
    async (stage) => {
      await keepLeaseThread();
      const path = stage.file();
      let lease: Lease | undefined;
      try {
        lease = await acquireLease(targetOf(stage, path), type);
        await use(lease);
        const content = contentOf(lease.fd);
        await lease.release();
        assertWritable(path);
        return [content];
      } catch (failure) {
        await lease?.release().catch(() => {}); // what failed first is told
        throw failure;
      }
    },
    { needs: ['lease'] },
  );

const leaseBroken = remembering(
  'a lease that is broken by a writer',
  async (stage) => {
    await keepLeaseThread();
    const path = stage.file();
    const lease = await acquireLease(path, 'read');
    const released = once(lease, 'release');
    try {
      closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
    } catch {} // it has to wait, and does not: the lease is being broken
    const alive = setInterval(() => {}, 1000); // a lease keeps no process alive
    await released.finally(() => clearInterval(alive));
    return [readFileSync(path)];
  },
  { needs: ['lease'] },
);

export const leaseWays: readonly Way[] = [
  leasing(
    'a lease on a path, downgraded',
    'write',
    (_stage, path) => path,
    (lease) => lease.downgrade(),
  ),
  leasing(
    'a lease on a descriptor',
    'read',
    (stage, path) => stage.lend(path, 'r'),
    () => {},
  ),
  leaseBroken,
];
