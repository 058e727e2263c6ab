/** The shared harness, and what is this package's own of it. */
import { feature } from '@zerocopy/core-syscalls';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { fixturesBeside } from '@zerocopy/testing/programs';

export { KiB, MiB, pattern } from '@zerocopy/testing/bytes';
export { fresh, makeFile, temporaryDirectory } from '@zerocopy/testing/files';
export { openDescriptors } from '@zerocopy/testing/holdings';
export { runProgram } from '@zerocopy/testing/programs';
export { until } from '@zerocopy/testing/waiting';

/** For tests of the kernel path. */
export const { test: kernelTest } = testsWhere('the kernel path', feature('copyFileRange'));
export const fixture: (name: string) => string = fixturesBeside(import.meta.url);
