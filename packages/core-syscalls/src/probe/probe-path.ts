/** What can be done with one path: it depends on the filesystem it is on. */
import { constants as fs, openSync, statfsSync, statSync } from 'node:fs';
import { constants } from '../constants.js';
import { closeQuietly } from '../descriptors/close-quietly.js';
import { directIoRefusal } from '../descriptors/direct-io-refusal.js';
import { type Filesystem, filesystemOfMagic } from '../descriptors/filesystem.js';
import { nameOfDescriptor } from '../descriptors/open-seen.js';
import { errnoName, SyscallError } from '../errors.js';
import { libcStatus } from '../libc.js';
import * as syscalls from '../syscalls/index.js';
import type { Feature } from './feature-names.js';
import { tryReadLease } from './read-lease.js';
import { feature } from './report.js';

/** Whether a file can be read past the page cache, and how reads must be aligned. */
export interface DirectIo extends Feature {
  /** Alignment of memory, in bytes; 4096 is assumed where the kernel does not tell. */
  readonly memoryAlign?: number;
  /** Alignment of offsets and lengths, in bytes. */
  readonly offsetAlign?: number;
}

/** What can be done with one path. */
export interface PathReport {
  /** The path, as it was given. */
  readonly path: string;
  /** Its name, or the magic number in hexadecimal; undefined if the path cannot be examined. */
  readonly filesystem: string | undefined;
  /** Whether sendfile can read it and its size can be believed. */
  readonly sendfileSource: Feature;
  /** Whether copies may share blocks (FICLONE); by the filesystem's kind, since trying would write. */
  readonly reflink: Feature;
  /** Whether it can be read with O_DIRECT. */
  readonly directIo: DirectIo;
  /** Whether this process may hold a read lease on it now. Tried, and given up at once. */
  readonly lease: Feature;
}

const ASSUMED_ALIGN = 4096;

const no = (reason: string): Feature => ({ available: false, reason });

/**
 * Examines a path without changing it. Opening it for reading is all that happens to it.
 * @throws {TypeError} if `path` is not a string. Everything else, a missing file included, is in the report.
 */
export function probePath(path: string): PathReport {
  if (typeof path !== 'string') throw new TypeError(`probePath takes a path as a string; got ${typeof path}`);
  const libc = libcStatus();
  if (!libc.available) return unusable(path, libc.reason);
  let fd: number;
  try {
    // Looked at first: opening a FIFO would wake its writer, and closing it lose what that writes (kernel-rules: fifo-open).
    const seen = statSync(path);
    if (!seen.isFile() && !seen.isDirectory()) return other(path);
    fd = openSync(path, fs.O_RDONLY | fs.O_NONBLOCK); // whatever it has become meanwhile must not make it wait
  } catch (error) {
    return unusable(path, (error as Error).message);
  }
  let report: PathReport;
  try {
    report = examine(path, fd);
  } catch (error) {
    report = unusable(path, (error as Error).message);
  }
  closeQuietly(fd);
  return report;
}

/** The report on a path of which nothing can be done, for one reason. */
function unusable(path: string, reason: string): PathReport {
  return {
    path,
    filesystem: undefined,
    sendfileSource: no(reason),
    reflink: no(reason),
    directIo: no(reason),
    lease: no(reason),
  };
}

/** The report on what is no regular file. */
const other = (path: string): PathReport => ({
  ...unusable(path, 'it is not a regular file'),
  filesystem: filesystemOfMagic(statfsSync(path).type).name,
});

function examine(path: string, fd: number): PathReport {
  const type = statfsSync(path).type;
  const kind = filesystemOfMagic(type);
  const buffer = Buffer.alloc(syscalls.STATX_SIZE);
  const { STATX_BASIC_STATS, STATX_DIOALIGN, AT_EMPTY_PATH } = constants;
  const status = syscalls.statx(fd, '', AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_DIOALIGN, buffer);
  const filesystem = kind.name;
  if (status < 0) return { ...unusable(path, new SyscallError(status, 'statx').message), filesystem };
  const { mode, size, mask, dioMemAlign, dioOffsetAlign } = syscalls.readStatx(buffer);
  if ((mode & fs.S_IFMT) !== fs.S_IFREG) return other(path);
  return {
    path,
    filesystem,
    sendfileSource: sendfileSource(kind, size),
    reflink: kind.reflink ? { available: true } : no(`${filesystem} is not known to share blocks between files`),
    directIo: directIo(fd, kind, (mask & STATX_DIOALIGN) === 0 ? undefined : [dioMemAlign, dioOffsetAlign]),
    lease: lease(fd),
  };
}

function sendfileSource(kind: Filesystem, size: number): Feature {
  const sendfile = feature('sendfile');
  if (!sendfile.available) return sendfile;
  if (kind.kind === 'pseudo') return no(`files on ${kind.name} have no size that can be trusted`);
  return size === 0 ? no('the file is empty') : { available: true };
}

/** @param told alignments of memory and of offsets, in bytes; undefined: statx does not tell. */
function directIo(fd: number, kind: Filesystem, told: readonly [number, number] | undefined): DirectIo {
  // Whether one other file can be read so says nothing of this one: only that it is turned off is about both.
  const known = feature('directIo');
  if (!known.available && known.reason?.includes('ZEROCOPY_DISABLE')) return known;
  const refused = directIoRefusal(kind, told?.[1]);
  if (refused !== undefined) return no(refused);
  if (told !== undefined) return { available: true, memoryAlign: told[0], offsetAlign: told[1] };
  try {
    closeQuietly(openSync(nameOfDescriptor(fd), fs.O_RDONLY | fs.O_NONBLOCK | constants.O_DIRECT));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return no(code === 'EINVAL' ? `${kind.name} has no direct I/O` : `it cannot be opened with O_DIRECT (${code})`);
  }
  return { available: true, memoryAlign: ASSUMED_ALIGN, offsetAlign: ASSUMED_ALIGN };
}

function lease(fd: number): Feature {
  const known = feature('lease');
  if (!known.available) return known;
  const result = tryReadLease(fd);
  if (result >= 0) return { available: true };
  if (result === -constants.EAGAIN) return no('a process has the file open for writing (EAGAIN)');
  if (result === -constants.EACCES) return no('the file belongs to another user, and CAP_LEASE is missing (EACCES)');
  return no(`the filesystem refuses leases (${errnoName(result)})`);
}
