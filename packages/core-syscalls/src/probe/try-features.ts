/**
 * Each feature tried, on throw-away descriptors. A feature that works returns what was learnt; one that does not
 * throws, and the error becomes the reason. Nothing is guessed from a kernel version.
 */
import { constants as fs, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { supportedAbi } from '../abi.js';
import { constants } from '../constants.js';
import { closeQuietly } from '../descriptors/close-quietly.js';
import { OwnedDescriptor } from '../descriptors/descriptor.js';
import { check } from '../errors.js';
import * as syscalls from '../syscalls/index.js';
import type { FeatureName } from './feature-names.js';
import { tryReadLease } from './read-lease.js';

type Detail = Readonly<Record<string, unknown>>;

const { AT_EMPTY_PATH, O_CLOEXEC, O_NONBLOCK, PROT_EXEC, PROT_READ, PROT_WRITE, RWF_NOWAIT } = constants;
const SAMPLE = Buffer.from('zerocopy');

/** What has to be undone after a try, in reverse order, whatever happens. */
class Cleanup {
  readonly #steps: (() => void)[] = [];

  add(step: () => void): void {
    this.#steps.push(step);
  }

  /** @returns the number to use; a worker that is terminated here leaves none behind. */
  descriptor(fd: number): number {
    const own = OwnedDescriptor.adopt(fd);
    this.add(() => own.close());
    return own.fd;
  }

  run(): void {
    for (const step of this.#steps.reverse()) {
      try {
        step();
      } catch {} // removing a temporary file: not what is asked about, and the other steps are still to come
    }
  }
}

function pipe(cleanup: Cleanup): readonly [read: number, write: number] {
  const fds = new Int32Array(2);
  check(syscalls.pipe2(fds, O_CLOEXEC | O_NONBLOCK), 'pipe2');
  return [cleanup.descriptor(fds[0] as number), cleanup.descriptor(fds[1] as number)];
}

/** A pipe that holds the sample. */
function filledPipe(cleanup: Cleanup): readonly [read: number, write: number] {
  const ends = pipe(cleanup);
  check(syscalls.write(ends[1], SAMPLE, SAMPLE.length), 'write');
  return ends;
}

/** An empty file in memory. */
function emptyMemoryFile(cleanup: Cleanup, flags = 0): number {
  const fd = check(syscalls.memfdCreate('zerocopy-probe', constants.MFD_CLOEXEC | flags), 'memfd_create');
  return cleanup.descriptor(fd);
}

/** A file in memory that holds the sample. */
function memoryFile(cleanup: Cleanup): number {
  const fd = emptyMemoryFile(cleanup);
  check(syscalls.write(fd, SAMPLE, SAMPLE.length), 'write');
  return fd;
}

/** The address of one page, mapped; of no file where `fd` is -1. */
function mapPage(cleanup: Cleanup, protection: number, flags: number, fd: number): number {
  const size = syscalls.getpagesize();
  const address = check(syscalls.mmap(null, size, protection, flags, fd, 0), 'mmap');
  cleanup.add(() => syscalls.munmap(address, size));
  return address;
}

/** An empty file in the temporary directory, gone afterwards. */
function temporaryFile(
  cleanup: Cleanup,
  state: 'open' | 'closed' = 'open',
): { readonly path: string; readonly fd: number } {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-probe-'));
  cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'file');
  const fd = openSync(path, fs.O_RDWR | fs.O_CREAT, 0o600);
  if (state === 'closed') closeQuietly(fd);
  else cleanup.add(() => closeQuietly(fd));
  return { path, fd };
}

/** A file on a disk that this process can certainly read: its own executable. */
function executable(cleanup: Cleanup, flags = 0): number {
  const fd = openSync(process.execPath, fs.O_RDONLY | flags);
  cleanup.add(() => closeQuietly(fd));
  return fd;
}

function expectSample(fd: number): void {
  const buffer = Buffer.alloc(SAMPLE.length);
  const length = check(syscalls.read(fd, buffer, buffer.length), 'read');
  if (!buffer.subarray(0, length).equals(SAMPLE))
    throw new Error('the bytes that arrived are not those that were sent');
}

function socket(cleanup: Cleanup): number {
  return cleanup.descriptor(
    check(syscalls.socket(constants.AF_INET, constants.SOCK_STREAM | constants.SOCK_CLOEXEC, 0), 'socket'),
  );
}

type Try = (cleanup: Cleanup) => Detail | undefined;

