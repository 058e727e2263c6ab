/**
 * Packs the current package as npm would publish it, and lets publint and are-the-types-wrong look at the tarball. And
 * whether everything that is exported has a doc comment.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { PENDING, undocumented } from './documented.mjs';

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-pack-'));
try {
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', directory], { stdio: 'inherit' });
  const [tarball] = readdirSync(directory);
  const checks = [
    ['publint', 'run', join(directory, tarball), '--strict'],
    ['attw', join(directory, tarball), '--profile', 'esm-only', '--no-emoji'],
  ];
  for (const [command, ...args] of checks) {
    const { status } = spawnSync('npx', ['--no-install', command, ...args], { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

const name = basename(process.cwd());
const missing = undocumented(process.cwd());
if (PENDING.includes(name)) console.log(`${name}: ${missing.length} without a doc comment (pending)`);
else if (missing.length > 0) {
  console.error(`${name}: without a doc comment:\n  ${missing.join('\n  ')}`);
  process.exitCode = 1;
}
