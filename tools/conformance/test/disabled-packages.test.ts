/** A package that ZEROCOPY_DISABLE names works without the kernel's help, and the others as ever. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { feature, libcStatus, type PackageName, packageNames } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';
import type { Answers } from './fixtures/each-package.js';

const needed = (['sendfile', 'splice', 'copyFileRange', 'mmap', 'lease', 'openat2', 'directIo'] as const).map(feature);
const missing = [libcStatus(), ...needed].find(({ available }) => !available);
const disabledTest = (missing === undefined ? test : test.skip) as TestFn;

async function answersWith(disabled: string): Promise<Answers> {
  const fixture = fileURLToPath(new URL('./fixtures/each-package.js', import.meta.url));
  const env = { ...process.env, ZEROCOPY_DISABLE: disabled };
  const { stdout } = await promisify(execFile)(process.execPath, [fixture], { env });
  return JSON.parse(stdout) as Answers;
}

const OFF: Readonly<Record<PackageName, string>> = {
  'direct-io': 'copy',
  'file-copy': 'copy',
  'lease-guard': 'ERR_ZEROCOPY_UNAVAILABLE',
  'mmap-buffer': 'copy',
  pipeline: 'by Node',
  'sendfile-stream': 'copy',
  'serve-files': 'served',
  'splice-pipe': 'copy',
};

// Halves, since each process takes its time.
const HALVES: readonly (readonly PackageName[])[] = [
  ['direct-io', 'file-copy', 'lease-guard', 'serve-files'],
  ['mmap-buffer', 'pipeline', 'sendfile-stream', 'splice-pipe'],
];

disabledTest('those that are named, and only those', async (t) => {
  t.deepEqual(HALVES.flat().sort(), [...packageNames].sort());
  const [none, ...halves] = await Promise.all(['', ...HALVES.map(String)].map(answersWith));
  for (const [half, named] of HALVES.entries()) {
    for (const name of packageNames) {
      // Without a guard nothing is mapped.
      const off = named.includes(name) || (name === 'mmap-buffer' && named.includes('lease-guard'));
      t.is(halves[half]?.[name], off ? OFF[name] : none?.[name], `${name}, with ${named} turned off`);
    }
  }
  for (const name of packageNames) if (name !== 'serve-files') t.not(none?.[name], OFF[name], `${name}, as ever`);
});
