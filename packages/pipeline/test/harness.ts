/** The shared harness, and what is this package's own of it. */
import { feature } from '@zerocopy/core-syscalls';
import { type PipeStats, stats } from '@zerocopy/pipeline';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { fixturesBeside } from '@zerocopy/testing/programs';

export { KiB, MiB, pattern, sha256 } from '@zerocopy/testing/bytes';
export { fresh, makeFile, temporaryDirectory } from '@zerocopy/testing/files';
export { openDescriptors } from '@zerocopy/testing/holdings';
export { get, withHttpServer } from '@zerocopy/testing/http';
export { isLongRun } from '@zerocopy/testing/kernel-tests';
export { Examples, runProgram } from '@zerocopy/testing/programs';
export { arrival, collect, connectedPair, destroyed, withPair } from '@zerocopy/testing/sockets';
export { pause, turn, until } from '@zerocopy/testing/waiting';

/** For tests of the kernel path, one at a time: they look at counts of the whole thread. */
export const { serial: kernelTest } = testsWhere('the kernel path', feature('sendfile'), feature('splice'));
export const fixture: (name: string) => string = fixturesBeside(import.meta.url);

type Counts = Readonly<Record<string, number>>;

/** What has been added to the counts since `before`, without what is 0. */
export function since(before: PipeStats): { kinds: Counts; declined: Counts; handedBack: Counts; bytes: number } {
  const now = stats();
  const added = (from: Counts, to: Counts): Counts =>
    Object.fromEntries(
      Object.entries(to)
        .map(([key, count]): [string, number] => [key, count - (from[key] ?? 0)])
        .filter(([, count]) => count > 0),
    );
  const sum = (counts: Counts): number => Object.values(counts).reduce((total, count) => total + count, 0);
  return {
    kinds: added(before.kinds, now.kinds),
    declined: added(before.declined, now.declined),
    handedBack: added(before.handedBack, now.handedBack),
    bytes: sum(now.bytes) - sum(before.bytes),
  };
}
