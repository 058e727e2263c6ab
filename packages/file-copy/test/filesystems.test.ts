/** Every way of copying: with features turned off, between filesystems, on ones with reflinks, and on a full one. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { feature } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import test, { type ExecutionContext, type TestFn } from 'ava';
import { fixture, fresh, kernelTest, MiB, makeFile, pattern, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3 * MiB + 77);

kernelTest('each feature turned off: the next way, and why', async (t) => {
  const source = makeFile(directory, content);
  for (const [disabled, reflink, method, reason] of [
    ['', 'auto', /^(copy_file_range|reflink)$/, undefined],
    ['', 'never', /^splice$/, undefined],
    ['copyFileRange', 'auto', /^splice$/, undefined],
    ['splice', 'never', /^copy$/, /reflink is 'never'; splice: .*ZEROCOPY_DISABLE/],
    ['copyFileRange,splice', 'auto', /^copy$/, /copy_file_range: .*ZEROCOPY_DISABLE.*; splice: .*ZEROCOPY_DISABLE/],
    ['all', 'auto', /^copy$/, /ZEROCOPY_DISABLE/],
  ] as const) {
    const destination = fresh(directory);
    const env = { ...process.env, ZEROCOPY_DISABLE: disabled };
    const { status, stdout, stderr } = await runProgram(
      process.execPath,
      [fixture('copy'), source, destination, reflink],
      env,
    );
    t.is(status, 0, stderr);
    const told = JSON.parse(stdout) as { method: string; fallbackReason?: string; bytes: number };
    t.regex(told.method, method, disabled);
    if (reason === undefined) t.is(told.fallbackReason, undefined);
    else t.regex(told.fallbackReason ?? '', reason);
    t.is(told.bytes, content.length);
    t.true(readFileSync(destination).equals(content), disabled);
  }
});

const otherFilesystem = existsSync('/dev/shm') && statSync('/dev/shm').dev !== statSync(tmpdir()).dev;
const there = otherFilesystem ? temporaryDirectory('/dev/shm') : directory;
const acrossTest = (otherFilesystem && feature('splice').available ? kernelTest : test.skip) as TestFn;
if (!otherFilesystem)
  test.skip('between filesystems: /dev/shm is not another one than the temporary directory', () => {});
else if (!feature('splice').available) test.skip(`between filesystems: splice: ${feature('splice').reason}`, () => {});

acrossTest('small files go to another filesystem without being refused first; larger ones ask', async (t) => {
  for (const [size, refusals] of [
    [256 * 1024, 0],
    [256 * 1024 + 1, 1],
  ] as const) {
    const source = join(directory, `small-${size}`);
    const content = Buffer.alloc(size, 's');
    writeFileSync(source, content);
    const destination = join(there, `small-${size}`);
    const asked = await copyFile(source, destination);
    t.true(readFileSync(destination).equals(content));
    const never = await copyFile(source, destination, { reflink: 'never' });
    t.is(asked.syscalls - never.syscalls, refusals, `${size} bytes`);
    t.is(asked.method, 'splice');
    await t.throwsAsync(copyFile(source, destination, { reflink: 'always' }), { name: 'TransferError' });
  }
});

acrossTest(
  'from one filesystem to another, with holes, in both directions (kernel-rules: copy-range-refusals)',
  async (t) => {
    for (const [from, to] of [
      [directory, there],
      [there, directory],
    ] as const) {
      const source = makeFile(from, content);
      const destination = fresh(to);
      const { method, fallbackReason } = await copyFile(source, destination);
      t.regex(method, /copy_file_range|splice/, fallbackReason);
      t.true(readFileSync(destination).equals(content));

      const sparse = makeFile(from, 'start');
      truncateSync(sparse, 100 * MiB);
      const fd = openSync(sparse, 'r+');
      writeSync(fd, 'middle', 50 * MiB);
      closeSync(fd);
      const copy = fresh(to);
      await copyFile(sparse, copy);
      t.true(readFileSync(copy).equals(readFileSync(sparse)));
      t.true(statSync(copy).blocks * 512 < MiB);
    }
  },
);

/** Makes a filesystem in an image, mounts it, and uses it. Skipped, with the reason, where that may not be done. */
function mounted(kind: 'xfs' | 'btrfs', use: (t: ExecutionContext, mountPoint: string) => Promise<void>): void {
  const title = `${kind}: a reflink shares blocks until one of the files is changed`;
  const image = join(directory, `${kind}.img`);
  const mountPoint = mkdtempSync(join(tmpdir(), `zerocopy-${kind}-`));
  const run = (command: string, ...args: string[]): string | undefined => {
    const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' });
    return status === 0 ? undefined : `${command}: ${(error?.message ?? stderr).trim().split('\n')[0]}`;
  };
  writeFileSync(image, '');
  truncateSync(image, 512 * MiB);
  const reason =
    feature('copyFileRange').reason ??
    run(`mkfs.${kind}`, '-q', image) ??
    run('mount', '-o', 'loop', image, mountPoint);
  test.after.always(() => {
    if (reason === undefined) run('umount', mountPoint);
    rmSync(mountPoint, { recursive: true, force: true });
  });
  if (reason === undefined) test.serial(title, (t) => use(t, mountPoint));
  else test.skip(`${title}: ${reason}`, () => {});
}

