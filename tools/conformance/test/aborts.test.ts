/** Processes that end in the middle of their transfers, each way once; more rounds: `node dist/aborts/main.js`. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { endings } from '@zerocopy/conformance/aborts/endings';
import type { LeakReport } from '@zerocopy/conformance/aborts/leaks';
import { momentsOf } from '@zerocopy/conformance/aborts/moments';
import { difference, run } from '@zerocopy/conformance/aborts/round';
import { libcStatus } from '@zerocopy/core-syscalls';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import test from 'ava';

const SEED = 8;
/** The others differ in what main.js tries at many moments: they take a second each. */
const EVERYDAY = [
  'process.exit() in onProgress',
  'uncaught exception in a listener',
  'process.exit() with workers busy',
  ...(isLongRun ? ['SIGTERM', 'natural end'] : []),
];

for (const ending of endings.filter(({ name }) => EVERYDAY.includes(name))) {
  test.serial(`${ending.name}: the process ends as one with Node's own streams, and dumps no core`, async (t) => {
    const [moment] = momentsOf(ending, SEED, 1) as [ReturnType<typeof momentsOf>[0] & object];
    const [mine, twins] = [await run('ours', ending, moment), await run('node', ending, moment)];
    t.is(difference(ending, mine, twins), undefined, JSON.stringify(moment));
  });
}

const [linuxTest, noCalls] = libcStatus().available
  ? [test.serial, '']
  : [test.serial.skip, ' (needs Linux system calls)'];
linuxTest(
  `workers terminated in the midst of their transfers leave no descriptors and no threads behind${noCalls}`,
  async (t) => {
    const directory = temporaryDirectory(undefined, 'leaks');
    const program = fileURLToPath(import.meta.resolve('@zerocopy/conformance/aborts/leaks'));
    const { stdout } = await promisify(execFile)(process.execPath, [program, '4', directory], {
      env: { ...process.env, TMPDIR: directory },
    });
    const { before, after, free } = JSON.parse(stdout) as LeakReport;
    // An fs.open() that is under way when its thread is terminated is lost by Node itself: of files by their names.
    const ours = (links: readonly string[]): string[] => links.filter((link) => !link.includes('zerocopy-leaks-'));
    t.deepEqual(ours(after.descriptors), ours(before.descriptors));
    t.is(after.threads, before.threads);
    t.is(free, 8, 'of the pool, what they held has been taken back');
  },
);
