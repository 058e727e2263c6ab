/** Real programs as they are, with their pipes moved by the kernel and without; more often: `npm run conformance -- programs`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, type Verdict } from '@zerocopy/conformance/programs/comparison';
import { programs } from '@zerocopy/conformance/programs/programs';
import { writeSite } from '@zerocopy/conformance/programs/site';
import { feature } from '@zerocopy/core-syscalls';
import { testsWhere } from '@zerocopy/testing/kernel-tests';

const { test } = testsWhere('the kernel path', feature('sendfile'), feature('splice'));

async function compareAll(): Promise<ReadonlyMap<string, Verdict>> {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-programs-'));
  try {
    const sites = [join(directory, 'a'), join(directory, 'b')] as const;
    for (const site of sites) writeSite(site);
    const verdicts = await compare(programs, sites);
    return new Map(verdicts.map((verdict) => [verdict.program, verdict]));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** All of them one after another, in the same two processes: begun by the first test. */
let all: ReturnType<typeof compareAll> | undefined;

for (const { name, kinds, exchanges } of programs) {
  const path = kinds.length === 0 ? 'all is left to Node' : `${kinds.join(', ')} beneath`;
  test(`${name}: the same replies and events, and ${path}`, async (t) => {
    all ??= compareAll();
    const verdict = (await all).get(name);
    t.deepEqual(verdict?.missing, []);
    t.deepEqual(verdict?.complaints, []);
    t.is(verdict?.exchanges, exchanges.length);
  });
}
