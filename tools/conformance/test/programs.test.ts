/** A sample of the real programs; all of them, and more often: `npm run conformance -- programs`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare } from '@zerocopy/conformance/programs/comparison';
import { programs } from '@zerocopy/conformance/programs/programs';
import { writeSite } from '@zerocopy/conformance/programs/site';
import { feature } from '@zerocopy/core-syscalls';
import { testsWhere } from '@zerocopy/testing/kernel-tests';

const { test } = testsWhere('the kernel path', feature('sendfile'), feature('splice'));

const SAMPLE = [
  'Express 5',
  'sirv',
  'compression',
  'http-proxy',
  'a TCP proxy',
  'uploads to fs.createWriteStream',
  'http2',
];

test('programs that do not know of it: the same replies and events, and the kernel moves the bytes', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-programs-'));
  try {
    const sites = [join(directory, 'a'), join(directory, 'b')] as const;
    for (const site of sites) writeSite(site);
    const verdicts = await compare(
      programs.filter(({ name }) => SAMPLE.includes(name)),
      sites,
    );
    t.is(verdicts.length, SAMPLE.length);
    for (const { program, missing, complaints } of verdicts) {
      t.deepEqual(missing, [], program);
      t.deepEqual(complaints, [], program);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
