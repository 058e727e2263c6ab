/** What the ends of a copy may be: FIFOs, devices, files that others put in the way; and how each failure is told. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { copyFile as nodeCopyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { TransferError } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import test from 'ava';
import {
  fixture,
  fresh,
  kernelTest,
  MiB,
  makeFile,
  openDescriptors,
  pattern,
  runProgram,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
const root = process.getuid?.() === 0;
const content = pattern(300_000);

function makeFifo(): string {
  const path = fresh(directory);
  execFileSync('mkfifo', [path]);
  return path;
}

const told = async (copy: Promise<unknown>): Promise<Record<string, unknown>> => {
  try {
    await copy;
  } catch (error) {
    const { message, code, errno, syscall, path, dest } = error as NodeJS.ErrnoException & { dest?: string };
    return { message, code, errno, syscall, path, dest };
  }
  return {};
};

test.serial(
  'a FIFO that no process writes to, or reads from: the signal ends it, and nothing is left open',
  async (t) => {
    const fifo = makeFifo();
    const before = openDescriptors();
    const destination = fresh(directory);
    await t.throwsAsync(copyFile(fifo, destination, { signal: AbortSignal.timeout(100) }), { code: 'ABORT_ERR' });
    t.false(existsSync(destination));
    await t.throwsAsync(copyFile(makeFile(directory), fifo, { signal: AbortSignal.timeout(100) }), {
      code: 'ABORT_ERR',
    });
    await t.throwsAsync(copyFile(fifo, makeFifo(), { signal: AbortSignal.timeout(100) }), { code: 'ABORT_ERR' });
    t.true(statSync(fifo).isFIFO());
    await until(() => openDescriptors() <= before, 'the descriptors closed');
  },
);

test('a FIFO whose writer stops in the middle, a reader that does not read: the signal ends it', async (t) => {
  const fifo = makeFifo();
  const writer = spawn('sh', ['-c', 'exec > "$0"; echo begun; exec sleep 60', fifo]);
  const destination = fresh(directory);
  const controller = new AbortController();
  const onProgress = (bytes: number): void => void (bytes === 6 && setTimeout(() => controller.abort(), 50));
  const copy = copyFile(fifo, destination, { signal: controller.signal, onProgress });
  const error = await t.throwsAsync<TransferError>(copy, { code: 'ABORT_ERR' });
  t.is(error?.bytes, 6);
  writer.kill();
  const full = makeFifo();
  const reader = spawn('sh', ['-c', 'exec < "$0"; exec sleep 60', full]);
  await t.throwsAsync(copyFile(makeFile(directory, pattern(MiB)), full, { signal: AbortSignal.timeout(300) }), {
    code: 'ABORT_ERR',
  });
  t.true(statSync(full).isFIFO());
  reader.kill();
});

test('from a FIFO until its writer closes it; into a FIFO; from one into another', async (t) => {
  const source = makeFile(directory, content);
  const [one, two] = [makeFifo(), makeFifo()];
  const feed = (fifo: string): unknown => spawn('sh', ['-c', 'cat "$0" > "$1"', source, fifo]);
  const destination = makeFile(directory, Buffer.alloc(400_000));
  feed(one);
  t.like(await copyFile(one, destination), {
    bytes: content.length,
    method: 'copy',
    fallbackReason: 'the source is a FIFO',
  });
  t.true(readFileSync(destination).equals(content));

  for (const through of [false, true]) {
    const result = fresh(directory);
    const reader = spawn('sh', ['-c', 'cat "$0" > "$1"', one, result]);
    const ended = new Promise((resolve) => reader.once('exit', resolve));
    if (through) feed(two);
    t.is((await copyFile(through ? two : source, one)).bytes, content.length);
    await ended;
    t.true(readFileSync(result).equals(content));
  }
});

(root ? test : test.skip)(
  `devices are neither given a mode nor removed${root ? '' : ' (needs root, to make one)'}`,
  async (t) => {
    // One of our own with the numbers of /dev/null, and of /dev/full, on which everything fails.
    const [none, full] = [fresh(directory), fresh(directory)];
    execFileSync('mknod', ['-m', '666', none, 'c', '1', '3']);
    execFileSync('mknod', ['-m', '666', full, 'c', '1', '7']);
    const source = makeFile(directory, content);
    chmodSync(source, 0o6755);
    for (const reflink of ['auto', 'never'] as const) {
      t.is((await copyFile(source, none, { reflink })).bytes, content.length);
      t.is(statSync(none).mode & 0o7777, 0o666);
      const error = await told(copyFile(source, full, { reflink }));
      t.like(error, { code: 'ENOSPC', syscall: 'copyfile', path: source, dest: full });
      t.true(statSync(full).isCharacterDevice());
      t.is(statSync(full).mode & 0o7777, 0o666);
    }
    await t.throwsAsync(copyFile(source, none, { reflink: 'always' }));
    await t.throwsAsync(copyFile(source, none, { signal: AbortSignal.abort() }), { code: 'ABORT_ERR' });
    await t.throwsAsync(copyFile(none, fresh(directory)), { code: 'EINVAL', message: /copyfile/ });
    t.true(statSync(none).isCharacterDevice());
  },
);

test('a failing copy removes its own file only: not another that has taken its place, not what it never touched', async (t) => {
  const source = makeFile(directory, pattern(40 * MiB));
  const destination = makeFile(directory, 'before');
  const controller = new AbortController();
  await t.throwsAsync(
    copyFile(source, destination, {
      reflink: 'never',
      signal: controller.signal,
      onProgress: (bytes) => {
        if (bytes === 0 || controller.signal.aborted) return;
        renameSync(makeFile(directory, 'of another process'), destination);
        controller.abort();
      },
    }),
    { code: 'ABORT_ERR' },
  );
  t.is(readFileSync(destination, 'utf8'), 'of another process');
  const untouched = makeFile(directory, 'before');
  await t.throwsAsync(copyFile(directory, untouched), { code: 'EISDIR' });
  t.is(readFileSync(untouched, 'utf8'), 'before');
});

test('errors are those of fs.copyFile, word for word', async (t) => {
  const source = makeFile(directory);
  const missing = join(directory, 'missing');
  for (const [from, to] of [
    [missing, fresh(directory)],
    [Buffer.from(missing), pathToFileURL(fresh(directory))],
    [source, join(missing, 'file')],
    [source, directory],
    [directory, fresh(directory)],
    [source, join(source, 'below')],
  ] as const) {
    t.deepEqual(await told(copyFile(from, to)), await told(nodeCopyFile(from, to)), `${from} ${to}`);
  }
  const existing = makeFile(directory);
  t.deepEqual(
    await told(copyFile(source, existing, { exclusive: true })),
    await told(nodeCopyFile(source, existing, 1)),
  );
});

test('an error in the middle: the bytes done, and both files', async (t) => {
  const source = makeFile(directory, content);
  const tmpfs = mkdtempSync(join(tmpdir(), 'zerocopy-full-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', tmpfs]).status === 0;
  try {
    // Where nothing can be mounted, a directory that is a file stands in for the full disk.
    const destination = mounted ? join(tmpfs, 'copy') : join(source, 'copy');
    const error = await t.throwsAsync<NodeJS.ErrnoException & { dest: string }>(copyFile(source, destination));
    t.like(error, { syscall: 'copyfile', path: source, dest: destination, code: mounted ? 'ENOSPC' : 'ENOTDIR' });
    t.is(error instanceof TransferError, mounted);
    t.false(existsSync(destination));
  } finally {
    if (mounted) spawnSync('umount', [tmpfs]);
    rmSync(tmpfs, { recursive: true });
  }
});

test('paths and signals by shape: a Uint8Array, a URL and an AbortSignal of another make', async (t) => {
  const source = makeFile(directory, content);
  const destination = fresh(directory);
  const { href, protocol, hostname, pathname, host, search, hash } = pathToFileURL(destination);
  const foreign = { href, protocol, hostname, pathname, host, search, hash, username: '', password: '', port: '' };
  const signal = Object.assign(new EventTarget(), { aborted: false, reason: undefined });
  await copyFile(new TextEncoder().encode(source) as never, foreign as never, Object.create({ signal }));
  t.true(readFileSync(destination).equals(content));
  signal.aborted = true;
  await t.throwsAsync(copyFile(source, destination, { signal: signal as never }), { code: 'ABORT_ERR' });
  t.true(readFileSync(destination).equals(content));
});

kernelTest(
  'no failure where the mount sets the modes, and one everywhere else (kernel-rules: fchmod-eperm)',
  async (t) => {
    const source = makeFile(directory, content);
    chmodSync(source, 0o755);
    for (const [magic, outcome] of [
      ['0xff534d42', 'copied'], // cifs
      ['0xfe534d42', 'copied'], // smb
      ['0x4d44', 'copied'], // vfat
      ['0xef53', 'EPERM'], // ext4
    ] as const) {
      const destination = makeFile(directory, 'before');
      const { stdout, stderr } = await runProgram(process.execPath, [
        fixture('fixed-modes'),
        source,
        destination,
        magic,
      ]);
      t.is(stdout.trim(), outcome, stderr);
      t.true(readFileSync(destination).equals(outcome === 'copied' ? content : Buffer.from('before')), magic);
    }
  },
);

test('a mode that cannot be set is an error before anything is cut off', async (t) => {
  if (!root) return t.pass();
  // As another user, onto a file of root's that everyone may write to.
  const source = makeFile(directory, 'new');
  const destination = makeFile(directory, 'before');
  chmodSync(directory, 0o777);
  chmodSync(source, 0o644);
  chmodSync(destination, 0o666);
  const program = `process.setgid(65534); process.setuid(65534);
    import(${JSON.stringify(import.meta.resolve('@zerocopy/file-copy'))}).then(({ copyFile }) =>
      copyFile(...${JSON.stringify([source, destination])})).then(() => console.log('copied'), ({ code }) => console.log(code));`;
  const { stdout } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  t.is(stdout.trim(), 'EPERM');
  t.is(readFileSync(destination, 'utf8'), 'before');
  closeSync(openSync(destination, 'r'));
});
