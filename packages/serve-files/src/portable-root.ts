/**
 * The root where there is no openat2(2): the same answers by node:fs. Every name on the way is looked at before the file is
 * opened and again afterwards, and what was opened must be, by device and inode, what was found both times. A FIFO that is
 * put into a file's place just then may be opened for an instant, without waiting; nothing of it is served.
 */
import nodeFs, { type BigIntStats } from 'node:fs';
import { lstat, opendir, readlink, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, parse, resolve, sep } from 'node:path';
import { FileStatus } from './file-status.js';
import { OpenedFile } from './opened-file.js';
import { assertNothingThrown, type Entry, type Found, join, type Root, type SymlinkPolicy } from './root.js';

/** As many as the kernel follows on one way (path_resolution(7)). */
const LINKS_MAX = 40;
const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = nodeFs.constants;
/** Node defines on Windows neither of the two. */
const OPEN_FLAGS = O_RDONLY | (O_NONBLOCK ?? 0) | (O_NOFOLLOW ?? 0);

/** Where a path leads: an absolute path without links, and what is there. */
interface Place {
  readonly path: string;
  readonly status: FileStatus;
}

/** The code that openat2(2) would answer. */
const refused = (code: 'EXDEV' | 'ELOOP'): Error => Object.assign(new Error(code), { code });

const statusOf = (stats: BigIntStats): FileStatus => FileStatus.fromStats(stats);

export class PortableRoot implements Root {
  readonly path: string;
  readonly #symlinks: SymlinkPolicy;

  constructor(path: string, symlinks: SymlinkPolicy) {
    this.path = path;
    this.#symlinks = symlinks;
  }

  /** There is no system call by which it could be told. */
  statAtOnce(): boolean {
    return false;
  }

  async open(path: string): Promise<Found> {
    try {
      const before = await this.#place(path);
      if (before.status.isDirectory) return 'directory';
      if (!before.status.isFile) return 'nothing';
      const fd = await openFd(before.path);
      let file: OpenedFile | undefined;
      try {
        const status = statusOf(await fstat(fd));
        const after = await this.#place(path);
        const same = after.path === before.path && after.status.isSameFile(status) && before.status.isSameFile(status);
        if (!same || !status.isFile) return 'nothing';
        file = new OpenedFile(fd, path, status, { place: 'off-thread', unsized: isInvented(before.path) });
        return file;
      } finally {
        if (file === undefined) nodeFs.close(fd, () => {});
      }
    } catch (error) {
      assertNothingThrown(error);
      return 'nothing';
    }
  }

  async look(path: string): Promise<FileStatus | undefined> {
    try {
      return (await this.#place(path)).status;
    } catch (error) {
      assertNothingThrown(error);
      return undefined;
    }
  }

  async list(path: string, wanted: (name: string) => boolean, max: number): Promise<readonly Entry[] | undefined> {
    try {
      const before = await this.#place(path);
      if (!before.status.isDirectory) return undefined;
      const entries: Entry[] = [];
      for await (const { name } of await opendir(before.path)) {
        if (entries.length >= max) break;
        if (!wanted(name)) continue;
        const status = await this.look(join(path, name));
        if (status !== undefined && (status.isFile || status.isDirectory)) entries.push({ name, status });
      }
      const after = await this.#place(path);
      return after.path === before.path && after.status.isSameFile(before.status) ? entries : undefined;
    } catch (error) {
      assertNothingThrown(error);
      return undefined;
    }
  }

  /** Follows a path name by name, as openat2(2) does. */
  async #place(path: string): Promise<Place> {
    const follows = this.#symlinks === 'follow';
    const top = await realpath(this.path);
    /** Where it is: an absolute path without links. */
    let here = top;
    const names = path.split('/');
    let links = 0;
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (here === top && !follows) throw refused('EXDEV');
        here = dirname(here);
        continue;
      }
      const next = resolve(here, name);
      if (!(await lstat(next)).isSymbolicLink()) {
        here = next;
        continue;
      }
      if (this.#symlinks === 'none' || ++links > LINKS_MAX || MAGIC.test(next)) throw refused('ELOOP');
      const target = await readlink(next);
      if (isAbsolute(target)) {
        if (!follows) throw refused('EXDEV');
        here = parse(target).root;
      }
      names.unshift(...target.split(sep));
    }
    return { path: here, status: statusOf(await lstat(here, { bigint: true })) };
  }
}

/** Links of procfs that are no names but descriptors: RESOLVE_NO_MAGICLINKS of openat2(2). */
const MAGIC = /^\/proc\/[^/]+\/(?:task\/[^/]+\/)?(?:exe|cwd|root|(?:fd|map_files|ns)\/[^/]+)$/;

/** Whether the kernel makes the file up as it is read, so that its size cannot be believed (kernel-rules: st-size-lies). */
const isInvented = (path: string): boolean => /^\/(proc|sys)\//.test(path);

const fstat = (fd: number): Promise<BigIntStats> =>
  new Promise((resolve, reject) => {
    nodeFs.fstat(fd, { bigint: true }, (error, stats) => (error ? reject(error) : resolve(stats)));
  });

const openFd = (path: string): Promise<number> =>
  new Promise((resolve, reject) => {
    nodeFs.open(path, OPEN_FLAGS, (error, fd) => (error ? reject(error) : resolve(fd)));
  });
