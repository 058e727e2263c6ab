/** DirectFile: the bytes of node:fs, at any offset and length, on every filesystem that there is here. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs, { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { constants, feature, libcStatus, TransferError } from '@zerocopy/core-syscalls';
import { createDirectWriteStream, openDirect } from '@zerocopy/direct-io';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { MountedImage } from '@zerocopy/testing/mounted-image';
import { comparePositional } from '@zerocopy/testing/positional-model';
import test from 'ava';
import fc from 'fast-check';
import {
  collectGarbage,
  directIo,
  fixture,
  fresh,
  isLongRun,
  KiB,
  MiB,
  makeFile,
  methodOf,
  openDescriptors,
  pattern,
  positionalStep,
  runProgram,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
const { test: kernelTest } = testsWhere('direct I/O', libcStatus());
const { test: enabledTest, serial: enabledSerial } = testsWhere('files with O_DIRECT', directIo);
const { test: directTest } = testsWhere('direct I/O in the temporary directory', await inTemporaryDirectory());
const runs = isLongRun ? 200 : 12;

async function inTemporaryDirectory(): Promise<{ available: boolean; reason?: string | undefined }> {
  const [method, reason] = await methodOf(makeFile(directory, 'some'), 'r+');
  return { available: method === 'direct', reason };
}

/** Programs of random steps, each on a file of its own. */
async function compare(parent: string, method: 'direct' | 'copy' | undefined): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(positionalStep, { minLength: 5, maxLength: 20 }), async (steps) => {
      const path = fresh(parent);
      const file = await openDirect(path, 'w+');
      try {
        if (method !== undefined && file.method !== method) throw new Error(`${file.method}: ${file.fallbackReason}`);
        await comparePositional(path, file, steps);
      } finally {
        await file.close();
        rmSync(path);
      }
    }),
    { numRuns: runs },
  );
}

test('the same bytes as node:fs in the temporary directory', async (t) => {
  await t.notThrowsAsync(compare(directory, undefined));
});

enabledTest('the same bytes as node:fs in memory, by way of the cache, and it says so', async (t) => {
  const memory = mkdtempSync('/dev/shm/zerocopy-direct-');
  t.teardown(() => rmSync(memory, { recursive: true }));
  t.deepEqual(await methodOf(makeFile(memory), 'r+'), ['copy', 'tmpfs keeps its files in memory']);
  await compare(memory, 'copy');
});

/** btrfs and xfs take their time to be made: with the numbers of a release. */
const IMAGES = [
  ['ext4 on sectors of 4096 bytes', { kind: 'ext4', sector: 4096, size: 32 }, 'direct'],
  ['xfs', { kind: 'xfs' }, 'direct'],
  ['btrfs with checksums', { kind: 'btrfs' }, 'copy'],
  ['btrfs without', { kind: 'btrfs', mountOptions: 'nodatacow' }, 'direct'],
] as const;

for (const [name, options, method] of IMAGES.slice(0, isLongRun ? undefined : 1)) {
  const image = MountedImage.mount(options);
  if (typeof image === 'string') {
    test.skip(`the same bytes as node:fs on ${name}: ${image}`, () => {});
    continue;
  }
  test.after.always(() => image.unmount());
  (method === 'direct' ? enabledSerial : test.serial)(`the same bytes as node:fs on ${name}`, async (t) => {
    await compare(image.directory, method);
    const [how, reason] = await methodOf(makeFile(image.directory), 'r+');
    t.deepEqual([how, reason !== undefined], [method, method === 'copy'], reason);
  });
  if (options.kind !== 'ext4') continue;
  enabledSerial('the alignment is that of the device; full, it says how many bytes are in the file', async (t) => {
    const path = fresh(image.directory);
    const file = await openDirect(path, 'w+');
    t.deepEqual(file.alignment, { memory: 4096, offset: 4096, readOffset: 4096 });
    const data = pattern(64 * MiB);
    const error = await t.throwsAsync(file.write(100, data), { instanceOf: TransferError, code: 'ENOSPC' });
    const { bytes } = error as TransferError;
    t.true(bytes > MiB && bytes < data.length);
    t.is(statSync(path).size, 100 + bytes);
    t.true(readFileSync(path).subarray(100).equals(data.subarray(0, bytes)));
    await t.throwsAsync(file.allocate(64 * MiB), { code: 'ENOSPC' });
    await file.truncate(0);
    await file.close();
  });
  enabledSerial('a block device is read like a file, to its very end', async (t) => {
    const device = await openDirect(image.device);
    const size = 32 * MiB;
    const fd = fs.openSync(image.device, 'r');
    const expected = Buffer.alloc(5000);
    fs.readSync(fd, expected, 0, expected.length, size - 5000);
    fs.closeSync(fd);
    t.is(device.method, 'direct', device.fallbackReason);
    t.true((await device.read(size - 5000, 10_000)).equals(expected));
    t.is((await device.read(size, 1)).length, 0);
    await device.close();
  });
}

