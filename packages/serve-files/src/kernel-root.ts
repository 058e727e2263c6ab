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
import { constants, OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { filesystemOfMagic, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';
import { assertOpenPermitted } from '@zerocopy/transfer';
import { feature } from './feature.js';
import { FileStatus } from './file-status.js';
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
import { waitForDisk, waitForServer } from './waiting-lane.js';

const { AT_EMPTY_PATH, AT_FDCWD, AT_STATX_DONT_SYNC, O_CLOEXEC, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY } = constants;
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

const buffer = Buffer.alloc(syscalls.STATX_SIZE);

/** Of an open file, without asking a server. */
function statusOf(fd: number): FileStatus | undefined {
  const result = syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer);
  return result < 0 ? undefined : FileStatus.fromStatx(buffer);
}

/** The root's own descriptor. Calls on other threads hold it: the root may be replaced by another directory meanwhile. */
class Directory {
  readonly #descriptor: OwnedDescriptor;
  readonly status: FileStatus;
  /** Where calls for its files may be made. */
  readonly place: Place;
  #holders = 1;

  constructor(fd: number, status: FileStatus, place: Place) {
    this.#descriptor = OwnedDescriptor.adopt(fd);
    this.status = status;
    this.place = place;
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.#descriptor.close(); // O_PATH: there is no file to flush
  }
}

/** The directories of roots that are collected are closed. */
const collected = new FinalizationRegistry<{ directory: Directory | undefined }>(({ directory }) =>
  directory?.release(),
);

export class KernelRoot implements Root {
  readonly path: string;
  readonly #resolve: number;
  readonly #cachedOnly: boolean;
  /** In an object of its own, for the registry. */
  readonly #held: { directory: Directory | undefined } = { directory: undefined };

  /** @param path absolute; need not exist yet. */
  constructor(path: string, symlinks: SymlinkPolicy) {
    this.path = path;
    this.#resolve = RESOLVE[symlinks];
    this.#cachedOnly = feature('openat2Cached').available;
    collected.register(this, this.#held);
  }

  open(path: string): Maybe<Found> {
    return run(this.#open(path));
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
      const directory = await opendir(`/proc/self/fd/${found.fd}`);
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

  *#open(path: string): Steps<Found> {
    const found = yield* this.#find(path);
    if (found === undefined) return 'nothing';
    const { fd, status, place } = found;
    try {
      if (status.isDirectory) return 'directory';
      if (!status.isFile) return 'nothing';
      const opened = yield* this.#reopen(fd, place);
      if (opened < 0) {
        assertNothing(opened);
        return 'nothing';
      }
      // Asked again: a server may have told the file's size only as it was opened.
      const current = place === 'off-thread' ? (statusOf(opened) ?? status) : status;
      const unsized = (current.size === 0 || current.blocks === 0) && (yield* this.#isInvented(opened, place));
      return new OpenedFile(opened, path, current, place, unsized);
    } finally {
      syscalls.close(fd);
    }
  }

  /** The file that an O_PATH descriptor names, opened for reading. */
  *#reopen(fd: number, place: Place): Steps<number> {
    const name = `/proc/self/fd/${fd}`;
    const flags = O_RDONLY | O_CLOEXEC;
    if (place !== 'off-thread') {
      const opened = syscalls.openat2(AT_FDCWD, name, flags | O_NONBLOCK | O_CLOEXEC, 0, 0);
      if (opened !== -EAGAIN) return opened;
      // Another process holds a lease on it: the kernel waits until that is given up (kernel-rules: lease-break).
    }
    return yield* settled(waitForServer((done) => syscalls.openat2Async(AT_FDCWD, name, flags, 0, 0, done)));
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
    try {
      assertOpenPermitted(join(this.path, path), O_RDONLY);
    } catch (error) {
      assertNothingThrown(error);
      return undefined;
    }
    const directory = yield* this.#directory();
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
    const flags = O_PATH | O_CLOEXEC;
    if (this.#cachedOnly) {
      const fd = syscalls.openat2(directory.fd, path, flags | O_CLOEXEC, 0, this.#resolve | RESOLVE_CACHED);
      if (fd !== -EAGAIN) return fd;
    }
    const wait = this.#leadsToServer(directory, path) ? waitForServer : waitForDisk;
    let result = -EAGAIN;
    for (let race = 0; race < RACES_MAX && (result === -EAGAIN || result === -EINTR); race++) {
      result = yield* settled(wait((done) => syscalls.openat2Async(directory.fd, path, flags, 0, this.#resolve, done)));
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

  /** The root's descriptor, of the directory that is there now: deployments replace it. Undefined: there is none. */
  *#directory(): Steps<Directory | undefined> {
    const { directory } = this.#held;
    if (directory !== undefined) {
      const examined =
        directory.place !== 'off-thread'
          ? syscalls.statx(AT_FDCWD, this.path, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer)
          : undefined;
      const own = examined === undefined ? Buffer.alloc(syscalls.STATX_SIZE) : buffer;
      const result =
        examined ??
        (yield* settled(
          waitForServer((done) => syscalls.statxAsync(AT_FDCWD, this.path, 0, STATX_BASIC_STATS, own, done)),
        ));
      if (result === 0 && FileStatus.fromStatx(own).isSameFile(directory.status)) return directory;
    }
    return yield* this.#openDirectory();
  }

  *#openDirectory(): Steps<Directory | undefined> {
    const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    const fd = yield* settled(waitForServer((done) => syscalls.openat2Async(AT_FDCWD, this.path, flags, 0, 0, done)));
    const status = fd < 0 ? undefined : statusOf(fd);
    if (status === undefined) {
      if (fd >= 0) syscalls.close(fd);
      else if (fd !== -ENOENT) assertNothing(fd);
      return undefined;
    }
    const statfs = Buffer.alloc(syscalls.STATFS_SIZE);
    const asked = yield* settled(waitForServer((done) => syscalls.fstatfsAsync(fd, statfs, done)));
    const filesystem = asked === 0 ? filesystemOfMagic(statfs.readUInt32LE(0)) : undefined;
    const local = filesystem !== undefined && isLocalFilesystem(filesystem);
    const place = !local ? 'off-thread' : filesystem.kind === 'memory' ? 'memory' : 'here';
    const opened = new Directory(fd, status, place);
    // Others may have opened it meanwhile; each of them is right, and the last stays.
    this.#held.directory?.release();
    this.#held.directory = opened;
    return opened;
  }
}
