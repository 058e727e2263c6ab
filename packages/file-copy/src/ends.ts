/**
 * The two ends of a copy: what a path leads to is looked at before it is opened, since opening a FIFO waits or wakes its
 * other end, and opening a device may do anything (kernel-rules: fifo-open). Only a regular file is truncated, given a
 * mode, or removed.
 */
import { close, fstat, open, type Stats, stat, unlink } from 'node:fs';
import { promisify } from 'node:util';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { abortError, setTimeout } from '@zerocopy/transfer';

const { EINVAL, EISDIR, F_GETFL, F_SETFL, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
/** open(2): a terminal must not become the one that controls this process. */
const O_NOCTTY = 0o400;
const statAsync = promisify(stat);
const fstatAsync = promisify(fstat);
const unlinkAsync = promisify(unlink);
/** Milliseconds between two looks whether a FIFO has a reader: nothing in Linux tells. */
const READER_INTERVAL = 20;

/** What an open end of a copy is. */
export interface End {
  readonly fd: number;
  readonly stat: Stats;
  readonly kind: 'file' | 'fifo' | 'device';
  /** Whether it was made by being opened. */
  readonly created: boolean;
}

function kindOf(stats: Stats): End['kind'] | undefined {
  if (stats.isFile()) return 'file';
  if (stats.isFIFO()) return 'fifo';
  return stats.isCharacterDevice() || stats.isBlockDevice() ? 'device' : undefined;
}

/** What a path leads to, or undefined: whatever is wrong with it, opening it says so in Node's words. */
const look = (path: string | Buffer): Promise<Stats | undefined> => statAsync(path).catch(() => undefined);

/**
 * fs.open that can be aborted while it waits: for a lease, for a server. What it opens after that is closed again.
 * @param undo of an open that creates a file. It is waited for, since a file that is removed after the promise has been
 * rejected may be the one that the caller's next copy has found there, and has written to.
 */
function openUnlessAborted(
  path: string | Buffer,
  flags: number,
  mode: number,
  signal: AbortSignal | undefined,
  undo?: (fd: number) => Promise<void>,
): Promise<number> {
  return new Promise((resolve, reject) => {
    let aborted = false;
    const fail = (): void => reject(abortError(signal as AbortSignal, 0));
    const onAbort = (): void => {
      aborted = true;
      if (undo === undefined) fail();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    open(path, flags, mode, (error, fd) => {
      signal?.removeEventListener('abort', onAbort);
      if (error !== null && error !== undefined) reject(error);
      else if (!aborted) resolve(fd);
      else if (undo === undefined) closeLate(fd);
      else
        undo(fd)
          .then(fail, fail)
          .finally(() => closeLate(fd)); // the abort is told, whether it could be removed or not
    });
  });
}

const closeLate = (fd: number): void => close(fd, () => {});

async function opened(fd: number, created: boolean): Promise<End> {
  try {
    const stats = await fstatAsync(fd);
    const kind = kindOf(stats);
    if (kind === undefined) throw new SyscallError(stats.isDirectory() ? EISDIR : EINVAL, 'copyfile');
    return { fd, stat: stats, kind, created };
  } catch (error) {
    closeLate(fd);
    throw error;
  }
}

/**
 * Opens what is to be copied: a regular file or a FIFO.
 * @throws {SyscallError} EISDIR; EINVAL for a device or a socket, which is not opened. Node's error of fs.open.
 */
export async function openSource(path: string | Buffer, signal: AbortSignal | undefined): Promise<End> {
  const seen = await look(path);
  const kind = seen === undefined ? 'file' : kindOf(seen);
  if (kind !== 'file' && kind !== 'fifo') throw new SyscallError(seen?.isDirectory() ? EISDIR : EINVAL, 'copyfile');
  const flags = O_RDONLY | (kind === 'fifo' ? O_NONBLOCK : 0);
  return opened(await openUnlessAborted(path, flags, 0, signal), false);
}

/**
 * Opens what is to be written to, as it is: it is truncated later.
 * @throws Node's error of fs.open; {@link SyscallError} EISDIR, EINVAL.
 */
export async function openDestination(
  path: string | Buffer,
  mode: number,
  exclusive: boolean,
  signal: AbortSignal | undefined,
): Promise<End> {
  const seen = await look(path);
  const kind = seen === undefined ? 'file' : kindOf(seen);
  const create = O_CREAT | (exclusive ? O_EXCL : 0);
  if (kind === 'fifo' && !exclusive) return opened(await openForReader(path, signal), false);
  if (kind === 'device' && !exclusive) {
    const fd = await openUnlessAborted(path, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0, signal);
    syscalls.fcntl(fd, F_SETFL, syscalls.fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return opened(fd, false);
  }
  const created = seen === undefined;
  const undo = async (fd: number): Promise<void> => removeIfSame(path, await fstatAsync(fd));
  return opened(await openUnlessAborted(path, O_WRONLY | create, mode, signal, created ? undo : undefined), created);
}

/** A FIFO, when it has a reader: until then an open that does not wait says ENXIO. */
async function openForReader(path: string | Buffer, signal: AbortSignal | undefined): Promise<number> {
  for (;;) {
    try {
      return await openUnlessAborted(path, O_WRONLY | O_NONBLOCK, 0, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, READER_INTERVAL));
    if (signal?.aborted) throw abortError(signal, 0);
  }
}

/** Removes the file at `path` if it is `ours`, and not another that has taken its place. */
export async function removeIfSame(path: string | Buffer, ours: Stats): Promise<void> {
  const there = await look(path);
  if (there?.isFile() && there.dev === ours.dev && there.ino === ours.ino) await unlinkAsync(path);
}
