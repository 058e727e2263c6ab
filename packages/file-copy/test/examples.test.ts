/** The recipe of the README, as it stands in examples/. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { fresh, makeFile, pattern, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));

test('the README shows it as it is', (t) => {
  const readme = readFileSync(fromPackage('README.md'), 'utf8');
  for (const name of readdirSync(fromPackage('examples'))) {
    t.true(readme.includes(`\`\`\`js\n${readFileSync(fromPackage(`examples/${name}`), 'utf8')}\`\`\``), name);
  }
});

test('copy: the file, and how it went', async (t) => {
  const source = makeFile(directory, pattern(100_000));
  const destination = fresh(directory);
  const { status, stdout, stderr } = await runProgram(process.execPath, [
    fromPackage('examples/copy.mjs'),
    source,
    destination,
  ]);
  t.is(status, 0, stderr);
  t.regex(stdout, /^100000 bytes by (reflink|copy_file_range|splice|copy)\n$/);
  t.regex(stderr, /100000 of 100000\n$/);
  t.true(readFileSync(destination).equals(pattern(100_000)));
});
