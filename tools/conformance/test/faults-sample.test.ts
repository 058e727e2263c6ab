/**
 * Every way of the catalogue under faults: some of all trials, others in every run; the trial itself names what is
 * wrong. All of them: `npm run conformance -- faults`.
 */
import '@zerocopy/conformance/faults/install';
import { describeFault, exhaust } from '@zerocopy/conformance/faults/exhaustive';
import type { FaultPlan } from '@zerocopy/conformance/faults/injection';
import { allWays, sendWays, whyNot } from '@zerocopy/conformance/ways/index';
import { libcStatus } from '@zerocopy/core-syscalls';
import { pattern } from '@zerocopy/testing/bytes';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import test, { type SerialFn } from 'ava';
import fc from 'fast-check';

// One at a time: faults meet every call of the thread.
const { serial } = testsWhere('system calls', libcStatus());

const content = pattern(300_000);
const seed = process.env.CI ? 1 : Math.floor(Math.random() * 2 ** 31); // in CI the same each time
/** Trials of each way, of those at so many first calls. What sends files has fewer calls, and is tried more. */
const ofSending = { trials: 12, firstCalls: 8 };
const ofOthers = { trials: 4, firstCalls: 20 };

for (const way of allWays) {
  const missing = whyNot(way);
  const wayTest = (missing === undefined ? serial : test.serial.skip) as SerialFn;
  const { trials: most, firstCalls } = sendWays.includes(way) ? ofSending : ofOthers;
  const why = missing === undefined ? '' : ` (${missing})`;
  wayTest(`${way.name}: the same bytes, or a clear error with the exact count${why}`, async (t) => {
    t.log(`seed ${seed}`);
    const choose = (plans: readonly FaultPlan[]): readonly FaultPlan[] => {
      const length = Math.min(most, plans.length);
      return fc.sample(fc.shuffledSubarray([...plans], { minLength: length, maxLength: length }), {
        seed,
        numRuns: 1,
      })[0] as FaultPlan[];
    };
    const trials = await exhaust(way, { content, firstCalls, choose });
    for (const { at, call, fault, complaint } of trials) {
      t.is(complaint, undefined, `${describeFault(fault)} at call ${at} (${call})`);
    }
    t.true(trials.some(({ call }) => call !== undefined) || trials.length === 0, 'the faults have met something');
  });
}
