/** The recipes of the README, as they stand in examples/. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { makeFile, mapTest, poolTest, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));
const run = (name: string, ...args: string[]): ReturnType<typeof runProgram> =>
  runProgram(process.execPath, [fromPackage(`examples/${name}.mjs`), ...args]);

test('the README shows them as they are', (t) => {
  const readme = readFileSync(fromPackage('README.md'), 'utf8');
  for (const name of readdirSync(fromPackage('examples'))) {
    t.true(readme.includes(`\`\`\`js\n${readFileSync(fromPackage(`examples/${name}`), 'utf8')}\`\`\``), name);
  }
});

mapTest('search', async (t) => {
  const file = makeFile(directory, `needle ${'hay '.repeat(10_000)}needle`);
  t.like(await run('search', file), { status: 0, stdout: 'needle occurs 2 times in 40013 bytes\n', stderr: '' });
});

mapTest('counter: what one run has stored the next one finds', async (t) => {
  const file = join(directory, 'counter');
  t.false(existsSync(file));
  for (const count of [1, 2, 3]) {
    t.like(await run('counter', file), { status: 0, stdout: `run ${count} times\n`, stderr: '' });
  }
});

poolTest('frames: three pictures, handed to a child', async (t) => {
  const stdout = [1, 2, 3].map((frame) => `frame ${frame}: 8294400 bytes\n`).join('');
  t.like(await run('frames'), { status: 0, stdout: `${stdout}4 of 4 buffers are free again\n`, stderr: '' });
});
