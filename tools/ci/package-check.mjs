/**
 * Packs the current package as npm would publish it, and lets publint and are-the-types-wrong look at the tarball: at
 * every entry, as every kind of importer resolves it. And whether package.json says of the builds what it should, and
 * everything that is exported has a doc comment.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { PENDING, undocumented } from './documented.mjs';
import { differences } from './manifest.mjs';

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-pack-'));
const complaints = differences('.').map((file) => `${file} is not what \`node tools/ci/manifest.mjs --write\` makes`);
try {
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', directory], { stdio: 'inherit' });
  const [file] = readdirSync(directory);
  const tarball = readFileSync(join(directory, file));

  const { messages, pkg } = await publint({
    pack: { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.length) },
    strict: true,
  });
  complaints.push(...messages.map((message) => `publint: ${formatMessage(message, pkg)}`));

  const types = await checkPackage(createPackageFromTarballData(tarball));
  const problems = types.types === false ? [{ kind: 'it has no types' }] : types.problems;
  for (const { kind, resolutionKind, entrypoint } of problems) {
    complaints.push(`are-the-types-wrong: ${[kind, entrypoint, resolutionKind].filter(Boolean).join(', ')}`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (complaints.length > 0) {
  console.error(complaints.join('\n'));
  process.exitCode = 1;
}

const name = basename(process.cwd());
const missing = undocumented(process.cwd());
if (PENDING.includes(name)) console.log(`${name}: ${missing.length} without a doc comment (pending)`);
else if (missing.length > 0) {
  console.error(`${name}: without a doc comment:\n  ${missing.join('\n  ')}`);
  process.exitCode = 1;
}
