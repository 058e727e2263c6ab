/** Confinement by the kernel. */
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';
import { confinementCases } from './confinement-cases.js';

const openat2 = feature('openat2');
if (openat2.available) confinementCases();
else {
  test.skip(`confinement by openat2: ${openat2.reason}`, () => {});
  confinementCases(test.skip as unknown as TestFn);
}
