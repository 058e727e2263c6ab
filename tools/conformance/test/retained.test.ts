/** That a server keeps nothing of the responses it has sent; a million of them are `npm run conformance -- retained`. */
import { retainedBy, slopeOf, WAY_NAMES } from '@zerocopy/conformance/retained/retained';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

const sendfile = feature('sendfile');
const kernelTest = (sendfile.available ? test.serial : test.serial.skip) as TestFn;
/** Bytes for each response: half of what the smallest object has. Code that is still being compiled is less. */
const MOST = 25;

for (const way of WAY_NAMES) {
  kernelTest(
    `nothing of a response stays on the heap: ${way}${sendfile.available ? '' : ` (${sendfile.reason})`}`,
    async (t) => {
      t.timeout(120_000);
      const bytes = await retainedBy({ way, responses: 10_000, length: 1024 });
      t.true(bytes < MOST, `${bytes} bytes for each`);
    },
  );
}

test('a slope is that of the line of least squares', (t) => {
  t.is(slopeOf([1, 3, 5, 7]), 2);
  t.is(slopeOf([4, 4, 4]), 0);
  t.is(slopeOf([0, 3, 0]), 0);
});
