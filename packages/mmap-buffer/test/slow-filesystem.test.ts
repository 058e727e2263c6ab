/** The event loop waits for no server: files on a filesystem that is slow in one operation each (kernel-rules: open-may-wait). */

import { join } from 'node:path';
import { createMmapReadStream, mapFile } from '@zerocopy/mmap-buffer';
import { contentOf, SLOW_OPERATIONS } from '@zerocopy/testing/slow-files';
import { noSlowMount, stallOf, withSlowMount } from '@zerocopy/testing/slow-mount';
import test from 'ava';
import { mapSerial } from './harness.js';

const DELAY = 300;
/** Milliseconds for which a busy machine may hold up the loop without a server. */
const STALL = 200;
const SIZE = 200_000;
const reason = noSlowMount();
const slowTest = reason === undefined ? mapSerial : test.skip;
const suffix = reason === undefined ? '' : ` (${reason})`;

slowTest(`mapFile: opening, mapping, looking, closing${suffix}`, async (t) => {
  await withSlowMount(DELAY, async (directory) => {
    for (const slow of SLOW_OPERATIONS) {
      if (slow === 'read') continue; // what touches a page that is not in memory waits for it
      const stall = await stallOf(STALL, async () => {
        const mapped = await mapFile(join(directory, `${slow}-${SIZE}`), { populate: true });
        t.is(mapped.method, 'mmap', slow);
        t.false(mapped.truncated);
        t.true(mapped.buffer.equals(contentOf(SIZE)));
        await mapped.close();
      });
      t.true(stall < STALL, `${slow}: ${stall} ms`);
    }
  });
});

slowTest(`mapFile with a lease, which is refused there: opening again${suffix}`, async (t) => {
  await withSlowMount(DELAY, async (directory) => {
    const stall = await stallOf(STALL, async () => {
      const mapped = await mapFile(join(directory, `open-${SIZE}`), { guard: 'both', populate: true });
      t.true(mapped.buffer.equals(contentOf(SIZE)));
      await mapped.close();
    });
    t.true(stall < STALL, `${stall} ms`);
  });
});

slowTest(`createMmapReadStream, reading included${suffix}`, async (t) => {
  await withSlowMount(DELAY, async (directory) => {
    for (const slow of SLOW_OPERATIONS) {
      const stall = await stallOf(STALL, async () => {
        const stream = createMmapReadStream(join(directory, `${slow}-${SIZE}`));
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk as Buffer);
        t.is(stream.method, 'mmap', slow);
        t.true(Buffer.concat(chunks).equals(contentOf(SIZE)), slow);
      });
      t.true(stall < STALL, `${slow}: ${stall} ms`);
    }
  });
});
