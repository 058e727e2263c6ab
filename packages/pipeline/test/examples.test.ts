/** The recipes of the README, as they stand in examples/. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { Examples, fresh, get, kernelTest, makeFile, pattern, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
const examples = new Examples(import.meta.url);
const content = pattern(3_000_000);
const path = makeFile(directory, content);

test('the README shows them as they are', (t) => {
  t.deepEqual(examples.notInReadme(), []);
});

kernelTest('one import: the file, sent by the kernel', async (t) => {
  await examples.serve('one-import', [path], async (port, results) => {
    t.true((await get(port)).body.equals(content));
    await until(() => results.length > 0, 'the result');
    t.deepEqual(
      results.map(({ method }) => method),
      ['sendfile'],
    );
  });
});

kernelTest('install: what it looks at, and what it leaves', async (t) => {
  await examples.serve('install', [path], async (port) => {
    t.true((await get(port)).body.equals(content));
    t.true((await get(port, { path: '/legacy' })).body.equals(content));
    const { kinds, declined } = JSON.parse(String((await get(port, { path: '/stats' })).body));
    t.deepEqual(kinds, { 'file->http': 1 });
    t.deepEqual(declined, { 'the filter has left it out': 1 });
  });
});

test('copy: from a path and from a child', async (t) => {
  const destination = fresh(directory);
  const { status, stdout, stderr } = await examples.run('copy', path, destination);
  t.is(status, 0, stderr);
  t.regex(stdout, /^3000000 bytes from a path to a path by \w+\n3000000 bytes from a child to a path by \w+\n$/);
  t.true(readFileSync(destination).equals(content));
});
