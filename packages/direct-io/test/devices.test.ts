/** Block devices: read and written like a file, at any offset and length, to their very end. */
import { readFileSync } from 'node:fs';
import { finished, pipeline } from 'node:stream/promises';
import type { TransferError } from '@zerocopy/core-syscalls';
import { createDirectReadStream, createDirectWriteStream, openDirect } from '@zerocopy/direct-io';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { LoopDevice } from '@zerocopy/testing/loop-device';
import test from 'ava';
import fc from 'fast-check';
import {
  directIo,
  fresh,
  isLongRun,
  KiB,
  MiB,
  makeFile,
  pattern,
  positionalStep,
  temporaryDirectory,
} from './harness.js';

const directory = temporaryDirectory();
const { serial } = testsWhere('direct I/O on a device', directIo);
const SIZE = 3 * MiB + 64 * KiB;

for (const sector of [512, 4096]) {
  const file = makeFile(directory, pattern(SIZE));
  const device = LoopDevice.attach(file, sector);
  if (typeof device === 'string') {
    test.skip(`a block device with sectors of ${sector} bytes: ${device}`, () => {});
    continue;
  }
  test.after.always(() => device.detach());

  serial(`sectors of ${sector} bytes: the bytes that were written, and the others as before`, async (t) => {
    const disk = await openDirect(device.path, 'r+');
    t.is(disk.method, 'direct', disk.fallbackReason);
    t.is(disk.alignment.offset, sector);
    const model = Buffer.from(readFileSync(file));
    await fc.assert(
      fc.asyncProperty(fc.array(positionalStep, { minLength: 5, maxLength: 20 }), async (steps) => {
        for (const [n, { act, position, length, skip }] of steps.entries()) {
          const expected = model.subarray(position, position + length);
          if (act === 'write') {
            const data = pattern(expected.length + skip, n * 7919).subarray(skip);
            t.is(await disk.write(position, data), data.length);
            data.copy(model, position);
          } else if (act === 'readInto') {
            const target = Buffer.alloc(skip + length).subarray(skip);
            t.is(await disk.readInto(position, target), expected.length);
            t.true(target.subarray(0, expected.length).equals(expected));
          } else t.true((await disk.read(position, length)).equals(expected));
        }
      }),
      { numRuns: isLongRun ? 200 : 20 },
    );
    await disk.datasync();
    t.true(readFileSync(file).equals(model));
    // Behind the end there is nothing to read, and no room.
    t.is((await disk.read(SIZE, 1)).length, 0);
    t.true((await disk.read(SIZE - 1000, 5000)).equals(model.subarray(SIZE - 1000)));
    const error = await t.throwsAsync(disk.write(SIZE - 70_000, pattern(100_000)), { code: 'ENOSPC' });
    t.is((error as TransferError).bytes, 70_000);
    await disk.datasync();
    t.true(
      readFileSync(file)
        .subarray(SIZE - 70_000)
        .equals(pattern(70_000)),
    );
    await disk.close();
  });

  serial(`sectors of ${sector} bytes: the streams`, async (t) => {
    const data = pattern(SIZE, 12_345);
    const writer = createDirectWriteStream(device.path, { flags: 'r+', datasync: 'end' });
    for (let at = 0; at < SIZE; at += 100_001) writer.write(data.subarray(at, at + 100_001));
    writer.end();
    await finished(writer);
    t.is(writer.method, 'direct', writer.fallbackReason);
    t.true(readFileSync(file).equals(data));
    const copy = fresh(directory);
    const reader = createDirectReadStream(device.path, { start: 5 });
    await pipeline(reader, createDirectWriteStream(copy));
    t.is(reader.method, 'direct', reader.fallbackReason);
    t.true(readFileSync(copy).equals(data.subarray(5)));
  });
}
