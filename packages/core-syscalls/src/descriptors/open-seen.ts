/**
 * Opening a file that is known before it is opened. Opening a FIFO wakes a writer that waits for its reader
 * (kernel-rules: fifo-open), opening a device may rewind a tape, and opening a file of a FUSE or NFS mount asks its server
 * (kernel-rules: open-may-wait). O_PATH finds a file without opening it; /proc opens just that one, whatever its name leads
 * to by then.
 */
import { constants } from '../constants.js';
import { close } from '../syscalls/file.js';
import { openat2 } from '../syscalls/openat2.js';
import { type FileFacts, factsOf, isRegularFile } from './file-facts.js';
import { fileIdentity } from './file-status.js';
import { isLocalFilesystem } from './filesystem.js';
import { freeSpareDescriptors } from './spare-descriptors.js';

const { AT_FDCWD, EAGAIN, O_CLOEXEC, O_PATH, RESOLVE_CACHED } = constants;

/** The name by which this process reaches what one of its own descriptors refers to; also a descriptor of O_PATH. */
export const nameOfDescriptor = (fd: number): string => `/proc/self/fd/${fd}`;

/** A file that has been opened, and what it was when it was looked at. */
export interface OpenedFile {
  /** The receiver's to close. */
  readonly fd: number;
  /** Of the file that `fd` refers to, by whatever name it was found. */
  readonly facts: FileFacts;
}

/**
 * Opens a regular file on a local filesystem whose names are all in the kernel's memory: without waiting for a disk or a
 * server, and without touching anything else, be it a FIFO, a device or a file of another filesystem.
 *
 * @param flags of open(2), without O_CREAT and O_TRUNC.
 * @param directory an open directory that `path` starts from; default: the current one.
 * @param resolve RESOLVE_* flags for the look-up, besides RESOLVE_CACHED.
 * @param identity is filled in, where it is given: STATX_IDENTITY_SIZE bytes, as of copyStatxIdentity, of the file that was
 * opened, at the moment its facts were asked.
 * @returns the file; or a negative errno, after which it is to be opened on the thread pool: EAGAIN for all that is not
 * known to be such a file, and where there is no /proc.
 */
export function openLocalCached(
  path: string,
  flags: number,
  directory: number = AT_FDCWD,
  resolve: number = 0,
  identity?: Buffer,
): OpenedFile | number {
  const file = openOnce(path, flags, directory, resolve, identity);
  if (typeof file !== 'number' || !freeSpareDescriptors(file)) return file;
  return openOnce(path, flags, directory, resolve, identity);
}

function openOnce(
  path: string,
  flags: number,
  directory: number,
  resolve: number,
  identity: Buffer | undefined,
): OpenedFile | number {
  const seen = openat2(directory, path, O_PATH | O_CLOEXEC, 0, resolve | RESOLVE_CACHED);
  if (seen < 0) return seen;
  try {
    const facts = factsOf(seen, identity);
    if (!isRegularFile(facts) || !isLocalFilesystem(facts.filesystem)) return -EAGAIN;
    const fd = openat2(AT_FDCWD, nameOfDescriptor(seen), flags | O_CLOEXEC, 0, 0);
    return fd < 0 ? fd : { fd, facts };
  } finally {
    close(seen); // nothing was opened: there is nothing to flush
  }
}

/**
 * Asks something of what a path leads to, where its names are all in the kernel's memory: it is not opened, nobody is waited
 * for. Undefined: it is not known, or there is nothing.
 */
function seeCached<Answer>(path: string, ask: (fd: number) => Answer): Answer | undefined {
  const seen = openat2(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, RESOLVE_CACHED);
  if (seen < 0) return undefined;
  try {
    return ask(seen);
  } finally {
    close(seen);
  }
}

/** The facts of what a path leads to, if they are in memory: see {@link factsOf}. */
export const factsOfCached = (path: string): FileFacts | undefined => seeCached(path, (fd) => factsOf(fd));

/** Which file a path leads to, if that is in memory: see {@link fileIdentity}. */
export const identityOfCached = (path: string): string | undefined => seeCached(path, fileIdentity);