const freeBytes = (mountPoint: string): number => {
  spawnSync('sync', ['-f', mountPoint]);
  const { stdout } = spawnSync('stat', ['-f', '-c', '%f %S', mountPoint], { encoding: 'utf8' });
  const [blocks, size] = stdout.trim().split(' ').map(Number);
  return (blocks as number) * (size as number);
};

for (const kind of ['xfs', 'btrfs'] as const) {
  mounted(kind, async (t, mountPoint) => {
    const big = pattern(64 * MiB);
    const source = makeFile(mountPoint, big);
    const before = freeBytes(mountPoint);
    const progress: unknown[] = [];
    const destination = fresh(mountPoint);
    const result = await copyFile(source, destination, {
      reflink: 'always',
      onProgress: (...args) => progress.push(args),
    });
    t.like(result, { method: 'reflink', bytes: big.length, syscalls: 1 });
    t.deepEqual(progress, [[big.length, big.length]]);
    t.is((await copyFile(source, fresh(mountPoint))).method, 'reflink', 'without being asked');
    t.true(before - freeBytes(mountPoint) < 16 * MiB, 'the blocks are shared');
    const fd = openSync(destination, 'r+');
    writeSync(fd, 'changed', 0);
    closeSync(fd);
    t.true(readFileSync(source).equals(big), 'a change is seen in one of them only');
    const own = fresh(mountPoint);
    const { method } = await copyFile(source, own, { reflink: 'never' });
    t.is(method, feature('splice').available ? 'splice' : 'copy');
    t.true(readFileSync(own).equals(big));
    t.true(before - freeBytes(mountPoint) > 60 * MiB, 'the blocks are its own');
    const elsewhere = fresh(directory);
    await t.throwsAsync(copyFile(source, elsewhere, { reflink: 'always' }), { code: 'EXDEV' });
    t.false(existsSync(elsewhere));
  });
}

kernelTest("reflink 'always' where there are none: the kernel's error, and no file", async (t) => {
  const source = makeFile(directory, content);
  const destination = fresh(directory);
  const outcome = await copyFile(source, destination, { reflink: 'always' }).then(
    ({ method }) => method,
    ({ code }: NodeJS.ErrnoException) => code,
  );
  t.regex(outcome ?? '', /^(reflink|EOPNOTSUPP|ENOTSUP|ENOTTY|EINVAL)$/);
  t.is(existsSync(destination), outcome === 'reflink');
});

function whyNoMount(): string | undefined {
  const { status, error, stderr } = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/tmp'], {
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `no filesystem can be mounted: ${(error?.message ?? stderr).trim()}`;
}

const noMount = whyNoMount();
const mountTest = (noMount === undefined ? test : test.skip) as TestFn;
if (noMount !== undefined) test.skip(`a full disk: ${noMount}`, () => {});

mountTest('a full disk: ENOSPC with the bytes done, by every way, and no file is left', async (t) => {
  const source = makeFile(directory, content);
  const small = join(directory, 'small');
  mkdirSync(small);
  for (const disabled of ['', 'copyFileRange', 'copyFileRange,splice']) {
    const script = 'mount -t tmpfs -o size=1m none "$1" && "$0" "$2" "$3" "$1/copy" auto; ls "$1"';
    const args = ['-rm', 'sh', '-c', script, process.execPath, small, fixture('copy'), source];
    const { stdout, stderr } = await runProgram('unshare', args, { ...process.env, ZEROCOPY_DISABLE: disabled });
    const [line, ...rest] = stdout.trim().split('\n');
    const told = JSON.parse(line ?? stderr) as { code: string; bytes: number };
    t.is(told.code, 'ENOSPC', disabled);
    t.true(told.bytes > 0 && told.bytes <= MiB, `${told.bytes}`);
    t.deepEqual(rest, []);
  }
});
