/** The seam itself: what is put in front of a call arrives, at the nth, and nowhere else. */
import '@zerocopy/conformance/faults/install';
import fs from 'node:fs';
import { promisify } from 'node:util';
import { withFaults } from '@zerocopy/conformance/faults/injection';
import { libcStatus, syscalls } from '@zerocopy/core-syscalls';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import test, { type TestFn } from 'ava';

const path = makeFile(temporaryDirectory(), 'abcdefgh');
const kernelTest = (libcStatus().available ? test.serial : test.serial.skip) as TestFn;

kernelTest('the nth call fails with the errno asked for, so many times, and no other does', async (t) => {
  const fd = fs.openSync(path, 'r');
  const buffer = Buffer.alloc(4);
  const { report, value } = await withFaults({ at: 2, fault: { kind: 'errno', code: 'EINTR', times: 2 } }, async () =>
    Array.from({ length: 4 }, () => syscalls.pread(fd, buffer, 4, 0)),
  );
  t.deepEqual(value, [4, -4, -4, 4]);
  t.deepEqual(report.calls, ['pread', 'pread', 'pread', 'pread']);
  t.is(report.hit, 'pread');
  t.is(syscalls.pread(fd, buffer, 4, 0), 4, 'and nothing afterwards');
  fs.closeSync(fd);
});

kernelTest('a short call moves one byte, also off the thread', async (t) => {
  const fd = fs.openSync(path, 'r');
  const ends = new Int32Array(2);
  syscalls.pipe2(ends, 0);
  const [readEnd, writeEnd] = ends as unknown as [number, number];
  const { value } = await withFaults({ at: 1, fault: { kind: 'short' } }, async () => {
    const cell = syscalls.setOffset(syscalls.createOffsetCell(), 0);
    return new Promise((resolve) => syscalls.sendfileAsync(writeEnd, fd, cell, 8, resolve));
  });
  t.is(value, 1);
  for (const one of [fd, readEnd, writeEnd]) fs.closeSync(one);
});

kernelTest('an errno off the thread comes in a later turn', async (t) => {
  const fd = fs.openSync(path, 'r');
  const { value } = await withFaults({ at: 1, fault: { kind: 'errno', code: 'EIO' } }, async () => {
    let answered = false;
    const result = new Promise((resolve) => {
      syscalls.lseekAsync(fd, 0, 0, (position) => {
        answered = true;
        resolve(position);
      });
    });
    t.false(answered);
    return result;
  });
  t.is(value, -5);
  fs.closeSync(fd);
});

test.serial(
  "node:fs: fails as Node's own calls do, reads short, and promisified it brings what it brought",
  async (t) => {
    const fd = fs.openSync(path, 'r');
    const read = promisify(fs.read);
    const buffer = Buffer.alloc(8);
    const failed = await withFaults({ at: 1, fault: { kind: 'errno', code: 'EIO' } }, () =>
      read(fd, buffer, 0, 8, 0).catch((error: NodeJS.ErrnoException) => error),
    );
    t.like(failed.value, { code: 'EIO', syscall: 'read', errno: -5 });
    const short = await withFaults({ at: 1, fault: { kind: 'short' } }, () => read(fd, buffer, 0, 8, 0));
    t.like(short.value, { bytesRead: 1 });
    t.like(await read(fd, buffer, 0, 8, 0), { bytesRead: 8 });
    fs.closeSync(fd);
  },
);
