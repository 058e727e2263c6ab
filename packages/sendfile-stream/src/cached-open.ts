/**
 * Opening without a thread-pool hop: openat2(RESOLVE_CACHED) opens a file whose directory entries are in memory, or
 * says EAGAIN without having touched a disk. A hop costs about 30 µs, this about 2.
 */
import fs from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { constants, feature, syscalls } from '@zerocopy/core-syscalls';
import { nextTick, setImmediate } from '@zerocopy/transfer';
import { isRegularFile, isUnlinked } from './source.js';

const { AT_FDCWD, O_CLOEXEC, O_NONBLOCK, O_RDONLY, RESOLVE_CACHED } = constants;
// O_NONBLOCK: a FIFO must not make it wait for a writer, nor a leased file for its holder.
const FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

// If somebody replaces them (a virtual file system, a queue for EMFILE), theirs are called, as by fs.createReadStream.
const { open: nodeOpen, close: nodeClose } = fs;

/**
 * A descriptor for reading a regular file, or -1: then open it in the ordinary way, which knows the error.
 * Never in a worker: what Node itself has not opened there, it would not close when the worker is terminated.
 */
export function openCached(path: unknown): number {
  if (typeof path !== 'string' || path.includes('\0') || !isMainThread || fs.open !== nodeOpen) return -1;
  if (!feature('openat2Cached').available) return -1;
  const fd = syscalls.openat2(AT_FDCWD, path, FLAGS, 0, RESOLVE_CACHED);
  if (fd < 0) return -1;
  if (isRegularFile(fd)) return fd;
  syscalls.close(fd);
  return -1;
}

/** Closes what {@link openCached} has opened, unless that could wait for the disk: false, and fs.close is to do it. */
export function closeAtOnce(fd: number): boolean {
  if (fs.close !== nodeClose || isUnlinked(fd)) return false;
  syscalls.close(fd);
  return true;
}

/** Descriptors that `cachedFs` has opened itself. */
const opened = new Set<number>();

/** For the `fs` option of fs.ReadStream: Node's functions, but that warm files are opened and closed at once. */
export const cachedFs = {
  open(
    path: string,
    flags: string,
    mode: number,
    callback: (error: NodeJS.ErrnoException | null, fd: number) => void,
  ): void {
    const fd = flags === 'r' ? openCached(path) : -1;
    if (fd < 0) fs.open(path, flags, mode, callback);
    else {
      opened.add(fd);
      nextTick(callback, null, fd);
    }
  },
  read: (...args: Parameters<typeof fs.read>): void => fs.read(...args),
  close(fd: number, callback: (error?: NodeJS.ErrnoException | null) => void): void {
    if (!opened.delete(fd) || !closeAtOnce(fd)) fs.close(fd, callback);
    // Node's close takes a hop, in which what is under way on the destination ends ('finish' before 'close').
    else setImmediate(() => setImmediate(callback));
  },
};
