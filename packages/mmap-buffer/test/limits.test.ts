/** Full disks, and systems where something is turned off or missing: each in a process of its own. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';
import { fixture, makeFile, mapTest, pattern, runProgram, sha256, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();

/** A program in a mount namespace of its own, where `directory` has a filesystem of `size`. */
const inSmallFilesystem = (mountPoint: string, size: string): string[] => [
  '-rm',
  'sh',
  '-c',
  'mount -t tmpfs -o size="$2" none "$1" && exec "$0" "$3" "$1"',
  process.execPath,
  mountPoint,
  size,
  fixture('disk-full'),
];

function whyNoMount(): string | undefined {
  if (!feature('mmap').available || !feature('sigbusTrap').available) return 'there are no mappings here';
  const { status, error, stderr } = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/tmp'], {
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `no filesystem can be mounted: ${(error?.message ?? stderr).trim()}`;
}

const reason = whyNoMount();
const mountTest = (reason === undefined ? test : test.skip) as TestFn;
if (reason !== undefined) test.skip(`a full disk: ${reason}`, () => {});

mountTest(
  'a full disk is an error at resize, and the file what it was; a store into a hole kills nobody (kernel-rules: reserve-blocks)',
  async (t) => {
    const mountPoint = join(directory, 'small');
    mkdirSync(mountPoint);
    const { status, signal, stdout, stderr } = await runProgram('unshare', inSmallFilesystem(mountPoint, '1m'));
    t.is(status, 0, `${signal} ${stderr}`);
    t.deepEqual(JSON.parse(stdout), {
      grown: 'ENOSPC',
      size: 100,
      length: 100,
      text: 'as it was',
      fits: 600_000,
      hole: { truncated: false, flushed: 'ERR_STORE_LOST' },
    });
  },
);

const content = pattern(300_000);

mapTest('ZEROCOPY_DISABLE: files are read, streams are Node’s, the rest says why; one feature at a time', async (t) => {
  const path = makeFile(directory, content);
  for (const [disabled, expected] of [
    [
      'all',
      {
        mapped: 'copy',
        stream: 'copy',
        writable: 'ERR_ZEROCOPY_UNAVAILABLE',
        lease: 'ERR_ZEROCOPY_UNAVAILABLE',
        pool: 'ERR_ZEROCOPY_UNAVAILABLE',
      },
    ],
    [
      'mmap',
      { mapped: 'copy', stream: 'copy', writable: 'ERR_ZEROCOPY_UNAVAILABLE', pool: 'ERR_ZEROCOPY_UNAVAILABLE' },
    ],
    ['sigbusTrap,lease', { mapped: 'copy', stream: 'copy', writable: 'ERR_ZEROCOPY_UNAVAILABLE', pool: 'fine' }],
    ['lease', { mapped: 'mmap', stream: 'mmap', writable: 'mmap', lease: 'ERR_ZEROCOPY_UNAVAILABLE', pool: 'fine' }],
    ['memfdSeals', { mapped: 'mmap', stream: 'mmap', writable: 'mmap', pool: 'ERR_ZEROCOPY_UNAVAILABLE' }],
  ] as const) {
    const env = { ...process.env, ZEROCOPY_DISABLE: disabled };
    const { status, stdout, stderr } = await runProgram(process.execPath, [fixture('whatever-works'), path], env);
    t.is(status, 0, stderr);
    t.like(JSON.parse(stdout), { ...expected, hashes: [sha256(content), sha256(content), sha256(content)] }, disabled);
  }
});

mapTest('without a trap a file is read, unless a lease is asked for and can be had: it leaves a copy', async (t) => {
  const path = makeFile(directory, content);
  const env = { ...process.env, ZEROCOPY_DISABLE: 'sigbusTrap' };
  const { status, stdout, stderr } = await runProgram(process.execPath, [fixture('whatever-works'), path], env);
  t.is(status, 0, stderr);
  const told = JSON.parse(stdout) as { mapped: string; lease: string; both: string };
  t.is(told.mapped, 'copy');
  t.is(told.both, told.lease === 'mmap' ? 'mmap' : 'copy');
});

mapTest('under --jitless, and in little memory', async (t) => {
  const path = makeFile(directory, content);
  for (const flag of ['--jitless', '--max-old-space-size=32']) {
    const { status, stdout, stderr } = await runProgram(process.execPath, [flag, fixture('whatever-works'), path]);
    t.is(status, 0, stderr);
    t.like(JSON.parse(stdout), { mapped: 'mmap', hashes: [sha256(content), sha256(content), sha256(content)] }, flag);
  }
});
