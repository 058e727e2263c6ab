/** Faults that are no truncation, and what disarms a guard: each in a child process, so that dying is visible. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { fixture, mapSerial, mapTest, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();

async function told(how: string, path: string): Promise<Record<string, unknown>> {
  const { status, signal, stdout, stderr } = await runProgram(process.execPath, [fixture('faults'), how, path]);
  for (const name of [path, `${path}-filler`]) rmSync(name, { force: true });
  if (status !== 0) throw new Error(`ended with ${status ?? signal}: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** A filesystem for the time of the tests; or why there is none. */
function mounted(...options: string[]): { readonly path: string } | { readonly reason: string } {
  if (process.getuid?.() !== 0) return { reason: 'mounting needs root' };
  const path = mkdtempSync(join(tmpdir(), 'zerocopy-faults-'));
  test.after.always(() => {
    spawnSync('umount', [path]);
    rmSync(path, { recursive: true, force: true });
  });
  const { status, stderr } = spawnSync('mount', [...options, 'none', path], { encoding: 'utf8' });
  return status === 0 ? { path } : { reason: stderr.trim() };
}

const small = mounted('-t', 'tmpfs', '-o', 'size=512k');
const fullTest = 'path' in small ? mapSerial : test.skip;
const whySmall = 'path' in small ? '' : ` (${small.reason})`;
const A = 'a'.charCodeAt(0);
const Z = 'z'.charCodeAt(0);

for (const how of ['hole-read', 'hole-private', 'hole-populated', 'hole-streamed']) {
  fullTest(
    `a hole of a file on a full tmpfs, ${how}: zeros, and the rest is itself, not truncated${whySmall}`,
    async (t) => {
      const { path } = small as { path: string };
      t.deepEqual(await told(how, join(path, how)), { seen: [A, 0, 0, Z], truncated: false });
    },
  );
}

fullTest(`a store into such a hole: lost, and told by flush${whySmall}`, async (t) => {
  const { path } = small as { path: string };
  t.deepEqual(await told('hole-store', join(path, 'store')), {
    seen: [A, 0, 0, Z],
    truncated: false,
    lost: true,
    flushed: ['ERR_STORE_LOST', 'ERR_STORE_LOST'],
  });
});

const free = Number(/HugePages_Free:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
const huge = free >= 8 ? mounted('-t', 'hugetlbfs') : { reason: 'needs 8 free huge pages: vm.nr_hugepages' };
const hugeTest = 'path' in huge ? mapSerial : test.skip;
const whyHuge = 'path' in huge ? '' : ` (${huge.reason})`;

hugeTest(`any offset, and zeros where it was cut short${whyHuge} (kernel-rules: hugetlb-page)`, async (t) => {
  const { path } = huge as { path: string };
  for (const how of ['huge-read', 'huge-write', 'huge-sync']) {
    t.deepEqual(await told(how, join(path, how)), {
      method: 'mmap',
      seen: [1, 2, 2],
      offset: [1, 2],
      truncated: true,
      after: [1, 0, 0],
    });
  }
});

for (const how of ['listener', 'listener-gone', 'listener-once', 'listener-write']) {
  mapTest(`${how}, and then the file is cut short (kernel-rules: sigbus-listener)`, async (t) => {
    t.deepEqual(await told(how, join(directory, how)), { seen: [A, 0], truncated: true });
  });
}
