/** The native code that is loaded is what its source compiles to. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import { temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));

for (const [architecture, compiler] of [
  ['x64', process.arch === 'x64' ? 'gcc' : 'x86_64-linux-gnu-gcc'],
  ['arm64', process.arch === 'arm64' ? 'gcc' : 'aarch64-linux-gnu-gcc'],
] as const) {
  const version = spawnSync(compiler, ['-dumpversion'], { encoding: 'utf8' }).stdout?.trim();
  // Another compiler makes other code of the same source.
  const reason =
    version === undefined ? ` (no ${compiler} here)` : version !== '12' ? ` (${compiler} ${version}, not 12)` : '';
  (reason === '' ? test : test.skip)(
    `external memory for ${architecture} is what its source compiles to${reason}`,
    (t) => {
      const output = join(directory, `${architecture}.so`);
      t.is(spawnSync(fromPackage('native/compile.sh'), [compiler, output]).status, 0);
      const source = readFileSync(fromPackage('src/external-memory-code.ts'), 'utf8');
      const [, literal = ''] = new RegExp(`${architecture}:\\n((?:    '[^']+'.*\\n)+)`).exec(source) ?? [];
      const code = [...literal.matchAll(/'([^']+)'/g)].map(([, part]) => part).join('');
      t.true(gunzipSync(Buffer.from(code, 'base64')).equals(readFileSync(output)));
    },
  );
}
