/** The thread that answers for leases under faults: those that were wrong once. All of them: `dist/faults/main.js`. */
import '@zerocopy/conformance/faults/install';
import { describeFault } from '@zerocopy/conformance/faults/exhaustive';
import type { Fault } from '@zerocopy/conformance/faults/injection';
import { type LeaseScene, leaseThreadUnder } from '@zerocopy/conformance/faults/lease-thread';
import { pattern } from '@zerocopy/conformance/traffic/traffic';
import { type FeatureName, feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

const missing = (['mmap', 'lease'] as FeatureName[])
  .map((name) => [name, feature(name)] as const)
  .find(([, { available }]) => !available);
// One at a time: each has the only lease, and so a thread of its own.
const kernelTest = (missing === undefined ? test.serial : test.serial.skip) as TestFn;
if (missing !== undefined) test.skip(`leases: ${missing[0]}: ${missing[1].reason}`, () => {});

const content = pattern(300_000);
const failing = (code: string, times = 1): Fault => ({ kind: 'errno', code, times });

const threadTrials: readonly (readonly [scene: LeaseScene, at: number, call: string, fault: Fault])[] = [
  // The signal would have ended the process.
  ['released', 1, 'pthread_sigmask', failing('EINVAL')],
  ['released', 7, 'fcntl', failing('EAGAIN', 20)],
  // There was no copy, no trap, and the lease was given up.
  ['copied', 7, 'mmap', failing('ENOMEM')],
  // A copy of one byte.
  ['copied', 9, 'process_vm_readv', { kind: 'short' }],
  ['copied', 9, 'process_vm_readv', failing('EPERM')],
  ['copied', 10, 'mremap', failing('ENOMEM')],
  // The thread ended, and nobody answered.
  ['told', 7, 'fs.readFileSync', failing('EMFILE')],
];

for (const [scene, at, call, fault] of threadTrials) {
  kernelTest(`the thread of a lease that is ${scene}: ${describeFault(fault)} at its call ${at}`, async (t) => {
    const trial = await leaseThreadUnder(scene, content, at, fault);
    t.is(trial.complaint, undefined);
    t.is(trial.call, call, 'it was met');
  });
}
