/** Which filesystem an open file is on, and whether it may wait for a server. */
import { closeSync, openSync, statfsSync } from 'node:fs';
import { libcStatus } from '@zerocopy/core-syscalls';
import { filesystemOf, filesystemOfMagic, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';
import test, { type TestFn } from 'ava';

const libc = libcStatus();
const kernelTest = (libc.available ? test : test.skip) as TestFn;
if (!libc.available) test.skip(`open files: ${libc.reason}`, () => {});

kernelTest('procfs is pseudo, and known to be local', (t) => {
  const fd = openSync('/proc/self/status', 'r');
  t.deepEqual(filesystemOf(fd), { name: 'procfs', kind: 'pseudo', reflink: false });
  t.true(isLocalFilesystem(filesystemOf(fd)));
  closeSync(fd);
});

kernelTest('an open file: the same as statfs(2) of its path says', (t) => {
  for (const path of ['/', '/dev/shm', '/tmp']) {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch {
      continue;
    }
    t.deepEqual(filesystemOf(fd), filesystemOfMagic(statfsSync(path).type), path);
    closeSync(fd);
  }
});

kernelTest('a descriptor that is not open: unknown, and not local', (t) => {
  t.like(filesystemOf(-1), { name: 'unknown', kind: 'unknown' });
  t.false(isLocalFilesystem(filesystemOf(-1)));
});

test('servers, user space, stacks and strangers are not known to be local', (t) => {
  for (const [magic, name, kind] of [
    [0x6969, 'nfs', 'remote'],
    [0x65735546, 'fuse', 'remote'],
    [0xff534d42, 'cifs', 'remote'],
    [-0xacb2be, 'cifs', 'remote'], // with its sign extended
    [0x01021997, '9p', 'remote'],
    [0x794c7630, 'overlayfs', 'unknown'],
    [0x12345678, '0x12345678', 'unknown'],
  ] as const) {
    t.like(filesystemOfMagic(magic), { name, kind });
    t.false(isLocalFilesystem(filesystemOfMagic(magic)), name);
  }
  t.like(filesystemOfMagic(0xef53), { name: 'ext4', kind: 'local', reflink: false });
  t.like(filesystemOfMagic(0x9123683e), { name: 'btrfs', kind: 'local', reflink: true });
  t.like(filesystemOfMagic(0x958458f6), { name: 'hugetlbfs', kind: 'memory' });
});
