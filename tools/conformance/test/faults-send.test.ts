/** sendfile-stream under every fault, at the first calls of each traffic. All 20 of them: `dist/faults/main.js`. */
import '@zerocopy/conformance/faults/install';
import { describeFault, exhaust } from '@zerocopy/conformance/faults/exhaustive';
import { sendTraffic } from '@zerocopy/conformance/traffic/send';
import { pattern } from '@zerocopy/conformance/traffic/traffic';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

const { available, reason } = feature('sendfile');
// One at a time: faults meet every call of the thread.
const kernelTest = (available ? test.serial : test.serial.skip) as TestFn;
if (!available) test.skip(`the kernel path: ${reason}`, () => {});

const content = pattern(300_000);

for (const traffic of sendTraffic) {
  kernelTest(`${traffic.name}: the same bytes, or a clear error with the exact count`, async (t) => {
    const trials = await exhaust(traffic, { content, firstCalls: 8 });
    for (const { at, call, fault, complaint } of trials) {
      t.is(complaint, undefined, `${describeFault(fault)} at call ${at} (${call})`);
    }
    t.true(trials.filter(({ call }) => call !== undefined).length >= 14, 'the faults have met something');
  });
}
