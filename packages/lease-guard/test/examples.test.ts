/** The recipes of the README, as they stand in examples/. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { leaseTest, makeFile, runProgram, temporaryDirectory, trapTest } from './harness.js';

const directory = temporaryDirectory();
const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));
const run = (name: string): ReturnType<typeof runProgram> =>
  runProgram(process.execPath, [fromPackage(`examples/${name}.mjs`), makeFile(directory, Buffer.alloc(10_000, 'x'))]);

test('the README shows them as they are', (t) => {
  const readme = readFileSync(fromPackage('README.md'), 'utf8');
  for (const name of readdirSync(fromPackage('examples'))) {
    t.true(readme.includes(`\`\`\`js\n${readFileSync(fromPackage(`examples/${name}`), 'utf8')}\`\`\``), name);
  }
});

leaseTest('lease', async (t) => {
  t.like(await run('lease'), {
    status: 0,
    stdout: '10000 bytes, and nobody has changed them meanwhile\n',
    stderr: '',
  });
});

trapTest('mapping', async (t) => {
  t.like(await run('mapping'), {
    status: 0,
    stdout: 'an error instead of a signal: EFAULT\ntruncated: false\n',
    stderr: '',
  });
});
