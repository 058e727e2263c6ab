/** Imports every published package by its name, both ways, and says what this system can do: for systems without a kernel path. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from './repository-text.mjs';

const require = createRequire(import.meta.url);
for (const folder of readdirSync(join(root, 'packages'))) {
  const { name, exports } = JSON.parse(readFileSync(join(root, 'packages', folder, 'package.json'), 'utf8'));
  if (exports?.['.'] === undefined) continue; // a command only
  const names = Object.keys(await import(name));
  require(name);
  console.log(`${name}: ${names.length} exports`);
}

const { formatReport, probe } = await import('@zerocopy/core-syscalls');
console.log(formatReport(probe()));
