/** A real full disk, and a limit on the size of files: the errors of Node's own, the exact count of bytes, no byte wrong. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import { onLinux } from '@zerocopy/testing/kernel-tests';
import test, { type ExecutionContext, type TestFn } from 'ava';

const run = promisify(execFile);
const fixture = fileURLToPath(new URL('./fixtures/full-disk.js', import.meta.url));
const directory = temporaryDirectory(undefined, 'full');
const source = makeFile(directory, pattern(3 * MiB));

interface Told {
  readonly code?: string;
  readonly bytes?: number;
  readonly size: number;
  readonly same: boolean;
}

/** A mount of its own, in a namespace that goes with the process. */
const mount = (command: string): string[] => [
  '-rm',
  'sh',
  '-c',
  `mkdir -p "$1" && mount -t tmpfs -o size=1m none "$1" && ${command}`,
  'sh',
];

function mountRefusal(): string | undefined {
  try {
    execFileSync('unshare', [...mount('true'), join(directory, 'try')], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'a mount namespace is not permitted';
  }
}

function check(t: ExecutionContext, report: Record<string, Told>, code: string, limit: number): void {
  for (const [name, { code: told, bytes, size, same }] of Object.entries(report)) {
    if (name === 'MappedFile.resize') {
      t.like({ told, size }, { told: code, size: 1000 }, `${name}: the file is what it was`);
      continue;
    }
    t.is(told, code, name);
    t.true(same, `${name}: what is in the file is right`);
    if (name.endsWith('copyFile')) t.is(size, -1, `${name}: nothing is left`);
    else t.is(size, limit, `${name}: it is filled to the brim`);
    if (bytes !== undefined && !name.endsWith('copyFile')) t.is(bytes, size, `${name}: it says how much`);
  }
}

const refusal = mountRefusal();
((refusal === undefined ? onLinux : test.skip) as TestFn)(
  `ENOSPC on a filesystem of 1 MiB${refusal === undefined ? '' : ` (${refusal})`}`,
  async (t) => {
    const { stdout } = await run('unshare', [
      ...mount('exec "$2" "$3" "$1" "$4"'),
      join(directory, 'small'),
      process.execPath,
      fixture,
      source,
    ]);
    check(t, JSON.parse(stdout), 'ENOSPC', MiB);
  },
);

onLinux('EFBIG beyond RLIMIT_FSIZE', async (t) => {
  const limit = 600 * 1024; // sh counts in blocks of 512 bytes
  const small = join(directory, 'limited');
  mkdirSync(small);
  const { stdout } = await run('sh', [
    '-c',
    `ulimit -f ${limit / 512}; exec "$0" "$@"`,
    process.execPath,
    fixture,
    small,
    source,
  ]);
  check(t, JSON.parse(stdout), 'EFBIG', limit);
});