directTest('nothing is left in the page cache, and nothing beside the data is written', async (t) => {
  const path = makeFile(directory, pattern(4 * MiB));
  spawnSync('sync', [path]);
  const file = await openDirect(path, 'r+');
  t.is(file.method, 'direct');
  await file.write(MiB, Buffer.alloc(MiB, 'x'));
  await file.read(0, 4 * MiB);
  if (feature('cachestat').available) {
    const { syscalls } = await import('@zerocopy/core-syscalls');
    const fd = fs.openSync(path, 'r');
    const counts = new BigUint64Array(5);
    syscalls.cachestat(fd, BigUint64Array.of(BigInt(MiB), BigInt(MiB)), counts);
    fs.closeSync(fd);
    t.is(counts[0], 0n, 'what was written directly is not in the cache');
  }
  // Another process may write to the same block at any time: it loses nothing.
  const other = fs.openSync(path, 'r+');
  const writes = Array.from({ length: 50 }, (_, n) => file.write(3 * MiB + n * 64, Buffer.alloc(32, n + 1)));
  for (let n = 0; n < 50; n++) fs.writeSync(other, Buffer.alloc(32, 200 - n), 0, 32, 3 * MiB + n * 64 + 32);
  await Promise.all(writes);
  fs.closeSync(other);
  await file.close();
  const content = readFileSync(path);
  for (let n = 0; n < 50; n++) {
    t.is(content[3 * MiB + n * 64], n + 1);
    t.is(content[3 * MiB + n * 64 + 32], 200 - n);
  }
});

test('many requests at once, more than the queue is deep, each with its own bytes', async (t) => {
  const content = pattern(MiB);
  const path = makeFile(directory, content);
  const file = await openDirect(path, 'r', { queueDepth: 3 });
  const positions = Array.from({ length: 200 }, (_, n) => (n * 7919) % (MiB - 5000));
  const all = await Promise.all(positions.map((position) => file.read(position, 4096)));
  for (const [n, position] of positions.entries()) {
    t.true(all[n]?.equals(content.subarray(position, position + 4096)));
  }
  const closing = Promise.all([file.read(0, 10), file.close()]);
  t.is((await closing)[0].length, 10, 'close waits for what has been asked before');
  await t.throwsAsync(file.read(0, 1), { code: 'EBADF' });
  await file.close();
});

test('positions beyond 4 GiB, in a file of holes', async (t) => {
  const path = fresh(directory);
  await using file = await openDirect(path, 'w+');
  const far = 5 * 2 ** 30 + 123;
  await file.write(far, Buffer.from('far away'));
  t.is(statSync(path).size, far + 8);
  t.is((await file.read(far, 100)).toString(), 'far away');
  t.is((await file.read(far + 8, 100)).length, 0);
  t.deepEqual(await file.read(far - 10, 10), Buffer.alloc(10));
});

test('durable at each write, or in the end; blocks that are reserved', async (t) => {
  for (const datasync of ['none', 'end', 'each'] as const) {
    const path = fresh(directory);
    const file = await openDirect(path, 'w', { datasync });
    if (file.method === 'direct') await file.allocate(MiB);
    t.is(statSync(path).size, 0);
    const data = randomBytes(10_000);
    t.is(await file.write(0, data), 10_000);
    await file.datasync();
    await file.close();
    t.true(readFileSync(path).equals(data));
  }
});

