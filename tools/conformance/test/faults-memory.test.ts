/**
 * mmap-buffer, lease-guard, file-copy and the probe under faults: some of all trials, others each day, and those that
 * were wrong once. All of them: `dist/faults/main.js`.
 */
import '@zerocopy/conformance/faults/install';
import { attempt, describeFault, exhaust, FAULTS } from '@zerocopy/conformance/faults/exhaustive';
import type { Fault, FaultPlan } from '@zerocopy/conformance/faults/injection';
import { probeUnder } from '@zerocopy/conformance/faults/probe';
import { trapUnder } from '@zerocopy/conformance/faults/trap';
import { copyTraffic } from '@zerocopy/conformance/traffic/copy';
import { memoryTraffic } from '@zerocopy/conformance/traffic/memory';
import { pattern } from '@zerocopy/conformance/traffic/traffic';
import { type FeatureName, feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';
import fc from 'fast-check';

const missing = (['copyFileRange', 'splice', 'mmap', 'sigbusTrap', 'memfdSeals', 'lease'] as FeatureName[])
  .map((name) => [name, feature(name)] as const)
  .find(([, { available }]) => !available);
// One at a time: faults meet every call of the thread.
const kernelTest = (missing === undefined ? test.serial : test.serial.skip) as TestFn;
if (missing !== undefined) test.skip(`the kernel path: ${missing[0]}: ${missing[1].reason}`, () => {});

const content = pattern(300_000);
const seed = process.env.CI ? 1 : Math.floor(Math.random() * 2 ** 31); // in CI the same each time
/** Trials of each traffic. */
const TRIALS = 6;

const choose = (plans: readonly FaultPlan[]): readonly FaultPlan[] =>
  fc.sample(fc.subarray([...plans], { minLength: TRIALS, maxLength: TRIALS }), { seed, numRuns: 1 })[0] as FaultPlan[];

for (const traffic of [...copyTraffic, ...memoryTraffic]) {
  kernelTest(`${traffic.name}: the same bytes, or a clear error with the exact count`, async (t) => {
    t.log(`seed ${seed}`);
    for (const { at, call, fault, complaint } of await exhaust(traffic, { content, choose })) {
      t.is(complaint, undefined, `${describeFault(fault)} at call ${at} (${call})`);
    }
  });
}

const failing = (code: string, times = 1): Fault => ({ kind: 'errno', code, times });

type Case = readonly [traffic: string, call: string, nth: number, fault: Fault, outcome?: 'arrives'];

/** What was wrong once: the traffic, the call, which of that name, the fault, and whether all is to arrive in spite of it. */
const regressions: readonly Case[] = [
  // The copy was left there, and no bytes were told; or the copy was whole, and an error was told.
  ['copyFile by copy_file_range', 'fs.close', 1, failing('EIO')],
  ['copyFile by copy_file_range', 'fs.closeSync', 1, failing('EIO')],
  ['copyFile with holes by splice', 'fs.ftruncate', 1, failing('EIO')],
  // Did not wait, and did not go on by another way.
  ['copyFile by splice', 'splice', 1, failing('EAGAIN', 20)],
  ['copyFile by splice', 'splice', 2, failing('EAGAIN')],
  // close() stopped half-way, and held the file, the mapping and the lease for good.
  ['mapFile with a lease', 'mmap', 3, failing('ENOMEM')],
  ['mapFile with a lease', 'fs.closeSync', 1, failing('EIO')],
  ['mapFile with a trap', 'fs.fstatSync', 2, failing('EIO')],
  ['mapFile with a trap', 'madvise', 1, failing('EINTR', 5)],
  ['mapFile for writing, flushed both ways', 'msync', 1, failing('EINTR')],
  // The file stayed larger than its mapping.
  ['resize: grown beyond what was reserved', 'mmap', 1, failing('ENOMEM')],
  ['resize: grown and shrunk in place', 'sigaction', 2, failing('EIO')],
  ['resize: grown where there is no fallocate', 'fs.ftruncate', 1, failing('EIO')],
  // A descriptor was lost; the pool stayed mapped, or locked for everybody else.
  ['SharedBufferPool, opened from another thread', 'fs.openSync', 2, failing('EMFILE')],
  ['SharedBufferPool, opened from another thread', 'pread', 1, failing('EINTR')],
  ['SharedBufferPool, filled for another thread', 'fs.closeSync', 1, failing('EIO')],
  ['SharedBufferPool, filled for another thread', 'pwrite', 1, { kind: 'short' }],
  ['SharedBufferPool, filled for another thread', 'fcntl', 5, failing('EAGAIN')],
  // The stream failed, and could have gone on.
  ['createMmapReadStream to a file', 'mmap', 2, failing('EPERM'), 'arrives'],
  ['createMmapReadStream to a file', 'madvise', 1, failing('ENOSYS'), 'arrives'],
  // The lease was called released, and was not.
  ['a lease on a descriptor', 'fcntl', 4, failing('EINTR')],
  ['a lease on a descriptor', 'fcntl', 4, failing('EIO', 5)],
];

/** What only a fault leads to: the code beyond it is run each day. */
const corners: readonly Case[] = [
  ['copyFile by copy_file_range', 'copy_file_range', 1, failing('EINTR'), 'arrives'],
  ['copyFile by copy_file_range', 'copy_file_range', 1, failing('ENOMEM')],
  ['copyFile by copy_file_range', 'fs.fchmod', 1, failing('EPERM')],
  ['copyFile by splice', 'splice', 1, failing('EINTR'), 'arrives'],
  ['copyFile by splice', 'splice', 2, { kind: 'short' }, 'arrives'],
  ['copyFile by splice', 'splice', 2, failing('ENOMEM')],
  ['copyFile by read and write', 'fs.read', 1, failing('EIO')],
  ['copyFile by read and write', 'fs.write', 1, { kind: 'short' }, 'arrives'],
  ['copyFile with holes by splice', 'lseek', 1, failing('EINTR'), 'arrives'],
  ['mapFile with a trap', 'madvise', 1, failing('EINVAL'), 'arrives'],
  ['mapFileSync', 'madvise', 1, failing('EINVAL'), 'arrives'],
  ['mapFileSync', 'madvise', 1, failing('ENOMEM')],
  ['mapFile where nothing can be mapped', 'fs.read', 1, failing('EINTR'), 'arrives'],
  ['resize: grown and shrunk in place', 'mmap', 4, failing('ENOMEM', 2)],
  ['createMmapReadStream to a file', 'mmap', 1, failing('EIO')],
  ['createMmapReadStream to a file', 'madvise', 1, failing('EFAULT')],
  ['createMmapReadStream where nothing can be mapped', 'fs.read', 1, { kind: 'short' }, 'arrives'],
  ['createMmapReadStream where nothing can be mapped', 'fs.read', 1, failing('EIO')],
  ['createMmapReadStream where nothing can be mapped', 'fs.read', 1, failing('EINTR'), 'arrives'],
  ['SharedBufferPool, opened from another thread', 'fcntl', 2, failing('EIO')],
  ['a lease on a descriptor', 'fcntl', 3, failing('EACCES')],
  ['a lease on a descriptor', 'fcntl', 4, failing('EIO', 40)],
];

for (const [name, call, at, fault, outcome] of [...regressions, ...corners]) {
  kernelTest(`${name}: ${describeFault(fault)} at its ${call}, the ${at}. of them`, async (t) => {
    const traffic = [...copyTraffic, ...memoryTraffic].find((one) => one.name === name);
    if (traffic === undefined) throw new Error(`there is no ${name}`);
    const trial = await attempt(traffic, content, { at, fault, only: [call] });
    t.is(trial.complaint, undefined);
    t.is(trial.call, call, 'it was met');
    if (outcome === 'arrives') for (const { error } of trial.deliveries) t.is(error, undefined);
  });
}

kernelTest('the first SIGBUS trap of a process: its code is written whole, or it is not there', async (t) => {
  const [whole, none] = await Promise.all([trapUnder(4, { kind: 'short' }), trapUnder(4, failing('ENOSPC'))]);
  t.like(whole, { complaint: undefined, call: 'write', code: undefined });
  t.like(none, { complaint: undefined, call: 'write', code: 'ENOSPC' });
});

test.serial('the probe does not throw, says why, and leaves nothing behind', async (t) => {
  const { calls, complaint } = await probeUnder('probe', 0, undefined);
  t.is(complaint, undefined);
  for (const at of fc.sample(fc.integer({ min: 1, max: Math.max(1, calls) }), { seed, numRuns: 5 })) {
    const fault = FAULTS[at % FAULTS.length] as Fault;
    const trial = await probeUnder('probe', at, fault);
    t.is(trial.complaint, undefined, `${describeFault(fault)} at call ${at} (${trial.call}); seed ${seed}`);
  }
});

test.serial(
  'what the probe is told by a call that fails is why a feature is missing, and nothing else is',
  async (t) => {
    const cases: readonly (readonly [call: string, fault: Fault, missing: RegExp | undefined])[] = [
      ['fs.readdirSync', failing('EIO'), undefined],
      ['socket', failing('EMFILE', 20), /^(msgZerocopy|kernelTls|ioUring): /],
      ['read', { kind: 'short' }, /^sendfile: the bytes that arrived are not those that were sent$/],
      ['fs.rmSync', failing('EIO'), undefined],
      ['statx', failing('EIO'), /^statxDirectIo: EIO/],
      ['sigaction', failing('EINVAL'), /^sigbusTrap: EINVAL.* \(this kernel or filesystem does not support it\)$/],
      ['setsockopt', failing('ENOMEM'), /^msgZerocopy: ENOMEM/],
    ];
    const { missing: always } = await probeUnder('probe', 0, undefined);
    for (const [call, fault, expected] of cases) {
      const { complaint, missing, call: met } = await probeUnder('probe', 1, fault, [call]);
      t.is(complaint, undefined, call);
      if (met === undefined) continue; // turned off
      const more = missing.filter((name) => !always.includes(name));
      if (expected === undefined) t.deepEqual(more, [], call);
      else for (const reason of more) t.regex(reason, expected);
    }
  },
);

test.serial('probePath: what statfs and close say goes into the report', async (t) => {
  for (const at of [2, 7]) t.is((await probeUnder('probePath', at, failing('EIO'))).complaint, undefined);
  for (const code of ['EACCES', 'EAGAIN', 'EINVAL']) {
    const { missing, call } = await probeUnder('probePath', 1, failing(code), ['fcntl']);
    if (call !== undefined) t.regex(missing.join(), new RegExp(`lease: .*\\(${code}\\)`));
  }
  const { missing, call } = await probeUnder('probePath', 1, failing('ENOSYS'), ['statx']);
  if (call !== undefined) t.regex(missing.join(), /directIo: ENOSYS/);
});
