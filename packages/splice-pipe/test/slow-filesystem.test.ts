/** The event loop goes on while a file's server makes whoever asks it wait (kernel-rules: open-may-wait). */
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { splice } from '@zerocopy/splice-pipe';
import { contentOf, SLOW_OPERATIONS, slowName } from '@zerocopy/testing/slow-files';
import { noSlowMount, stallOf, withSlowMount } from '@zerocopy/testing/slow-mount';
import test from 'ava';
import { collect, kernelSerial, temporaryDirectory, withPair } from './harness.js';

/** Milliseconds. */
const DELAY = 300;
const STALL_MAX = 250;
const BYTES = 200_000;

const directory = temporaryDirectory();
const reason = noSlowMount();
const slowTest = (reason === undefined ? kernelSerial : test.skip) as typeof test.serial;
if (reason !== undefined) test.skip(`a slow filesystem: ${reason}`, () => {});

for (const operation of SLOW_OPERATIONS) {
  slowTest(`splice from a file that is slow at ${operation}: the loop goes on, and every byte arrives`, async (t) => {
    await withSlowMount(DELAY, async (mount) => {
      const path = join(mount, slowName(operation, BYTES));
      await stat(path); // the look-up is in the kernel's cache from here on, where it may be kept
      const stall = await stallOf(STALL_MAX, () =>
        withPair('tcp', directory, async ({ server, client }) => {
          const received = collect(client);
          const handle = await open(path);
          t.is((await splice(handle, server)).bytes, BYTES);
          await handle.close();
          server.end();
          t.true((await received).equals(contentOf(BYTES)));
        }),
      );
      t.true(stall < STALL_MAX, `the loop stood still for ${stall.toFixed(0)} ms`);
    });
  });
}
