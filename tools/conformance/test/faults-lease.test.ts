/** The thread that answers for leases under faults: those that were wrong once. All: `npm run conformance -- faults`. */
import '@zerocopy/conformance/faults/install';
import { stat } from 'node:fs/promises';
import { describeFault } from '@zerocopy/conformance/faults/exhaustive';
import type { Fault } from '@zerocopy/conformance/faults/injection';
import { type LeaseScene, leaseThreadUnder } from '@zerocopy/conformance/faults/lease-thread';
import { feature } from '@zerocopy/core-syscalls';
import { pattern } from '@zerocopy/testing/bytes';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import test from 'ava';

// One at a time: each has the only lease, and so a thread of its own.
const { serial: kernelTest } = testsWhere('leases', feature('mmap'), feature('lease'));

const content = pattern(300_000);
const fails = (code: string, times = 1): Fault => ({ kind: 'errno', code, times });

const trials: readonly (readonly [scene: LeaseScene, at: number, call: string, fault: Fault, arrives?: 'arrives'])[] = [
  // The signal would have ended the process.
  ['released', 1, 'pthread_sigmask', fails('EINVAL')],
  ['released', 7, 'fcntl', fails('EAGAIN', 20)],
  // There was no copy, no trap, and the lease was given up.
  ['copied', 7, 'mmap', fails('ENOMEM')],
  // A copy of one byte; and the copy is made all the same: read again from the same byte, or by the page.
  ['copied', 9, 'process_vm_readv', { kind: 'short' }],
  ['copied', 9, 'process_vm_readv', fails('EPERM')],
  ['copied', 9, 'process_vm_readv', fails('EINTR', 3), 'arrives'],
  ['copied', 9, 'process_vm_readv', fails('EFAULT'), 'arrives'],
  ['copied', 10, 'mremap', fails('ENOMEM')],
  // The thread ended, and nobody answered.
  ['told', 7, 'fs.readFileSync', fails('EMFILE')],
];

// Starts the pool of threads, which stays, before threads are counted.
test.before(() => stat('/'));

for (const [scene, at, call, fault, arrives] of trials) {
  kernelTest(`the thread of a lease that is ${scene}: ${describeFault(fault)} at its call ${at}`, async (t) => {
    const trial = await leaseThreadUnder(scene, content, at, fault);
    t.is(trial.complaint, undefined);
    t.is(trial.call, call, 'it was met');
    if (arrives) t.is(trial.error, undefined, 'every byte is in the copy');
  });
}
