/** A sample of the pipes that other code disturbs; more: `npm run conformance -- hooked`. */
import { search } from '@zerocopy/conformance/hooked/search';
import { feature } from '@zerocopy/core-syscalls';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { testsWhere } from '@zerocopy/testing/kernel-tests';

const { test } = testsWhere('the kernel path', feature('sendfile'), feature('splice'));

test('pipes that other code disturbs: each byte, and what Node does', async (t) => {
  const seed = Date.now() % 1_000_000;
  t.log(`seed ${seed}`);
  const { kinds, complaints } = await search(40, seed, temporaryDirectory());
  t.deepEqual(complaints, [], `seed ${seed}`);
  t.true(Object.values(kinds).some((count) => count > 0));
});
