/** Runs in the lease thread before its own code. */
import './install.js';
import { workerData } from 'node:worker_threads';
import { withFaults } from './injection.js';
import type { ThreadFaults } from './lease-thread.js';

const { plan, calls, hit } = (workerData as { readonly faults: ThreadFaults }).faults;

/** For as long as there is the thread. */
const forever = new Promise<never>(() => {});
void withFaults(
  {
    at: plan?.at ?? Number.POSITIVE_INFINITY,
    fault: plan?.fault ?? { kind: 'short' },
    onCall: () => void Atomics.add(calls, 0, 1),
    onHit: (name) => void new TextEncoder().encodeInto(name, hit),
  },
  () => forever,
  { direct: true },
);
