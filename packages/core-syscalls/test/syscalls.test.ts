import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { check, constants, libcStatus, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import test, { type ExecutionContext } from 'ava';

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-syscalls-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

const status = libcStatus();
const onLinux = status.available ? test : test.skip;
if (!status.available) test.skip(`system calls: ${status.reason}`, () => {});

/** A test of a call that qemu-user and some sandboxes do not have: `call` must not answer ENOSYS. */
function needing(name: string, call: () => number, title: string, run: (t: ExecutionContext) => void): void {
  if (!status.available || call() !== -constants.ENOSYS) onLinux(title, run);
  else test.skip(`${title} (needs ${name})`, () => {});
}

const openNothing = (): number =>
  syscalls.openat2(constants.AT_FDCWD, join(directory, 'none'), constants.O_CLOEXEC, 0, 0);
const readNowhere = (): number => syscalls.preadv2(-1, syscalls.createIovec(Buffer.alloc(1)), 0, 0);
const readNothing = (): number => {
  const [to, from] = [Buffer.alloc(1), Buffer.alloc(1)];
  return syscalls.processVmReadv(process.pid, syscalls.createIovec(to), syscalls.createIovec(from));
};

function temporaryFile(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

function pipePair(flags = constants.O_CLOEXEC | constants.O_NONBLOCK): { read: number; write: number; close(): void } {
  const fds = new Int32Array(2);
  check(syscalls.pipe2(fds, flags), 'pipe2');
  const [read = -1, write = -1] = fds;
  return {
    read,
    write,
    close() {
      syscalls.close(read);
      syscalls.close(write);
    },
  };
}

function readAll(fd: number, size: number): string {
  const buffer = Buffer.alloc(size);
  return buffer.toString('latin1', 0, check(syscalls.read(fd, buffer, size), 'read'));
}

onLinux('a failed call answers the negative errno and throws nothing', (t) => {
  t.is(syscalls.close(-1), -constants.EBADF);
  t.is(syscalls.sendfile(-1, -1, 0, 1), -constants.EBADF);
});

needing('openat2', openNothing, 'openat2 of what is not there answers ENOENT', (t) => {
  t.is(openNothing(), -constants.ENOENT);
});

needing('openat2', openNothing, 'openat2, statx and fstatfs answer the same off this thread', async (t) => {
  const path = temporaryFile('off-thread', 'abc');
  const { AT_FDCWD, AT_EMPTY_PATH, O_CLOEXEC, STATX_BASIC_STATS } = constants;
  const off = (call: (callback: (result: number) => void) => void): Promise<number> => new Promise(call);
  t.is(await off((done) => syscalls.openat2Async(AT_FDCWD, join(directory, 'none'), O_CLOEXEC, 0, 0, done)), -2);
  const fd = await off((done) => syscalls.openat2Async(AT_FDCWD, path, O_CLOEXEC, 0, 0, done));
  t.true(fd >= 0);
  const [here, there] = [Buffer.alloc(syscalls.STATX_SIZE), Buffer.alloc(syscalls.STATX_SIZE)];
  t.is(syscalls.statx(fd, '', AT_EMPTY_PATH, STATX_BASIC_STATS, here), 0);
  t.is(await off((done) => syscalls.statxAsync(AT_FDCWD, path, 0, STATX_BASIC_STATS, there, done)), 0);
  const identities = [here, there].map((buffer) => {
    const identity = Buffer.alloc(syscalls.STATX_IDENTITY_SIZE);
    syscalls.copyStatxIdentity(buffer, identity);
    return identity;
  });
  t.deepEqual(identities[0], identities[1]);
  t.true(syscalls.hasStatxIdentity(here, identities[1] as Buffer));
  t.true(syscalls.isSameStatxFile(here, identities[1] as Buffer));
  for (let at = 0; at < syscalls.STATX_IDENTITY_SIZE; at++) {
    const other = Buffer.from(identities[0] as Buffer);
    other.writeUInt8(other.readUInt8(at) ^ 1, at);
    t.false(syscalls.hasStatxIdentity(here, other), `a difference at ${at}`);
    const isOfState = (at >= 8 && at < 48) || at >= 56;
    t.is(syscalls.isSameStatxFile(here, other), isOfState, `a difference at ${at}`);
  }
  const { ino, size, mtimeNs } = statSync(path, { bigint: true });
  const [identity] = identities as [Buffer, Buffer];
  t.is(identity.readBigUInt64LE(0), ino);
  t.is(identity.readBigUInt64LE(8), size);
  t.is(identity.readBigInt64LE(32) * 1_000_000_000n + BigInt(identity.readUInt32LE(40)), mtimeNs);
  const [near, far] = [Buffer.alloc(syscalls.STATFS_SIZE), Buffer.alloc(syscalls.STATFS_SIZE)];
  t.is(syscalls.fstatfs(fd, near), 0);
  t.is(await off((done) => syscalls.fstatfsAsync(fd, far, done)), 0);
  t.is(near.readUInt32LE(0), far.readUInt32LE(0));
  closeSync(fd);
});

onLinux('sendfile moves from an offset and leaves the file position alone', (t) => {
  const fd = openSync(temporaryFile('offset', '0123456789'), 'r');
  const pipe = pipePair();
  t.is(syscalls.sendfile(pipe.write, fd, 3, 4), 4);
  t.is(readAll(pipe.read, 16), '3456');
  t.is(syscalls.lseek(fd, 0, constants.SEEK_CUR), 0);
  t.is(syscalls.sendfile(pipe.write, fd, null, 2), 2);
  t.is(syscalls.lseek(fd, 0, constants.SEEK_CUR), 2);
  t.is(syscalls.sendfile(pipe.write, fd, 10, 5), 0, 'the end of the file (kernel-rules: early-end)');
  pipe.close();
  closeSync(fd);
});

onLinux('offsets beyond 2^31 and 2^32 reach the kernel whole (kernel-rules: large-offsets)', (t) => {
  const path = join(directory, 'sparse');
  const fd = openSync(path, 'w+');
  const pipe = pipePair();
  for (const offset of [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32 + 5, 5 * 2 ** 30 + 7]) {
    const mark = Buffer.from(`at ${offset}`);
    t.is(syscalls.pwrite(fd, mark, mark.length, offset), mark.length);
    t.is(syscalls.sendfile(pipe.write, fd, offset, mark.length), mark.length);
    t.is(readAll(pipe.read, 64), `at ${offset}`);
  }
  pipe.close();
  closeSync(fd);
});

needing('preadv2', readNowhere, 'preadv2 beyond 2^31 and 2^32 (kernel-rules: large-offsets)', (t) => {
  const fd = openSync(join(directory, 'sparse-vector'), 'w+');
  for (const offset of [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32 + 5, 5 * 2 ** 30 + 7]) {
    const mark = Buffer.from(`at ${offset}`);
    t.is(syscalls.pwrite(fd, mark, mark.length, offset), mark.length);
    const iovec = syscalls.createIovec(Buffer.alloc(mark.length));
    t.is(syscalls.preadv2(fd, iovec, offset, 0), mark.length);
    t.is((iovec.target as Buffer).toString(), `at ${offset}`);
  }
  closeSync(fd);
});

onLinux('sendfile off the thread answers a count or a negative errno as well', async (t) => {
  const fd = openSync(temporaryFile('async', 'asynchronous'), 'r');
  const pipe = pipePair();
  const call = (out: number): Promise<number> =>
    new Promise((resolve) => {
      syscalls.sendfileAsync(out, fd, syscalls.setOffset(syscalls.createOffsetCell(), 1), 4, resolve);
    });
  t.is(await call(pipe.write), 4);
  t.is(readAll(pipe.read, 16), 'sync');
  t.is(await call(-1), -constants.EBADF);
  pipe.close();
  closeSync(fd);
});

onLinux('splice and tee move and duplicate what is in a pipe', (t) => {
  const first = pipePair();
  const second = pipePair();
  syscalls.write(first.write, Buffer.from('zero copy'), 9);
  t.is(syscalls.tee(first.read, second.write, 9, constants.SPLICE_F_NONBLOCK), 9);
  t.is(readAll(second.read, 16), 'zero copy');
  t.is(syscalls.splice(first.read, null, second.write, null, 4, constants.SPLICE_F_NONBLOCK), 4);
  t.is(readAll(second.read, 16), 'zero');
  t.is(readAll(first.read, 16), ' copy');
  t.is(syscalls.splice(first.read, null, second.write, null, 1, constants.SPLICE_F_NONBLOCK), -constants.EAGAIN);
  first.close();
  second.close();
});

onLinux('EAGAIN from a full pipe: slots fill, not bytes (kernel-rules: pipe-slots)', (t) => {
  const full = pipePair();
  const one = pipePair();
  const capacity = check(syscalls.fcntl(full.write, constants.F_GETPIPE_SZ), 'fcntl');
  let segments = 0;
  for (; segments < 10_000; segments++) {
    syscalls.write(one.write, Buffer.from('0123456789'), 10);
    const moved = syscalls.splice(one.read, null, full.write, null, 10, constants.SPLICE_F_NONBLOCK);
    if (moved === -constants.EAGAIN) break;
    t.is(moved, 10);
  }
  t.true(segments * 10 < capacity / 10, `${segments} segments of 10 bytes filled a pipe of ${capacity}`);
  full.close();
  one.close();
});

onLinux('statx, fstatfs, mmap, madvise and mincore look at the same file', (t) => {
  const size = 3 * syscalls.getpagesize();
  const fd = openSync(temporaryFile('mapped', Buffer.alloc(size, 'm')), 'r');
  const buffer = Buffer.alloc(syscalls.STATX_SIZE);
  t.is(syscalls.statx(fd, '', constants.AT_EMPTY_PATH, constants.STATX_BASIC_STATS, buffer), 0);
  t.is(syscalls.readStatx(buffer).size, size);
  t.is(syscalls.fstatfs(fd, Buffer.alloc(syscalls.STATFS_SIZE)), 0);
  const address = check(syscalls.mmap(null, size, constants.PROT_READ, constants.MAP_SHARED, fd, 0), 'mmap');
  t.is(syscalls.madvise(address, size, constants.MADV_SEQUENTIAL), 0);
  const pages = Buffer.alloc(3);
  t.is(syscalls.mincore(address, size, pages), 0);
  t.true(pages.every((page) => (page & 1) === 1));
  t.is(syscalls.munmap(address, size), 0);
  closeSync(fd);
});

needing('process_vm_readv', readNothing, 'process_vm_readv reads what is mapped, and nothing else', (t) => {
  const size = syscalls.getpagesize();
  const fd = openSync(temporaryFile('read-mapped', Buffer.alloc(size, 'm')), 'r');
  const address = check(syscalls.mmap(null, size, constants.PROT_READ, constants.MAP_SHARED, fd, 0), 'mmap');
  const local = syscalls.createIovec(Buffer.alloc(4));
  const remote = BigUint64Array.of(BigInt(address), 4n);
  t.is(syscalls.processVmReadv(process.pid, local, remote), 4);
  t.is(String(local.target), 'mmmm');
  t.is(syscalls.munmap(address, size), 0);
  t.is(
    syscalls.processVmReadv(process.pid, local, remote),
    -constants.EFAULT,
    'unmapped memory is an error, not a signal',
  );
  closeSync(fd);
});

onLinux('a sealed memfd cannot shrink; pipes, sockets and options answer as the manual says', (t) => {
  const memfd = check(
    syscalls.memfdCreate('test', constants.MFD_CLOEXEC | constants.MFD_ALLOW_SEALING),
    'memfd_create',
  );
  t.is(syscalls.ftruncate(memfd, 4096), 0);
  t.is(syscalls.fcntl(memfd, constants.F_ADD_SEALS, constants.F_SEAL_SHRINK), 0);
  t.is(syscalls.ftruncate(memfd, 0), -constants.EPERM);
  const source = openSync(temporaryFile('range', 'copied range'), 'r');
  t.is(syscalls.fallocate(memfd, 0, 0, 8192), 0);
  t.is(syscalls.posixFadvise(source, 0, 0, constants.POSIX_FADV_WILLNEED), 0);
  closeSync(source);
  syscalls.close(memfd);

  const pair = new Int32Array(2);
  t.is(syscalls.socketpair(constants.AF_UNIX, constants.SOCK_STREAM | constants.SOCK_CLOEXEC, 0, pair), 0);
  const [a = -1, b = -1] = pair;
  t.is(syscalls.getsockopt(a, constants.SOL_SOCKET, constants.SO_TYPE), constants.SOCK_STREAM);
  t.is(syscalls.send(a, Buffer.from('hello'), 5, constants.MSG_NOSIGNAL), 5);
  t.is(syscalls.recv(b, Buffer.alloc(8), 8, constants.MSG_DONTWAIT), 5);
  t.is(syscalls.recv(b, Buffer.alloc(8), 8, constants.MSG_DONTWAIT), -constants.EAGAIN);
  syscalls.close(a);
  t.is(syscalls.recv(b, Buffer.alloc(8), 8, constants.MSG_DONTWAIT), 0, 'the peer has closed');
  syscalls.close(b);
});

onLinux('copy_file_range copies a range between two files', (t) => {
  const from = openSync(temporaryFile('cfr-from', 'abcdefgh'), 'r');
  const path = join(directory, 'cfr-to');
  const to = openSync(path, 'w');
  const copied = syscalls.copyFileRange(from, 2, to, 0, 4, 0);
  if (copied < 0) t.true([-constants.EXDEV, -constants.ENOSYS, -constants.EOPNOTSUPP].includes(copied));
  else {
    t.is(copied, 4);
    t.is(readFileSync(path, 'latin1'), 'cdef');
  }
  closeSync(from);
  closeSync(to);
});

onLinux("a null offset uses and moves the descriptor's own position; another leaves it", (t) => {
  const from = openSync(temporaryFile('own-position', '0123456789'), 'r');
  const to = openSync(join(directory, 'own-position-copy'), 'w+');
  t.is(syscalls.copyFileRange(from, null, to, null, 4, 0), 4);
  t.is(syscalls.lseek(from, 0, constants.SEEK_CUR), 4);
  t.is(syscalls.lseek(to, 0, constants.SEEK_CUR), 4);
  const pipe = pipePair();
  t.is(syscalls.splice(from, 8, pipe.write, null, 2, 0), 2);
  t.is(syscalls.lseek(from, 0, constants.SEEK_CUR), 4);
  t.is(syscalls.splice(pipe.read, null, to, 4, 2, 0), 2);
  t.is(syscalls.lseek(to, 0, constants.SEEK_CUR), 4);
  t.is(readFileSync(join(directory, 'own-position-copy'), 'latin1'), '012389');
  pipe.close();
  closeSync(from);
  closeSync(to);
});

onLinux('advice on what is no file answers its errno, on the thread and off it', async (t) => {
  const pipe = pipePair();
  const { POSIX_FADV_WILLNEED, ESPIPE } = constants;
  t.is(syscalls.posixFadvise(pipe.read, 0, 0, POSIX_FADV_WILLNEED), -ESPIPE);
  const later = new Promise((resolve) => syscalls.posixFadviseAsync(pipe.read, 0, 0, POSIX_FADV_WILLNEED, resolve));
  t.is(await later, -ESPIPE);
  pipe.close();
});

onLinux('vectors are written to a pipe, and read from it', (t) => {
  const pipe = pipePair();
  t.is(syscalls.writev(pipe.write, syscalls.createIovec(Buffer.from('vector'))), 6);
  const buffer = Buffer.alloc(8);
  t.is(syscalls.readv(pipe.read, syscalls.createIovec(buffer)), 6);
  t.is(buffer.toString('latin1', 0, 6), 'vector');
  pipe.close();
});

needing('preadv2', readNowhere, 'vectors are written to a place in a file, and read from one', (t) => {
  const buffer = Buffer.alloc(8);
  const path = temporaryFile('vectors', '0123456789');
  const fd = openSync(path, 'r+');
  t.is(syscalls.pwritev2(fd, syscalls.createIovec(Buffer.from('ab')), 3, 0), 2);
  t.is(syscalls.preadv2(fd, syscalls.createIovec(buffer), 2, 0), 8);
  t.is(buffer.toString('latin1'), '2ab56789');
  t.is(syscalls.pwrite(fd, Buffer.from('cd'), 2, 0), 2);
  t.is(readFileSync(path, 'latin1'), 'cd2ab56789');
  closeSync(fd);
});

onLinux('memory is protected and locked as asked', (t) => {
  const size = syscalls.getpagesize();
  const { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } = constants;
  const address = check(syscalls.mmap(null, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 'mmap');
  t.is(syscalls.mprotect(address, size, PROT_READ), 0);
  const fd = openSync(temporaryFile('unwritable', 'x'), 'r');
  t.is(syscalls.pread(fd, address, 1, 0), -constants.EFAULT);
  closeSync(fd);
  t.is(syscalls.mprotect(address + 1, size, PROT_READ), -constants.EINVAL);
  t.is(syscalls.munmap(address, size), 0);
});

onLinux('an iovec refuses a length beyond its buffer', (t) => {
  const iovec = syscalls.createIovec(Buffer.alloc(4));
  t.throws(() => syscalls.setIovecLength(iovec, 5), { instanceOf: RangeError });
  t.throws(() => syscalls.setIovecLength(iovec, -1), { instanceOf: RangeError });
  t.throws(() => syscalls.setIovecLength(iovec, Number.NaN), { instanceOf: RangeError });
});

test("SyscallError has the shape and wording of Node's own errors", (t) => {
  const path = join(directory, 'missing');
  const own = t.throws(() => openSync(path, 'r')) as NodeJS.ErrnoException;
  const ours = new SyscallError(constants.ENOENT, 'open', { path });
  t.is(ours.message, own.message);
  t.is(String(ours), String(own));
  for (const key of ['code', 'errno', 'syscall', 'path'] as const) t.is(ours[key], own[key]);
  t.deepEqual(Object.keys(ours).sort(), Object.keys(own).sort());
  t.is(new SyscallError(-constants.EAGAIN, 'read').code, 'EAGAIN');
  t.is(new SyscallError(3999, 'read').code, 'UNKNOWN');
});

test('check returns counts and throws errors', (t) => {
  t.is(check(0, 'read'), 0);
  t.is(check(42, 'read'), 42);
  const error = t.throws(() => check(-constants.EPIPE, 'write', { path: 'p', dest: 'd' }), {
    instanceOf: SyscallError,
  });
  t.is(error?.message, "EPIPE: broken pipe, write 'p' -> 'd'");
});

onLinux(
  'an asynchronous call holds its memory until its callback: no collector takes it from under the kernel',
  async (t) => {
    const pipe = pipePair(constants.O_CLOEXEC); // whose readers wait
    const file = openSync(join(directory, 'held'), 'w');
    let collected = false;
    const registry = new FinalizationRegistry(() => {
      collected = true;
    });
    const collectOften = async (): Promise<void> => {
      for (let n = 0; n < 20 && !collected; n++) {
        global.gc?.();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    // The pipe is empty: the call waits on its thread, and no reference to the cell is left here.
    const moved = new Promise<number>((resolve) => {
      const cell = syscalls.setOffset(syscalls.createOffsetCell(), 3);
      registry.register(cell, undefined);
      syscalls.spliceAsync(pipe.read, null, file, cell, 5, 0, resolve);
    });
    await collectOften();
    t.false(collected);
    writeSync(pipe.write, 'bytes');
    t.is(await moved, 5);
    t.is(readFileSync(join(directory, 'held'), 'latin1'), '\0\0\0bytes');
    await collectOften();
    t.true(collected); // and not for longer
    pipe.close();
    closeSync(file);
  },
);

onLinux('each thread is told the errno of its own calls, however busy the garbage collectors are', async (t) => {
  const worker = new Worker(new URL('./fixtures/errno.worker.js', import.meta.url));
  const told = once(worker, 'message');
  const fd = openSync('/dev/null', 'r');
  let garbage: unknown[] = [];
  let wrong = 0;
  for (let n = 0; n < 100_000; n++) {
    garbage.push(new Array(10).fill(n));
    if (garbage.length > 10_000) garbage = [];
    if (syscalls.lseek(fd, 0, 99) !== -constants.EINVAL) wrong++;
  }
  closeSync(fd);
  t.is(wrong, 0);
  t.deepEqual(await told, [0]);
});

onLinux('file attributes: names that are not UTF-8, times before 1970 and to the nanosecond, FIFOs', (t) => {
  const path = Buffer.concat([Buffer.from(`${directory}/odd-`), Buffer.of(0xff)]);
  writeFileSync(path, 'x');
  t.is(syscalls.lgetxattr(path, 'user.none', new Uint8Array(8)) < 0, true);
  const set = syscalls.lsetxattr(path, 'user.colour', Buffer.from('green'));
  if (set === 0) {
    const list = Buffer.alloc(syscalls.llistxattr(path, new Uint8Array(0)));
    t.is(syscalls.llistxattr(path, list), list.length);
    t.true(list.toString().split('\0').includes('user.colour'));
    const value = Buffer.alloc(16);
    t.is(value.toString('latin1', 0, syscalls.lgetxattr(path, 'user.colour', value)), 'green');
    t.is(syscalls.lgetxattr(path, 'user.colour', Buffer.alloc(1)), -os.errno.ERANGE);
  } else t.is(set, -constants.EOPNOTSUPP); // a filesystem without attributes
  for (const [accessed, modified] of [
    [1_700_000_000_123_456_789n, 1_600_000_000_000_000_001n],
    [-1n, 0n],
  ] as const) {
    t.is(syscalls.utimensat(path, accessed, modified), 0);
    const { atimeNs, mtimeNs } = statSync(path, { bigint: true });
    t.deepEqual([atimeNs, mtimeNs], [accessed, modified]);
  }
  const fifo = join(directory, 'fifo');
  t.is(syscalls.mknodat(fifo, 0o010600, 0), 0);
  t.true(statSync(fifo).isFIFO());
  t.is(syscalls.mknodat(fifo, 0o010600, 0), -os.errno.EEXIST);
});
