/**
 * The root by openat2(2), since Linux 5.6: the kernel itself refuses every way out of it.
 *
 * A path is first opened with O_PATH, which opens nothing: no FIFO is woken, no device asked, no server waited for
 * (kernel-rules: fifo-open, open-may-wait). What turns out to be a regular file is then opened through that very
 * descriptor, so that nobody can put something else into its place in between.
 *
 * All of it is done on this thread while the names are in memory (RESOLVE_CACHED, since Linux 5.12) and the file lies on
 * the root's own device, which is known to be local; off it everywhere else.
 */
import { opendir } from 'node:fs/promises';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { filesystemOfMagic, isMainThread, nameOfDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { assertOpenPermitted, callOffThread } from '@zerocopy/transfer';
import { feature } from './feature.js';
import type { FileStatus } from './file-status.js';
import { type Maybe, run, type Steps, settled } from './maybe.js';
import { OpenedFile, type Place } from './opened-file.js';
import {
  assertNothing,
  assertNothingThrown,
  type Entry,
  type Found,
  join,
  type Root,
  type SymlinkPolicy,
} from './root.js';
import { type Directory, RootDirectory, statusOf } from './root-directory.js';
import { waitForServer } from './waiting-lane.js';

const { AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_DONT_SYNC, AT_SYMLINK_NOFOLLOW } = constants;
const { O_CLOEXEC, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY } = constants;
const { EAGAIN, EINTR, ENOENT, RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } =
  constants;
const { STATX_BASIC_STATS } = constants;

const RESOLVE: Readonly<Record<SymlinkPolicy, number>> = {
  beneath: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
  none: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
  follow: RESOLVE_NO_MAGICLINKS,
};
/** openat2 says EAGAIN, too, when somebody renames or mounts during a look-up beneath a directory. */
const RACES_MAX = 16;

/** /proc/self/fd, held for as long as the process lives: the way to it need not be found again for every file. */
let descriptors: number | undefined;

/** The file that an O_PATH descriptor names, opened for reading on this thread; -EAGAIN: that would have to wait. */
function reopenAtOnce(fd: number): number {
  const flags = O_RDONLY | O_NONBLOCK;
  if (!isMainThread()) return syscalls.openat2(AT_FDCWD, nameOfDescriptor(fd), flags | O_CLOEXEC, 0, 0);
  if (descriptors === undefined || descriptors < 0) {
    descriptors = syscalls.openat2(AT_FDCWD, '/proc/self/fd', O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0);
    if (descriptors < 0) return syscalls.openat2(AT_FDCWD, nameOfDescriptor(fd), flags | O_CLOEXEC, 0, 0);
  }
  return syscalls.openat2(descriptors, String(fd), flags | O_CLOEXEC, 0, 0);
}

/** {@link reopenAtOnce}, on another thread. */
function reopenElsewhere(fd: number): Promise<number> {
  const flags = O_RDONLY | O_CLOEXEC;
  return waitForServer((done) => syscalls.openat2Async(AT_FDCWD, nameOfDescriptor(fd), flags, 0, 0, done));
}

/** Of a file that was found before, and could be read then. @throws {OpenError} */
function reopenKnown(fd: number): Maybe<number | undefined> {
  const opened = reopenAtOnce(fd);
  // Another process holds a lease on it: the kernel waits until that is given up (kernel-rules: lease-break).
  return opened === -EAGAIN ? reopenElsewhere(fd).then(readable) : readable(opened);
}

function readable(opened: number): number | undefined {
  if (opened >= 0) return opened;
  assertNothing(opened);
  return undefined;
}

/** Whether Node's permission model, if it is in force, lets this process read the path. */
function isPermitted(path: string): boolean {
  try {
    assertOpenPermitted(path, O_RDONLY);
    return true;
  } catch (error) {
    assertNothingThrown(error);
    return false;
  }
}

/** Files of which it is remembered that they could be read. */
const KNOWN_MAX = 1024;

export class KernelRoot implements Root {
  readonly path: string;
  readonly #resolve: number;
  readonly #cachedOnly: boolean;
  readonly #followsAll: boolean;
  /** What was found at a path the last time, and could be read: as long as it is unchanged, all said of it is, too. */
  readonly #known = new Map<string, FileStatus>();
  readonly #root: RootDirectory;

  /** @param path absolute; need not exist yet. */
  constructor(path: string, symlinks: SymlinkPolicy) {
    this.path = path;
    this.#resolve = RESOLVE[symlinks];
    this.#followsAll = symlinks === 'follow';
    this.#cachedOnly = feature('openat2Cached').available;
    this.#root = new RootDirectory(path);
  }

  open(path: string): Maybe<Found> {
    return this.#openAtOnce(path) ?? run(this.#open(path));
  }

  statAtOnce(path: string, target: Buffer): boolean {
    if (!isPermitted(join(this.path, path))) return false;
    // Straight beneath the root no link but the file itself could lead out of it.
    const isFlat = !path.includes('/');
    if (isFlat || this.#followsAll) {
      const flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | (this.#followsAll ? 0 : AT_SYMLINK_NOFOLLOW);
      return syscalls.statx(AT_FDCWD, join(this.path, path), flags, STATX_BASIC_STATS, target) === 0;
    }
    const directory = this.#root.last;
    if (!this.#cachedOnly || directory === undefined || directory.place === 'off-thread') return false;
    const fd = this.#findAtOnce(directory, path);
    if (fd === undefined || fd < 0) return false;
    const isKnown = syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, target) === 0;
    syscalls.close(fd);
    return isKnown;
  }

  look(path: string): Maybe<FileStatus | undefined> {
    return run(this.#look(path));
  }

  async list(path: string, wanted: (name: string) => boolean, max: number): Promise<readonly Entry[] | undefined> {
    const found = await run(this.#find(path));
    if (found === undefined) return undefined;
    try {
      if (!found.status.isDirectory) return undefined;
      // By its descriptor: it is this directory that was found beneath the root, whatever its name leads to by now.
      const directory = await opendir(nameOfDescriptor(found.fd));
      const entries: Entry[] = [];
      for await (const { name } of directory) {
        if (entries.length >= max) break;
        if (!wanted(name)) continue;
        const status = await this.look(join(path, name));
        if (status !== undefined && (status.isFile || status.isDirectory)) entries.push({ name, status });
      }
      return entries;
    } catch (error) {
      assertNothingThrown(error);
      return undefined;
    } finally {
      syscalls.close(found.fd);
    }
  }

  *#look(path: string): Steps<FileStatus | undefined> {
    const found = yield* this.#find(path);
    if (found === undefined) return undefined;
    syscalls.close(found.fd);
    return found.status;
  }

  /** The way of almost every request: nothing has to be waited for. Undefined: something has. @throws {OpenError} */
  #openAtOnce(path: string): Found | undefined {
    const directory = this.#root.last;
    if (!this.#cachedOnly || !isMainThread() || directory === undefined || directory.place === 'off-thread') {
      return undefined;
    }
    if (!isPermitted(join(this.path, path))) return 'nothing';
    const fd = this.#findAtOnce(directory, path);
    if (fd === undefined || fd === -EAGAIN) return undefined;
    if (fd < 0) {
      assertNothing(fd);
      return 'nothing';
    }
    let found: Found | undefined;
    try {
      const before = this.#known.get(path);
      const status = statusOf(fd, before);
      if (status?.onSameDevice(directory.status)) found = this.#openFound(fd, path, status, before, directory.place);
      return found;
    } finally {
      if (!(found instanceof OpenedFile) || found.fd !== fd) syscalls.close(fd);
    }
  }

  /** A descriptor of O_PATH, or a negative errno; undefined: the root is another directory than before. */
  #findAtOnce(directory: Directory, path: string): number | undefined {
    const flags = O_PATH;
    if (!this.#root.throughLinks) {
      // Where there is no link on the whole way, from the top of the filesystem on, there is none out of the root; and it is
      // the root that is there now.
      const resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED;
      const fd = syscalls.openat2(AT_FDCWD, join(this.path, path), flags | O_CLOEXEC, 0, resolve);
      if (fd >= 0 || fd === -ENOENT || fd === -EAGAIN) return fd;
    }
    if (this.#root.currentAtOnce() === undefined) return undefined;
    return syscalls.openat2(directory.fd, path || '.', flags | O_CLOEXEC, 0, this.#resolve | RESOLVE_CACHED);
  }

  /** @param fd of O_PATH; the file takes it over if it could be read before, and is unchanged since. */
  #openFound(
    fd: number,
    path: string,
    status: FileStatus,
    before: FileStatus | undefined,
    place: Place,
  ): Found | undefined {
    if (status.isDirectory) return 'directory';
    if (!status.isFile) return 'nothing';
    if (status.size === 0 || status.blocks === 0) return undefined; // it may be made up as it is read
    if (status === before) return new OpenedFile(fd, path, status, { place, reopen: reopenKnown });
    const opened = reopenAtOnce(fd);
    if (opened === -EAGAIN) return undefined;
    if (readable(opened) === undefined) return 'nothing';
    this.#remember(path, status);
    return new OpenedFile(opened, path, status, { place });
  }

  #remember(path: string, status: FileStatus): void {
    const [oldest] = this.#known.size < KNOWN_MAX ? [] : this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(path, status);
  }

  *#open(path: string): Steps<Found> {
    const found = yield* this.#find(path);
    if (found === undefined) return 'nothing';
    const { fd, status, place } = found;
    try {
      if (status.isDirectory) return 'directory';
      if (!status.isFile) return 'nothing';
      const atOnce = place === 'off-thread' ? -EAGAIN : reopenAtOnce(fd);
      const opened = readable(atOnce === -EAGAIN ? yield* settled(reopenElsewhere(fd)) : atOnce);
      if (opened === undefined) return 'nothing';
      // Asked again: a server may have told the file's size only as it was opened.
      const current = place === 'off-thread' ? (statusOf(opened) ?? status) : status;
      const unsized = (current.size === 0 || current.blocks === 0) && (yield* this.#isInvented(opened, place));
      return new OpenedFile(opened, path, current, { place, unsized });
    } finally {
      syscalls.close(fd);
    }
  }

  /** Whether the kernel makes the file's content up as it is read (procfs): then it has no size that can be believed. */
  *#isInvented(fd: number, place: Place): Steps<boolean> {
    const statfs = Buffer.alloc(syscalls.STATFS_SIZE);
    const result =
      place === 'off-thread'
        ? yield* settled(waitForServer((done) => syscalls.fstatfsAsync(fd, statfs, done)))
        : syscalls.fstatfs(fd, statfs);
    return result === 0 && filesystemOfMagic(statfs.readUInt32LE(0)).kind === 'pseudo';
  }

  /** What is at the path: an O_PATH descriptor, its status, and whether it may be opened and closed on this thread. */
  *#find(path: string): Steps<{ fd: number; status: FileStatus; place: Place } | undefined> {
    if (!isPermitted(join(this.path, path))) return undefined;
    const directory = yield* this.#root.current();
    if (directory === undefined) return undefined;
    directory.hold();
    try {
      const fd = yield* this.#resolvePath(directory, path === '' ? '.' : path);
      if (fd < 0) {
        assertNothing(fd);
        return undefined;
      }
      const status = statusOf(fd);
      if (status === undefined) {
        syscalls.close(fd);
        return undefined;
      }
      const place = status.onSameDevice(directory.status) ? directory.place : 'off-thread';
      return { fd, status, place };
    } finally {
      directory.release();
    }
  }

  *#resolvePath(directory: Directory, path: string): Steps<number> {
    const flags = O_PATH;
    if (this.#cachedOnly) {
      const fd = syscalls.openat2(directory.fd, path, flags | O_CLOEXEC, 0, this.#resolve | RESOLVE_CACHED);
      if (fd !== -EAGAIN) return fd;
    }
    const wait = this.#leadsToServer(directory, path) ? waitForServer : callOffThread;
    let result = -EAGAIN;
    for (let race = 0; race < RACES_MAX && (result === -EAGAIN || result === -EINTR); race++) {
      result = yield* settled(
        wait((done) => syscalls.openat2Async(directory.fd, path, flags | O_CLOEXEC, 0, this.#resolve, done)),
      );
    }
    return result;
  }

  /** Whether the part of the path that is in memory leaves the root's own local device. */
  #leadsToServer(directory: Directory, path: string): boolean {
    if (directory.place === 'off-thread') return true;
    if (!this.#cachedOnly) return false;
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end);
      const fd = syscalls.openat2(directory.fd, parent, O_PATH | O_CLOEXEC, 0, this.#resolve | RESOLVE_CACHED);
      if (fd < 0) continue;
      const status = statusOf(fd);
      syscalls.close(fd);
      return status === undefined || !status.onSameDevice(directory.status);
    }
    return false;
  }
}
