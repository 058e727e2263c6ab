/** The copy that takes the place of a mapping, disturbed: it is made all the same. In few threads: each next one lingers longer. */
import '@zerocopy/conformance/faults/install';
import { readFile } from 'node:fs/promises';
import { describeFault } from '@zerocopy/conformance/faults/exhaustive';
import type { Fault } from '@zerocopy/conformance/faults/injection';
import { leaseThreadUnder } from '@zerocopy/conformance/faults/lease-thread';
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
const faults: readonly Fault[] = [
  { kind: 'errno', code: 'EINTR', times: 3 }, // read again, from the same byte
  { kind: 'errno', code: 'EFAULT' }, // read by the page, of which each is there
];

// Starts the thread pool, which stays, before threads are counted.
test.before(async () => void (await readFile(new URL(import.meta.url))));

for (const fault of faults) {
  kernelTest(`${describeFault(fault)} while the bytes are read: every one is in the copy`, async (t) => {
    const { complaint, call, error } = await leaseThreadUnder('copied', content, 9, fault);
    t.is(complaint, undefined);
    t.is(error, undefined);
    t.is(call, 'process_vm_readv', 'it was met');
  });
}
