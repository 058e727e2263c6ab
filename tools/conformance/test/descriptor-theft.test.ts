/** Closed and opened again in the same tick: no transfer touches what has its number now (kernel-rules: fd-reuse). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Canaries } from '@zerocopy/conformance/security/canaries';
import { commit, MOMENTS } from '@zerocopy/conformance/security/theft';
import { allThefts } from '@zerocopy/conformance/security/thefts';
import { libcStatus } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

const libc = libcStatus();
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-theft-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const canaries = libc.available ? new Canaries(join(directory, 'canaries')) : undefined;
// One after the other: the numbers are the process's.
const kernelTest = (libc.available ? test.serial : test.serial.skip) as TestFn;
if (!libc.available) test.skip(`descriptors cannot be looked at: ${libc.reason}`, () => {});

for (const [index, theft] of allThefts.entries()) {
  const theftTest = (theft.skipped === undefined ? kernelTest : test.skip) as TestFn;
  const why = theft.skipped === undefined ? '' : ` (${theft.skipped})`;
  theftTest(`${theft.name}: nothing happens to whoever gets the number${why}`, async (t) => {
    // Each at one moment, so that neighbours have others, and again until it has been used; `main.js` has them all.
    for (let round = 0; round < 20; round++) {
      const moment = MOMENTS[(index + round) % MOMENTS.length] as (typeof MOMENTS)[number];
      const { reused, complaints } = await commit(theft, moment, directory, canaries as Canaries);
      t.deepEqual(complaints, [], moment);
      if (reused) return;
    }
    t.fail('the number was not used again');
  });
}
