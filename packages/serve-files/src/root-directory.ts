/** The directory that a root is, which deployments replace by another of the same name: its descriptor, as of now. */
import { constants, OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { filesystemOfMagic, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';
import { FileStatus } from './file-status.js';
import { type Steps, settled } from './maybe.js';
import type { Place } from './opened-file.js';
import { assertNothing } from './root.js';
import { waitForServer } from './waiting-lane.js';

const { AT_EMPTY_PATH, AT_FDCWD, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;
const { EAGAIN, ENOENT, O_CLOEXEC, O_DIRECTORY, O_PATH, RESOLVE_CACHED, RESOLVE_NO_SYMLINKS } = constants;

const buffer = Buffer.alloc(syscalls.STATX_SIZE);

/**
 * Of an open file, without asking a server.
 * @param before what it may be still.
 */
export function statusOf(fd: number, before?: FileStatus): FileStatus | undefined {
  const result = syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer);
  if (result < 0) return undefined;
  return before?.isOfStatx(buffer) ? before : FileStatus.fromStatx(buffer);
}

/** The root's own descriptor. Calls on other threads hold it: the root may be replaced by another directory meanwhile. */
export class Directory {
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

export class RootDirectory {
  readonly #path: string;
  /** Whether a link leads to the root itself, so that no path to a file is without one. */
  #throughLinks = false;
  /** In an object of its own, for the registry. */
  readonly #held: { directory: Directory | undefined } = { directory: undefined };

  /** @param path absolute; need not exist yet. */
  constructor(path: string) {
    this.#path = path;
    collected.register(this, this.#held);
  }

  /** The one that was there the last time. */
  get last(): Directory | undefined {
    return this.#held.directory;
  }

  get throughLinks(): boolean {
    return this.#throughLinks;
  }

  /** The root's descriptor, if it is that of the directory that is there now, as far as nobody has to be waited for. */
  currentAtOnce(): Directory | undefined {
    const { directory } = this.#held;
    if (directory === undefined || directory.place === 'off-thread') return undefined;
    const result = syscalls.statx(AT_FDCWD, this.#path, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer);
    return result === 0 && directory.status.isSameFileAs(buffer) ? directory : undefined;
  }

  /** The root's descriptor, of the directory that is there now: deployments replace it. Undefined: there is none. */
  *current(): Steps<Directory | undefined> {
    const { directory } = this.#held;
    if (directory?.place === 'off-thread') {
      const own = Buffer.alloc(syscalls.STATX_SIZE);
      const asking = waitForServer((done) =>
        syscalls.statxAsync(AT_FDCWD, this.#path, 0, STATX_BASIC_STATS, own, done),
      );
      if ((yield* settled(asking)) === 0 && directory.status.isSameFileAs(own)) return directory;
    }
    return this.currentAtOnce() ?? (yield* this.#open());
  }

  *#open(): Steps<Directory | undefined> {
    const flags = O_PATH | O_DIRECTORY;
    const fd = yield* settled(
      waitForServer((done) => syscalls.openat2Async(AT_FDCWD, this.#path, flags | O_CLOEXEC, 0, 0, done)),
    );
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
    const flat = syscalls.openat2(AT_FDCWD, this.#path, flags | O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS | RESOLVE_CACHED);
    this.#throughLinks = flat < 0 && flat !== -EAGAIN;
    if (flat >= 0) syscalls.close(flat);
    // Others may have opened it meanwhile; each of them is right, and the last stays.
    this.#held.directory?.release();
    this.#held.directory = opened;
    return opened;
  }
}
