/** A sample of the uploads whose connections are touched; more: `npm run conformance -- uploads-touched`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { search } from '@zerocopy/conformance/uploads-touched/search';
import test from 'ava';

test('uploads whose connections are touched at random: the whole body, or an error', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-touched-'));
  try {
    const seed = Date.now() % 1_000_000;
    t.log(`seed ${seed}`);
    const { whole, failed, complaints } = await search(150, seed, directory);
    t.deepEqual(complaints, [], `seed ${seed}`);
    t.true(whole > failed);
    t.is(whole + failed, 150);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
