/** That a server keeps nothing of the responses it has sent; a million of them are `npm run conformance -- retained`. */
import { retainedBy, slopeOf, type WayName } from '@zerocopy/conformance/retained/retained';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

const sendfile = feature('sendfile');
const kernelTest = (sendfile.available ? test.serial : test.serial.skip) as TestFn;
/** Those in which most is made for a response, and least. */
const WAYS: readonly WayName[] = ['sendFile', "createSendfileStream by Node's pipeline"];
const RESPONSES = 5000;
/** Bytes for each response: less than a signal, or a stream, holds, and more than what is still being compiled meanwhile. */
const MOST = 100;

for (const way of WAYS) {
  kernelTest(
    `nothing of a response stays on the heap: ${way}${sendfile.available ? '' : ` (${sendfile.reason})`}`,
    async (t) => {
      t.timeout(120_000);
      const bytes = await retainedBy({ way, responses: RESPONSES, length: 1024 });
      t.true(bytes < MOST, `${bytes} bytes for each`);
    },
  );
}

test('a slope is that of the line of least squares', (t) => {
  t.is(slopeOf([1, 3, 5, 7]), 2);
  t.is(slopeOf([4, 4, 4]), 0);
  t.is(slopeOf([0, 3, 0]), 0);
});
