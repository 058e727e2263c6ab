/** splice-pipe under faults: what was once wrong, and a sample of the rest. All of it: `dist/faults/main.js --only …`. */
import '@zerocopy/conformance/faults/install';
import {
  attempt,
  describeFault,
  exhaust,
  FAULTS,
  FIRST_CALLS,
  type Trial,
} from '@zerocopy/conformance/faults/exhaustive';
import type { Fault, FaultPlan } from '@zerocopy/conformance/faults/injection';
import { spliceTraffic } from '@zerocopy/conformance/traffic/splice';
import { pattern, type Traffic } from '@zerocopy/conformance/traffic/traffic';
import { feature } from '@zerocopy/core-syscalls';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import test, { type ExecutionContext, type TestFn } from 'ava';
import fc from 'fast-check';

// Both are tried out now: a fault is to meet the traffic, not the probe, which remembers.
const { available, reason } = [feature('tee'), feature('splice')].find((one) => !one.available) ?? feature('splice');
// One at a time: faults meet every call of the thread.
const kernelTest = (available ? test.serial : test.serial.skip) as TestFn;
if (!available) test.skip(`the kernel path: ${reason}`, () => {});

const options = { content: pattern(300_000), pooled: (): number => 2 * pipePoolStats().idle };
const fails = (code: string, times = 1): Fault => ({ kind: 'errno', code, times });

function trafficNamed(name: string): Traffic {
  const found = spliceTraffic.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no traffic called ${name}`);
  return found;
}

/** One trial that must have met its call, and have nothing wrong. */
async function pinned(t: ExecutionContext, name: string, plan: FaultPlan): Promise<Trial> {
  const tried = await attempt(trafficNamed(name), options.content, plan, options);
  t.is(tried.complaint, undefined, `${name}: ${describeFault(plan.fault)} at ${plan.only} ${plan.at}`);
  t.not(tried.call, undefined, name);
  return tried;
}

/** The same, of which everything must arrive. */
async function arrives(t: ExecutionContext, name: string, plan: FaultPlan): Promise<Trial> {
  const tried = await pinned(t, name, plan);
  for (const { error } of tried.deliveries) t.is(error, undefined, name);
  return tried;
}

// First of all: an idle pipe, left by another test, would do instead of the one that cannot be made.
kernelTest('without a pipe to be had a file is not written byte by byte', async (t) => {
  const plan = { at: 1, only: ['pipe2'], fault: fails('EMFILE', 1000) };
  const { calls } = await arrives(t, 'splice from a unix socket to a file', plan);
  t.true(calls.length < 100, `${calls.length} calls`);
});

kernelTest('refused by the kernel a file is not written byte by byte', async (t) => {
  const plan = { at: 1, only: ['splice'], fault: fails('ENOSYS') };
  for (const name of [
    'splice from a unix socket to a file',
    "splice from a pipe's descriptor to a file",
    'createSpliceWriteStream from a unix socket',
  ]) {
    const { calls } = await arrives(t, name, plan);
    t.true(calls.length < 100, `${name}: ${calls.length} calls`);
  }
});

kernelTest('a file is not written to once it has failed, by what its source is given back', async (t) => {
  // The first splice fills the pipe, the second writes.
  for (const code of ['EIO', 'ENOSPC']) {
    const plan = { at: 2, only: ['splice'], fault: fails(code) };
    const { deliveries } = await pinned(t, 'createSpliceWriteStream from a unix socket', plan);
    t.like(deliveries[0], { error: { code }, bytes: 0 });
  }
});

kernelTest('what a pipe holds is read in spite of EINTR; where it cannot be, its source fails', async (t) => {
  const name = 'splice with a length from a unix socket, read late';
  await arrives(t, name, { at: 1, only: ['read'], fault: fails('EINTR', 5) });
  const { deliveries } = await pinned(t, name, { at: 1, only: ['read'], fault: fails('EIO', 20) });
  t.is(deliveries.length, 1, 'the source is destroyed: nobody reads on behind the gap');
});

kernelTest('a descriptor that cannot be duplicated: the error has its count', async (t) => {
  for (const name of ['splice from a file to a file', "splice from a pipe's descriptor to a unix socket"]) {
    const { deliveries } = await pinned(t, name, { at: 1, only: ['fcntl'], fault: fails('EMFILE', 1000) });
    t.like(deliveries[0], { error: { code: 'EMFILE' }, bytes: 0 });
  }
});

kernelTest('tee goes on without splice, without tee, and after a short one', async (t) => {
  for (const name of ['tee to two unix sockets, one of them read late', 'tee to a socket and a file']) {
    for (const fault of [fails('EINVAL'), fails('EINTR', 5), { kind: 'short' } as const]) {
      for (const call of ['tee', 'splice']) {
        await arrives(t, name, { at: 1, only: [call], fault });
      }
    }
  }
});

/** Trials of each traffic, anew in every run: what is wrong is named by the trial itself. */
const SAMPLE = 8;
const somePlan = fc.record({ at: fc.integer({ min: 1, max: FIRST_CALLS }), fault: fc.constantFrom(...FAULTS) });

for (const traffic of spliceTraffic) {
  kernelTest(`${traffic.name}: the same bytes, or a clear error with the exact count`, async (t) => {
    await exhaust(traffic, { ...options, firstCalls: 0 }); // undisturbed
    for (const plan of fc.sample(somePlan, process.env.CI ? { seed: 1, numRuns: SAMPLE } : SAMPLE)) {
      const { at, call, fault, complaint } = await attempt(traffic, options.content, plan, options);
      t.is(complaint, undefined, `${describeFault(fault)} at call ${at} (${call})`);
    }
  });
}
