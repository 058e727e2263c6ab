/** A file copied by name: what fs.copyFile does, with the event loop told how far it is, and able to stop it. */
import { close, fchmod, fstatSync, ftruncate, open, type Stats, unlink } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { constants, feature, SyscallError, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import { uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import { abortError, closeQuietly, readOptions, runOffThread, Transfer, transferError } from '@zerocopy/transfer';
import { CopyEngine } from './copy-engine.js';
import { validateCopyArguments } from './options.js';

export type Reflink = 'auto' | 'always' | 'never';

export interface CopyFileOptions {
  /**
   * A reflink shares the source's blocks until either file is changed (copy-on-write): one call, whatever the size.
   * 'auto' (the default): where the filesystem can. 'always': or else it is an error. 'never': the copy has blocks of
   * its own.
   */
  reflink?: Reflink;
  /** Fail with EEXIST if the destination exists. Default false: it is overwritten. */
  exclusive?: boolean;
  /** Bytes done, holes included, and the size of the source. */
  onProgress?(bytes: number, total?: number): void;
  signal?: AbortSignal;
}

type Path = string | Buffer | URL;

const { EINVAL, EISDIR, FICLONE, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants;
const BLOCK = 512;
const openAsync = promisify(open);
const closeAsync = promisify(close);
const chmodAsync = promisify(fchmod);
const truncateAsync = promisify(ftruncate);
const unlinkAsync = promisify(unlink);

const nameOf = (path: Path): string => (path instanceof URL ? fileURLToPath(path) : String(path));

/**
 * Copies a file: by FICLONE, copy_file_range(2), splice(2), or read and write, whichever works first. As with
 * `fs.copyFile`, the destination is overwritten and gets the source's mode, a file copied onto itself stays what it is,
 * and after a failure the destination is removed. Holes stay holes.
 *
 * @returns `bytes`: the size of the copy. @throws Node's own error where a file cannot be opened;
 * {@link TransferError} with the bytes done for what comes after that, 'ABORT_ERR' included.
 * @see https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html, copy_file_range(2), splice(2)
 */
export async function copyFile(source: Path, destination: Path, given: CopyFileOptions = {}): Promise<TransferResult> {
  const options = readOptions<CopyFileOptions>(given, ['reflink', 'exclusive', 'onProgress', 'signal']);
  validateCopyArguments(source, destination, options);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  const from = await openAsync(source, O_RDONLY);
  try {
    const context = { path: nameOf(source), dest: nameOf(destination) };
    const stat = fstatSync(from);
    if (!stat.isFile()) throw new SyscallError(stat.isDirectory() ? EISDIR : EINVAL, 'copyfile', context);
    const to = await openAsync(destination, O_WRONLY | O_CREAT | (options.exclusive === true ? O_EXCL : 0), stat.mode);
    try {
      return await copyAndClose(from, stat, to, options);
    } catch (error) {
      await unlinkAsync(destination).catch(({ code }: NodeJS.ErrnoException) => {
        if (code !== 'ENOENT') (error as Error).message += `; what there is of the copy could not be removed (${code})`;
      });
      throw error;
    }
  } finally {
    closeQuietly(from); // there is nothing to wait for
  }
}

async function copyAndClose(from: number, stat: Stats, to: number, options: CopyFileOptions): Promise<TransferResult> {
  let result: TransferResult;
  try {
    result = await copyOpen(from, stat, to, options);
  } catch (error) {
    await closeAsync(to).catch(() => {}); // whatever fails now comes of it
    throw error;
  }
  try {
    await closeAsync(to); // some filesystems say only now that there was no room
  } catch (error) {
    throw transferError(error, result.bytes);
  }
  return result;
}

/** So many bytes are copied sooner than a reflink and copy_file_range across devices are refused. */
const SMALL = 256 * 1024;

async function copyOpen(from: number, stat: Stats, to: number, options: CopyFileOptions): Promise<TransferResult> {
  const { reflink = 'auto', onProgress, signal } = options;
  const startedAt = performance.now();
  let target: Stats;
  try {
    target = fstatSync(to);
  } catch (error) {
    throw transferError(error, 0);
  }
  // Before anything is cut off (rule 26).
  if (target.dev === stat.dev && target.ino === stat.ino) {
    const fallbackReason = 'source and destination are the same file';
    return { bytes: 0, method: 'copy', fallbackReason, syscalls: 0, durationMs: performance.now() - startedAt };
  }
  try {
    if (target.size > 0) await truncateAsync(to, 0);
    if (target.mode !== stat.mode) await chmodAsync(to, stat.mode & 0o7777); // what the umask took from a new one
  } catch (error) {
    throw transferError(error, 0);
  }
  // Subvolumes of one filesystem differ in their device and can share blocks; for a few it is not worth the question.
  const worthAsking = target.dev === stat.dev || stat.size > SMALL || reflink === 'always';
  const unshared = reflink === 'never' ? "reflink is 'never'" : worthAsking ? undefined : 'small, across devices';
  if (unshared === undefined) {
    const cloned = await clone(to, from);
    if (cloned === 0) {
      onProgress?.(stat.size, stat.size);
      return { bytes: stat.size, method: 'reflink', syscalls: 1, durationMs: performance.now() - startedAt };
    }
    if (reflink === 'always') throw transferError(new SyscallError(cloned, 'ioctl(FICLONE)'), 0);
  }
  // Under /proc a file has no size until it is read (rule 8).
  const size = stat.size === 0 ? Number.POSITIVE_INFINITY : stat.size;
  const sparse = stat.blocks * BLOCK < stat.size;
  const result = await new Promise<TransferResult>((resolve, reject) => {
    const engine = new CopyEngine({ source: from, destination: to, size, sparse, unshared });
    new Transfer({
      engine,
      length: size,
      signal,
      onProgress,
      onEnd(error, ended) {
        engine.close();
        if (error === null) resolve(ended);
        else reject(error);
      },
    }).start();
  });
  try {
    if (sparse) await truncateAsync(to, result.bytes);
  } catch (error) {
    throw transferError(error, result.bytes);
  }
  return result;
}

/** 0, or a negative errno. Where copy_file_range is turned off reflinks are too: it makes them as well. */
function clone(to: number, from: number): Promise<number> {
  if (!feature('copyFileRange').available) return Promise.resolve(-constants.ENOSYS);
  const ficlone = (done: (result: number) => void): void => syscalls.ioctlAsync(to, FICLONE, from, done);
  return new Promise((resolve) => runOffThread((done) => uninterruptedAsync(ficlone, done), resolve));
}
