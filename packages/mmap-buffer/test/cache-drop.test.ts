/** `cache: 'drop'`: what a stream has brought into the page cache leaves it when no view of it is left. */
import { statfsSync } from 'node:fs';
import { filesystemOfMagic } from '@zerocopy/core-syscalls/descriptors';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { residentBytes } from '@zerocopy/testing/page-cache';
import test from 'ava';
import { fixture, KiB, MiB, makeFile, mapTest, pattern, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const content = Buffer.concat(Array.from({ length: 44 }, (_, n) => pattern(MiB, n)));
const onDisk = filesystemOfMagic(statfsSync(directory).type).kind === 'local';
const isTold = residentBytes(makeFile(directory, 'x')) !== undefined;
const dropTest = onDisk && isTold ? mapTest : test.skip;
if (!onDisk || !isTold)
  test.skip('the page cache: the temporary directory is not on a disk, or it is not told', () => {});

for (const [how, disabled] of [
  ['mmap', undefined],
  ['copy', 'mmap'],
] as const) {
  dropTest(`by ${how}: what was there before stays, what a view is kept of, too, until that is gone`, async (t) => {
    const path = makeFile(directory, content);
    const env = disabled === undefined ? {} : { ZEROCOPY_DISABLE: disabled };
    const args = ['--expose-gc', fixture('dropping'), path];
    const { status, stdout, stderr } = await runProgram(process.execPath, args, { ...process.env, ...env });
    t.is(status, 0, stderr);
    const told = JSON.parse(stdout) as Readonly<Record<string, unknown>>;
    t.like(told, { method: how, bytes: 36 * MiB + 4901, first: content[4 * MiB + 100], stayed: MiB, left: true });
    if (how === 'mmap') t.true((told.whileKept as number) >= 256 * KiB, String(told.whileKept));
  });
}

test('the option is checked', (t) => {
  t.throws(() => createMmapReadStream('x', { cache: 'yes' as never }), { code: 'ERR_INVALID_ARG_VALUE' });
});
