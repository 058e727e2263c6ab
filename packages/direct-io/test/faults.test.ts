/** Faults of the kernel's own making: a filesystem of the tests, and a disk that lies in one of its files. */
import { spawnSync } from 'node:child_process';
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { libcStatus, TransferError } from '@zerocopy/core-syscalls';
import { createDirectReadStream, createDirectWriteStream, openDirect } from '@zerocopy/direct-io';
import { type Availability, testsWhere } from '@zerocopy/testing/kernel-tests';
import { LoopDevice } from '@zerocopy/testing/loop-device';
import { contentOf, faultyName } from '@zerocopy/testing/slow-files';
import { noSlowMount, withSlowMount } from '@zerocopy/testing/slow-mount';
import test from 'ava';
import { directIo, fixture, fresh, KiB, MiB, makeFile, pattern, runProgram, temporaryDirectory } from './harness.js';

const reason = noSlowMount();
const mounted: Availability = { available: reason === undefined, reason };
const { test: mountTest } = testsWhere('a faulting filesystem', libcStatus(), mounted);
const { test: directTest } = testsWhere('direct I/O on a faulting filesystem', directIo, mounted);
const directory = temporaryDirectory();
const SIZE = MiB;
const HALF = SIZE / 2;

/** How far what is read is right: all of it is, up to the error. */
async function readOf(
  path: string,
  highWaterMark: number,
): Promise<[code: string | undefined, bytes: number, right: boolean]> {
  const stream = createDirectReadStream(path, { highWaterMark });
  const chunks: Buffer[] = [];
  stream.on('data', (chunk) => chunks.push(chunk as Buffer));
  const code = await finished(stream).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
  const bytes = Buffer.concat(chunks);
  return [code, bytes.length, bytes.equals(contentOf(SIZE).subarray(0, bytes.length))];
}

directTest(
  'EIO in the second half of a file: what is before it arrives, and what is behind it is no end',
  async (t) => {
    await withSlowMount(0, async (directory) => {
      const path = join(directory, faultyName('eio', SIZE));
      const file = await openDirect(path, 'r+');
      t.is(file.method, 'direct', file.fallbackReason);
      t.true((await file.read(10, HALF - 5000)).equals(contentOf(SIZE).subarray(10, HALF - 4990)));
      const [inside, across] = await Promise.allSettled([file.read(HALF + 1, 10), file.read(HALF - 8192, 16_384)]);
      for (const outcome of [inside, across]) {
        t.is(outcome.status, 'rejected');
        t.is((outcome as PromiseRejectedResult).reason.code, 'EIO');
      }
      const error = (await t.throwsAsync(file.write(HALF - 65_536, pattern(256 * KiB)))) as TransferError;
      t.true(error instanceof TransferError);
      t.deepEqual([error.code, error.bytes], ['EIO', 65_536]);
      t.true((await file.read(HALF - 65_536, 65_536)).equals(pattern(256 * KiB).subarray(0, 65_536)));
      await file.close();
    });
    await withSlowMount(0, async (directory) => {
      for (const highWaterMark of [64 * KiB, MiB]) {
        const [code, bytes, right] = await readOf(join(directory, faultyName('eio', SIZE)), highWaterMark);
        t.deepEqual([code, right], ['EIO', true]);
        t.true(bytes <= HALF);
      }
    });
  },
);

mountTest('ENOSPC in the midst of a write stream: bytesWritten says how many bytes are in the file', async (t) => {
  await withSlowMount(0, async (directory) => {
    const path = join(directory, faultyName('enospc', SIZE));
    const data = pattern(SIZE);
    const writer = createDirectWriteStream(path, { flags: 'r+' });
    for (let at = 0; at < SIZE; at += 100_000) writer.write(data.subarray(at, at + 100_000));
    writer.end();
    await t.throwsAsync(finished(writer), { code: 'ENOSPC' });
    t.is(writer.bytesWritten, HALF);
    const content = readFileSync(path);
    t.true(content.subarray(0, HALF).equals(data.subarray(0, HALF)));
    t.true(content.subarray(HALF).equals(contentOf(SIZE).subarray(HALF)));
  });
});

mountTest('writes that take less than they were given: all of the bytes, in their places', async (t) => {
  await withSlowMount(0, async (directory) => {
    const path = join(directory, faultyName('short', 4096));
    const data = pattern(700_123);
    const file = await openDirect(path, 'r+');
    t.is(await file.write(5, data), data.length);
    await file.close();
    t.true(readFileSync(path).subarray(5).equals(data));
    const writer = createDirectWriteStream(path, { flags: 'r+' });
    for (let at = 0; at < data.length; at += 65_536) writer.write(data.subarray(at, at + 65_536));
    writer.end();
    await finished(writer);
    t.is(writer.bytesWritten, data.length);
    t.true(readFileSync(path).subarray(0, data.length).equals(data));
  });
});

directTest('a disk that fails: EIO, also of reads by io_uring, and of no others', async (t) => {
  await withSlowMount(0, async (directory) => {
    const image = join(directory, faultyName('eio', SIZE));
    const device = LoopDevice.attach(image);
    if (typeof device === 'string') return t.log(device);
    try {
      const disk = await openDirect(device.path, 'r', { queueDepth: 64 });
      t.is(disk.method, 'direct', disk.fallbackReason);
      const expected = contentOf(SIZE);
      const positions = Array.from({ length: 200 }, (_, n) => ((n * 7919) % (SIZE / 4096)) * 4096);
      const outcomes = await Promise.allSettled(positions.map((position) => disk.read(position, 4096)));
      for (const [n, outcome] of outcomes.entries()) {
        const position = positions[n] as number;
        if (position >= HALF) t.is((outcome as PromiseRejectedResult).reason?.code, 'EIO', `${position}`);
        else {
          const bytes = (outcome as PromiseFulfilledResult<Buffer>).value;
          t.true(bytes?.equals(expected.subarray(position, position + 4096)), `${position}`);
        }
      }
      t.log(`read by ${disk.readsBy}`);
      await disk.close();
    } finally {
      device.detach();
    }
  });
});

test('interrupted, and with fewer bytes than it asked for: each byte once, in its place', async (t) => {
  for (const disabled of ['ioUring', 'direct-io']) {
    const { stdout, stderr } = await runProgram(process.execPath, [fixture('hardship'), fresh(directory)], {
      ...process.env,
      ZEROCOPY_DISABLE: disabled, // the hardships are in front of node:fs
    });
    t.is(stderr, '');
    t.like(JSON.parse(stdout), { equal: true, interrupted: true, short: true }, disabled);
  }
});

const { test: limitTest } = testsWhere('a process of little memory', libcStatus(), {
  available: spawnSync('prlimit', ['--version']).status === 0,
  reason: 'prlimit is not installed',
});

limitTest('no memory for a request: an error, and the file can be read on', async (t) => {
  const path = makeFile(directory, pattern(100 * KiB));
  const large = makeFile(directory, '');
  truncateSync(large, 600 * MiB);
  for (const disabled of [process.env.ZEROCOPY_DISABLE ?? '', 'direct-io']) {
    const { stdout, stderr } = await runProgram(process.execPath, [fixture('no-memory'), path, large], {
      ...process.env,
      ZEROCOPY_DISABLE: disabled,
    });
    t.is(stderr, '', disabled);
    t.deepEqual(
      JSON.parse(stdout),
      { read: 'RangeError', isAsBefore: true, streamed: 'RangeError', again: true, streamedAgain: true },
      disabled,
    );
  }
});