const tries: Readonly<Record<FeatureName, Try>> = {
  sendfile(cleanup) {
    const [read, write] = pipe(cleanup);
    check(syscalls.sendfile(write, memoryFile(cleanup), 0, SAMPLE.length), 'sendfile');
    expectSample(read);
    return undefined;
  },

  splice(cleanup) {
    const [firstRead] = filledPipe(cleanup);
    const [secondRead, secondWrite] = pipe(cleanup);
    check(syscalls.splice(firstRead, null, secondWrite, null, SAMPLE.length, constants.SPLICE_F_NONBLOCK), 'splice');
    expectSample(secondRead);
    return { pipeCapacity: check(syscalls.fcntl(secondWrite, constants.F_GETPIPE_SZ), 'fcntl') };
  },

  tee(cleanup) {
    const [firstRead] = filledPipe(cleanup);
    const [secondRead, secondWrite] = pipe(cleanup);
    check(syscalls.tee(firstRead, secondWrite, SAMPLE.length, constants.SPLICE_F_NONBLOCK), 'tee');
    expectSample(secondRead);
    expectSample(firstRead);
    return undefined;
  },

  vmsplice(cleanup) {
    const [read, write] = pipe(cleanup);
    check(syscalls.vmsplice(write, syscalls.createIovec(SAMPLE), 1, constants.SPLICE_F_NONBLOCK), 'vmsplice');
    expectSample(read);
    return undefined;
  },

  copyFileRange(cleanup) {
    const from = temporaryFile(cleanup);
    const to = temporaryFile(cleanup);
    writeSync(from.fd, SAMPLE);
    check(syscalls.copyFileRange(from.fd, 0, to.fd, 0, SAMPLE.length, 0), 'copy_file_range');
    expectSample(to.fd);
    return undefined;
  },

  mmap(cleanup) {
    mapPage(cleanup, PROT_READ, constants.MAP_SHARED, memoryFile(cleanup));
    return { pageSize: syscalls.getpagesize() };
  },

  lease(cleanup) {
    const { path } = temporaryFile(cleanup, 'closed'); // no descriptor may be open for writing when a read lease is taken
    const fd = openSync(path, fs.O_RDONLY);
    cleanup.add(() => closeQuietly(fd));
    const result = tryReadLease(fd);
    // EAGAIN: another thread was starting a child, which had the file open for writing until its exec.
    if (result !== -constants.EAGAIN) check(result, 'fcntl(F_SETLEASE)');
    return undefined;
  },

  sigbusTrap(cleanup) {
    if (supportedAbi === undefined) throw new Error(`there is no handler for the architecture ${process.arch}`);
    mapPage(cleanup, PROT_READ | PROT_EXEC, constants.MAP_PRIVATE, memoryFile(cleanup));
    check(syscalls.sigaction(constants.SIGBUS, null, Buffer.alloc(syscalls.SIGACTION_SIZE)), 'sigaction');
    return undefined;
  },

  openat2(cleanup) {
    cleanup.descriptor(check(syscalls.openat2(constants.AT_FDCWD, process.execPath, O_CLOEXEC, 0, 0), 'openat2'));
    return undefined;
  },

  openat2Cached(cleanup) {
    const path = process.execPath;
    closeQuietly(openSync(path, 'r')); // so that its directory entries are cached
    cleanup.descriptor(
      check(syscalls.openat2(constants.AT_FDCWD, path, O_CLOEXEC, 0, constants.RESOLVE_CACHED), 'openat2'),
    );
    return undefined;
  },

  preadvNowait(cleanup) {
    const result = syscalls.preadv2(executable(cleanup), syscalls.createIovec(Buffer.alloc(1)), 0, RWF_NOWAIT);
    if (result !== -constants.EAGAIN) check(result, 'preadv2(RWF_NOWAIT)'); // EAGAIN: it works, and the page is cold
    return undefined;
  },

  cachestat(cleanup) {
    const range = BigUint64Array.of(0n, 4096n);
    check(syscalls.cachestat(executable(cleanup), range, new BigUint64Array(5)), 'cachestat');
    return undefined;
  },

  statxDirectIo(cleanup) {
    const buffer = Buffer.alloc(syscalls.STATX_SIZE);
    check(syscalls.statx(executable(cleanup), '', AT_EMPTY_PATH, constants.STATX_DIOALIGN, buffer), 'statx');
    const { mask, dioMemAlign, dioOffsetAlign } = syscalls.readStatx(buffer);
    if ((mask & constants.STATX_DIOALIGN) === 0) throw new Error('statx does not tell the alignment for direct I/O');
    return { memoryAlign: dioMemAlign, offsetAlign: dioOffsetAlign };
  },

  directIo(cleanup) {
    const fd = executable(cleanup, constants.O_DIRECT);
    const page = mapPage(cleanup, PROT_READ | PROT_WRITE, constants.MAP_PRIVATE | constants.MAP_ANONYMOUS, -1);
    check(syscalls.pread(fd, page, syscalls.getpagesize(), 0), 'pread(O_DIRECT)'); // aligned, as a page is
    return undefined;
  },

  memfdSeals(cleanup) {
    const fd = emptyMemoryFile(cleanup, constants.MFD_ALLOW_SEALING);
    check(syscalls.ftruncate(fd, 4096), 'ftruncate');
    check(syscalls.fcntl(fd, constants.F_ADD_SEALS, constants.F_SEAL_SHRINK), 'fcntl(F_ADD_SEALS)');
    if (syscalls.ftruncate(fd, 0) === 0) throw new Error('a sealed memfd could be shrunk');
    return undefined;
  },

  ioUring(cleanup) {
    cleanup.descriptor(check(syscalls.ioUringSetup(1, Buffer.alloc(syscalls.IO_URING_PARAMS_SIZE)), 'io_uring_setup'));
    return undefined;
  },

  msgZerocopy(cleanup) {
    check(
      syscalls.setsockopt(socket(cleanup), constants.SOL_SOCKET, constants.SO_ZEROCOPY, 1),
      'setsockopt(SO_ZEROCOPY)',
    );
    return undefined;
  },

  kernelTls(cleanup) {
    // A socket that is not connected: ENOTCONN comes from the module, ENOENT from a kernel without it (net/tls).
    const name = Buffer.from('tls\0');
    const result = syscalls.setsockoptBytes(socket(cleanup), constants.IPPROTO_TCP, constants.TCP_ULP, name);
    if (result !== -constants.ENOTCONN) check(result, 'setsockopt(TCP_ULP)');
    return undefined;
  },
};

/**
 * Tries one feature, and leaves nothing behind.
 * @returns what was learnt besides, if anything.
 * @throws {Error} why it does not work.
 */
export function tryFeature(name: FeatureName): Detail | undefined {
  const cleanup = new Cleanup();
  try {
    return tries[name](cleanup);
  } finally {
    cleanup.run();
  }
}
