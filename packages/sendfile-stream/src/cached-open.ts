/**
 * Opening and closing without a thread-pool hop, for files on this machine's own disks whose names are in the kernel's
 * memory. A hop costs about 30 µs, this about 3. What is a FIFO, a device or a directory, or lies on a filesystem that
 * may wait for a server (kernel-rules: open-may-wait), is left to node:fs and its thread pool, untouched.
 */
import fs from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import {
  closeQuietly,
  closesAtOnce,
  closesOnThread,
  type FileFacts,
  freeSpareDescriptors,
  isMainThread,
  nameOfDescriptor,
  type OpenedFile,
  openLocalCached,
  withSpareDescriptors,
} from '@zerocopy/core-syscalls/descriptors';
import { nextTick, setImmediate } from '@zerocopy/transfer';
import { feature } from './feature.js';

// O_NONBLOCK: a leased file must not make it wait for the holder.
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

// If a program replaces them (a virtual file system, a queue for EMFILE), theirs are called, as by fs.createReadStream.
const { open: nodeOpen, close: nodeClose } = fs;

/** With Node's permission model in force it is Node that opens: it looks at what the path leads to as well. */
const hasPermissionModel = (process as { permission?: unknown }).permission !== undefined;

/**
 * Opens a regular file for reading, at once; undefined: it is to be opened by node:fs, which knows the error as well.
 * Never in a worker: what Node itself has not opened there, it would not close when the worker is terminated.
 * @param identity is filled in, where it is given: see copyStatxIdentity.
 */
export function openAtOnce(path: unknown, identity?: Buffer): OpenedFile | undefined {
  if (typeof path !== 'string' || !mayOpenAtOnce(path)) return undefined;
  const file = openLocalCached(path, FLAGS, undefined, undefined, identity);
  return typeof file === 'number' ? undefined : file;
}

/** Whether {@link openAtOnce} may be tried: a file that was opened so may not be used where it would not be opened now. */
export function mayOpenAtOnce(path: string): boolean {
  if (path.includes('\0') || !isMainThread()) return false;
  return !hasPermissionModel && fs.open === nodeOpen && feature('openat2Cached').available;
}

/**
 * Closes what {@link openAtOnce} has opened, unless that could wait: false, and fs.close is to do it.
 * @param known its facts, where it was opened in this turn of the event loop.
 */
export function closeAtOnce(fd: number, known?: FileFacts): boolean {
  if (fs.close !== nodeClose || !closesAtOnce(fd, known)) return false;
  syscalls.close(fd);
  return true;
}

/** Closes what node:fs has opened for reading, where a worker does so itself; false: fs.close is to do it. */
export function closeOnThread(fd: number): boolean {
  if (fs.close !== nodeClose || !closesOnThread(fd)) return false;
  closeQuietly(fd);
  return true;
}

/** Node's close takes a hop, in which what is under way on the destination ends ('finish' before 'close'). */
export function afterAHop(callback: () => void): void {
  setImmediate(setImmediate, callback);
}

/** Descriptors that `cachedFs` has opened itself. */
const opened = new Set<number>();

/** Whether `cachedFs` has opened it without node:fs: it is the kernel's, whatever has been put in the place of node:fs. */
export const isOpenedAtOnce = (fd: number): boolean => opened.has(fd);

/**
 * One more descriptor of a file that {@link openAtOnce} has opened, with a position of its own: to be closed by `cachedFs`.
 * @returns a negative errno, if there are no more descriptors.
 */
export function reopenAtOnce(fd: number): number {
  const name = nameOfDescriptor(fd);
  const own = withSpareDescriptors(() => syscalls.openat2(constants.AT_FDCWD, name, FLAGS | constants.O_CLOEXEC, 0, 0));
  if (own >= 0) opened.add(own);
  return own;
}

/** For the `fs` option of fs.ReadStream: Node's functions, but that warm local files are opened and closed at once. */
export const cachedFs = {
  open(
    path: string,
    flags: string,
    mode: number,
    callback: (error: NodeJS.ErrnoException | null, fd: number) => void,
  ): void {
    const file = flags === 'r' ? openAtOnce(path) : undefined;
    if (file === undefined) {
      fs.open(path, flags, mode, (error, fd) => {
        if (freeSpareDescriptors(error)) fs.open(path, flags, mode, callback);
        else callback(error, fd);
      });
    } else {
      opened.add(file.fd);
      nextTick(callback, null, file.fd);
    }
  },
  read: (...args: Parameters<typeof fs.read>): void => fs.read(...args),
  close(fd: number, callback: (error?: NodeJS.ErrnoException | null) => void): void {
    if (opened.delete(fd) ? closeAtOnce(fd) : closeOnThread(fd)) afterAHop(callback);
    else fs.close(fd, callback);
  },
};