test('flags and modes are those of fs.open; what has no positions is not opened', async (t) => {
  const path = makeFile(directory, 'content');
  await t.throwsAsync(openDirect(path, 'wx'), { code: 'EEXIST' });
  await t.throwsAsync(openDirect(join(directory, 'none')), { code: 'ENOENT', message: /open/ });
  await t.throwsAsync(openDirect(directory), { code: 'EISDIR' });
  await t.throwsAsync(openDirect('/dev/null', 'r+'), { code: 'EINVAL' });
  const fifo = fresh(directory);
  spawnSync('mkfifo', [fifo]);
  await t.throwsAsync(openDirect(fifo), { code: 'EINVAL' }); // and does not wait for a writer
  const made = fresh(directory);
  await (await openDirect(made, 'wx', { mode: 0o600 })).close();
  t.is(statSync(made).mode & 0o777, 0o600);
  const appending = await openDirect(path, 'a');
  t.is(appending.method, 'copy');
  t.regex(appending.fallbackReason ?? '', /O_APPEND|disabled|memory/);
  await appending.write(0, Buffer.from(' and more'));
  await appending.close();
  t.is(readFileSync(path, 'utf8'), 'content and more');
  const readOnly = await openDirect(path);
  const error = await t.throwsAsync(readOnly.write(0, Buffer.alloc(4096)), { instanceOf: TransferError });
  t.is((error as TransferError).code, 'EBADF');
  t.is(readFileSync(path, 'utf8'), 'content and more');
  await readOnly.close();
});

/** The flags of the descriptors that are open on a file, but for O_DIRECT, which the second one of a DirectFile has. */
function flagsOf(path: string): ReadonlySet<number> {
  const fds = fs.readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === path);
  return new Set(
    fds.map((fd) => {
      const [, flags = ''] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
      return Number.parseInt(flags, 8) & ~constants.O_DIRECT;
    }),
  );
}

kernelTest('each flag that fs.open takes as text opens the file as fs.open does', async (t) => {
  const flags = ['r', 'rs', 'sr', 'w', 'wx', 'xw', 'a', 'ax', 'xa', 'as', 'sa'].flatMap((flag) => [flag, `${flag}+`]);
  for (const flag of flags) {
    const opened: ReadonlySet<number>[] = [];
    for (const open of [fs.promises.open, openDirect]) {
      const path = flag.includes('x') ? fresh(directory) : makeFile(directory, 'content');
      const file = await open(path, flag);
      opened.push(flagsOf(path));
      await file.close();
    }
    const [theirs, ours] = opened;
    t.deepEqual(ours, theirs, `${flag}: both descriptors have them`);
  }
  // A stream, too, has a second descriptor.
  const path = makeFile(directory, 'content');
  const writer = createDirectWriteStream(path, { flags: 'rs+' });
  await new Promise((resolve) => writer.write(pattern(8192), resolve));
  for (const each of flagsOf(path)) t.is(each & constants.O_SYNC, constants.O_SYNC);
  writer.end();
  await until(() => flagsOf(path).size === 0);
  const unnoted = await openDirect(path, constants.O_RDONLY | constants.O_NOATIME);
  t.true([...flagsOf(path)].some((each) => (each & constants.O_NOATIME) !== 0));
  t.is(flagsOf(path).size, 1);
  await unnoted.close();
  await t.throwsAsync(openDirect(makeFile(directory, ''), 'rx'), { code: 'ERR_INVALID_ARG_VALUE' });
});

