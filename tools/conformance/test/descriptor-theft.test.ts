/** Closed and opened again in the same tick: no transfer touches what has its descriptor's number now. */
import { join } from 'node:path';
import { Canaries } from '@zerocopy/conformance/security/canaries';
import { allThefts, commit, MOMENTS, type Moment } from '@zerocopy/conformance/security/theft';
import { libcStatus } from '@zerocopy/core-syscalls';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import test, { type SerialFn } from 'ava';

// One after the other: the numbers are the process's.
const { serial } = testsWhere('descriptors of system calls', libcStatus());
const directory = temporaryDirectory();
const canaries = libcStatus().available ? new Canaries(join(directory, 'canaries')) : undefined;

for (const [index, theft] of allThefts.entries()) {
  const theftTest = (theft.skipped === undefined ? serial : test.serial.skip) as SerialFn;
  const why = theft.skipped === undefined ? '' : ` (${theft.skipped})`;
  theftTest(`${theft.name}: nothing happens to whoever gets the number${why}`, async (t) => {
    // Each at one moment, so that neighbours have others, and again until it has been used; the long run has them all.
    for (let round = 0; round < 20; round++) {
      const moment = MOMENTS[(index + round) % MOMENTS.length] as Moment;
      const { reused, complaints } = await commit(theft, moment, directory, canaries as Canaries);
      t.deepEqual(complaints, [], moment);
      if (reused) return;
    }
    t.fail('the number was not used again');
  });
}
