/** The shared harness, and what is this package's own of it. */
import { feature, probePath } from '@zerocopy/core-syscalls';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { fixturesBeside, elsewhere as inProcess } from '@zerocopy/testing/programs';

export { KiB, MiB, pattern, sha256 } from '@zerocopy/testing/bytes';
export { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
export { collectGarbage, mappedAreas, openDescriptors } from '@zerocopy/testing/holdings';
export { runProgram } from '@zerocopy/testing/programs';
export { turn, until } from '@zerocopy/testing/waiting';

const [mmap, trap, lease] = [feature('mmap'), feature('sigbusTrap'), feature('lease')];
const here = lease.available ? probePath(makeFile(temporaryDirectory())).lease : lease;

/** For tests of mappings; the serial ones look at what the whole process holds. */
export const { test: mapTest, serial: mapSerial } = testsWhere('mappings', mmap, trap);
export const { test: poolTest } = testsWhere('shared buffers', mmap, feature('memfdSeals'));
export const { test: leaseTest } = testsWhere('leases', mmap, trap, here);

export const fixture: (name: string) => string = fixturesBeside(import.meta.url);

/** Another process that runs `code` with `fs` and the file's `path` at hand. */
export async function elsewhere(path: string, code: string): Promise<void> {
  await inProcess(`const path = ${JSON.stringify(path)}; ${code}`);
}