test('arguments are checked, and nothing is done then', async (t) => {
  const path = makeFile(directory, 'content');
  const wrong = [
    () => openDirect(1 as never),
    () => openDirect(path, 'q'),
    () => openDirect(path, 'r', { queueDepth: 0 }),
    () => openDirect(path, 'r', { datasync: 'yes' as never }),
    () => openDirect(path, 'r', null as never),
  ];
  const refused = async (call: () => Promise<unknown>): Promise<void> => {
    const error = await t.throwsAsync<NodeJS.ErrnoException>(call);
    t.regex(error?.code ?? '', /^ERR_(INVALID_ARG|OUT_OF_RANGE)/);
  };
  for (const call of wrong) await refused(call);
  await using file = await openDirect(path, 'r+');
  const calls = [
    () => file.read(-1, 1),
    () => file.read(0, 1.5),
    () => file.read('0' as never, 1),
    () => file.readInto(0, 'text' as never),
    () => file.write(0, 'text' as never),
    () => file.write(-1, Buffer.alloc(1)),
    () => file.allocate(0),
    () => file.truncate(-1),
  ];
  for (const call of calls) await refused(call);
  t.is((await file.read(0, 0)).length, 0);
  t.is(await file.write(0, Buffer.alloc(0)), 0);
  t.is(readFileSync(path, 'utf8'), 'content');
});

test('memory that is detached meanwhile is an error, and no other bytes', async (t) => {
  const path = fresh(directory);
  await using file = await openDirect(path, 'w');
  const data = new Uint8Array(4 * MiB + 1).fill(7);
  const writes = Array.from({ length: 12 }, (_, n) => file.write(n * 5 * MiB, data));
  structuredClone(data.buffer, { transfer: [data.buffer] });
  const outcomes = await Promise.allSettled(writes);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') t.true(outcome.reason instanceof TransferError);
  }
  const content = readFileSync(path);
  t.true(content.every((byte, at) => byte === 7 || (byte === 0 && at >= 0)));
});

test.serial('a file that is forgotten is closed, with a warning', async (t) => {
  const path = makeFile(directory, 'content');
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  await collectGarbage();
  const before = openDescriptors();
  await (async () => {
    await (await openDirect(path)).read(0, 5);
  })();
  await collectGarbage(() => warnings.length > 0, 50);
  await until(() => openDescriptors() <= before, 'the descriptors closed');
  t.true(warnings.some((message) => message.includes('DirectFile')));
});

test('a worker thread that is terminated in the midst of requests leaves no descriptor', async (t) => {
  const path = makeFile(directory, pattern(MiB));
  const left = (): number => fs.readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === path).length;
  for (let n = 0; n < 3; n++) {
    const worker = new Worker(fixture('reading-worker'), { workerData: { path } });
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
  }
  await until(() => left() === 0, 'the descriptors closed');
  t.is(left(), 0);
});

const linkOf = (fd: string): string | undefined => {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
};

kernelTest('turned off, and where a request is refused: through the cache, with the reason', async (t) => {
  const path = makeFile(directory, pattern(100 * KiB));
  for (const [env, expected] of [
    [{ ZEROCOPY_DISABLE: 'direct-io' }, /direct-io is disabled by ZEROCOPY_DISABLE/],
    [{ ZEROCOPY_DISABLE: 'directIo' }, /disabled by ZEROCOPY_DISABLE/],
    [{ REFUSE: '1', ZEROCOPY_DISABLE: 'ioUring' }, /refused a direct request \(EINVAL\)|memory/],
  ] as const) {
    const copy = fresh(directory);
    writeFileSync(copy, readFileSync(path));
    const { stdout, stderr } = await runProgram(process.execPath, [fixture('refused'), copy], {
      ...process.env,
      ...env,
    });
    t.is(stderr, '');
    const told = JSON.parse(stdout) as { method: string; reason: string; equal: boolean; stream: string };
    t.regex(told.reason, expected);
    t.like(told, { method: 'copy', equal: true, stream: 'copy' });
  }
});

kernelTest('EIO in the midst: the error, and how many bytes came before it', async (t) => {
  const path = makeFile(directory, pattern(256 * KiB));
  const { stdout, stderr } = await runProgram(process.execPath, [fixture('refused'), path], {
    ...process.env,
    FAIL: '1',
    ZEROCOPY_DISABLE: 'ioUring', // the faults are in front of node:fs
  });
  t.is(stderr, '');
  t.like(JSON.parse(stdout), { code: 'EIO', bytes: 65_536, streamCode: 'EIO', streamBytes: 65_536, writeCode: 'EIO' });
});
