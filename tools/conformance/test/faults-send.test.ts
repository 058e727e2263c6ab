/** sendfile-stream under every fault, at the first calls of each traffic. All 20 of them: `dist/faults/main.js`. */
import '@zerocopy/conformance/faults/install';
import { attempt, describeFault, exhaust } from '@zerocopy/conformance/faults/exhaustive';
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

kernelTest(
  'in chunks of 1 MiB: refused in the midst of one, and between two, the framing is right to the byte',
  async (t) => {
    const large = pattern(3 * 1024 * 1024 + 7);
    const inChunks = sendTraffic.filter(({ name }) => name.includes('in chunks'));
    t.true(inChunks.length >= 2);
    for (const traffic of inChunks) {
      for (let at = 1; at <= 12; at++) {
        for (const code of ['EINVAL', 'EIO']) {
          const plan = { at, fault: { kind: 'errno', code }, only: ['sendfile'] } as const;
          const { complaint, call } = await attempt(traffic, large, plan);
          t.is(complaint, undefined, `${traffic.name}: ${code} at sendfile ${at} (${call ?? 'not met'})`);
        }
      }
    }
  },
);
