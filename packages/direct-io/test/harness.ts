/** The shared harness, and what is this package's own of it. */
import { feature, libcStatus } from '@zerocopy/core-syscalls';
import { openDirect } from '@zerocopy/direct-io';
import type { Availability } from '@zerocopy/testing/kernel-tests';
import type { PositionalStep } from '@zerocopy/testing/positional-model';
import { fixturesBeside } from '@zerocopy/testing/programs';
import fc from 'fast-check';

export { KiB, MiB, pattern } from '@zerocopy/testing/bytes';
export { fresh, makeFile, temporaryDirectory } from '@zerocopy/testing/files';
export { collectGarbage, openDescriptors } from '@zerocopy/testing/holdings';
export { isLongRun } from '@zerocopy/testing/kernel-tests';
export { runProgram } from '@zerocopy/testing/programs';
export { until } from '@zerocopy/testing/waiting';

export const fixture: (name: string) => string = fixturesBeside(import.meta.url);

const probed = feature('directIo');
/** Whether this process opens files with O_DIRECT: the probe tries one file, and a device or another filesystem may still take it. */
export const directIo: Availability =
  libcStatus().available && !probed.reason?.includes('ZEROCOPY_DISABLE') ? { available: true } : probed;

/** Lengths and positions about the multiples where something changes. */
const near = (...multiples: number[]): fc.Arbitrary<number> =>
  fc
    .tuple(fc.constantFrom(...multiples), fc.nat({ max: 40 }), fc.constantFrom(-1, 0, 0, 1, 511, 4095))
    .map(([multiple, times, off]) => Math.max(0, multiple * times + off));

export const positionalStep: fc.Arbitrary<PositionalStep> = fc.record({
  act: fc.constantFrom('read', 'readInto', 'write', 'write', 'truncate', 'cut by another'),
  position: near(1, 512, 4096, 16_384),
  length: near(1, 512, 4096, 65_536),
  skip: fc.constantFrom(0, 0, 1, 512, 4095),
});

/** How a file in that directory would be opened. */
export async function methodOf(path: string, flags = 'r'): Promise<readonly [string, string | undefined]> {
  await using file = await openDirect(path, flags);
  return [file.method, file.fallbackReason];
}
