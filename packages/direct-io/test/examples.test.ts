/** The recipes of the README, as they stand in examples/. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { evict, residentBytes } from '@zerocopy/testing/page-cache';
import { Examples } from '@zerocopy/testing/programs';
import test from 'ava';
import { fresh, MiB, makeFile, pattern, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const examples = new Examples(import.meta.url);

test('the README shows them as they are', (t) => {
  t.deepEqual(examples.notInReadme(), []);
});

test('backup: the file, how it went, and the page cache as it was', async (t) => {
  const source = makeFile(directory, pattern(MiB + 100));
  evict(source);
  const destination = fresh(directory);
  const { status, stdout, stderr } = await examples.run('backup', source, destination);
  t.is(status, 0, stderr);
  t.regex(stdout, /^1048676 bytes, read by (direct|copy), written by (direct|copy)\n$/);
  if (/copy/.test(stdout) || residentBytes(source) === undefined) t.log(`the page cache is not looked at: ${stdout}`);
  else {
    t.is(residentBytes(source), 0);
    t.true((residentBytes(destination) as number) <= 2 * 4096, 'what is less than a page goes through the cache');
  }
  t.true(readFileSync(destination).equals(pattern(MiB + 100)));
});

test('checksum: that of the file', async (t) => {
  const content = pattern(9 * MiB + 5);
  const { status, stdout, stderr } = await examples.run('checksum', makeFile(directory, content));
  t.is(status, 0, stderr);
  t.true(stdout.startsWith(createHash('sha256').update(content).digest('hex')));
});

test('append-log: one record after the other', async (t) => {
  const path = fresh(directory);
  for (const records of [
    ['first', 'second'],
    ['third', 'x'.repeat(5000)],
  ]) {
    const { status, stdout, stderr } = await examples.run('append-log', path, ...records);
    t.is(status, 0, stderr);
    t.true(stdout.endsWith(`up to byte ${statSync(path).size}\n`));
  }
  t.is(readFileSync(path, 'utf8'), `first\nsecond\nthird\n${'x'.repeat(5000)}\n`);
});

test('random-reader: all that was asked for', async (t) => {
  const { status, stdout, stderr } = await examples.run('random-reader', makeFile(directory, pattern(MiB)), '200');
  t.is(status, 0, stderr);
  t.regex(stdout, /^819200 bytes by (direct|copy), aligned to \d+\n$/);
});
