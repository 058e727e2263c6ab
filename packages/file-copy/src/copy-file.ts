/** A file copied by name: what fs.copyFile does, with the event loop told how far it is, and able to stop it. */
import { close, closeSync, fchmod, ftruncate } from 'node:fs';
import { promisify } from 'node:util';
import { type EndKind, SyscallError, type TransferResult } from '@zerocopy/core-syscalls';
import { closesOnThread, filesystemOf } from '@zerocopy/core-syscalls/descriptors';
import {
  abortError,
  CacheDrop,
  type CachePolicy,
  closeUnwaited,
  Transfer,
  type TransferEngine,
  TransferError,
  transferError,
} from '@zerocopy/transfer';
import { CopyEngine } from './copy-engine.js';
import { type End, openDestination, openSource, removeIfSame } from './ends.js';
import { type CopyPlan, planOf } from './options.js';
import { PipeCopy } from './pipe-copy.js';

/** Whether a copy shares the blocks of its source; see {@link CopyFileOptions.reflink}. */
export type Reflink = 'auto' | 'always' | 'never';

/** The options of {@link copyFile}. */
export interface CopyFileOptions {
  /**
   * A reflink shares the source's blocks until either file is changed (copy-on-write): one call, whatever the size.
   * 'auto' (the default): where the filesystem can. 'always': or else it is an error. 'never': the copy has blocks of
   * its own.
   */
  reflink?: Reflink;
  /** Fail with EEXIST if the destination exists. Default false: it is overwritten. */
  exclusive?: boolean;
  /**
   * 'drop': the pages that the copy brings into the page cache leave it again behind it; those that were there before
   * stay. The promise resolves when that is done: what has been written is on the disk by then, though not yet durable.
   * Default 'keep'.
   */
  cache?: CachePolicy;
  /** Bytes done, holes included, and the size of the source. */
  onProgress?(bytes: number, total?: number): void;
  /** Ends it, in whatever it waits, with an AbortError; the copy is removed. */
  signal?: AbortSignal;
}

type Path = string | Buffer | URL;

const BLOCK = 512;
const closeAsync = promisify(close);
const chmodAsync = promisify(fchmod);
const truncateAsync = promisify(ftruncate);

/**
 * Copies a file: by FICLONE, copy_file_range(2), splice(2), or read and write, whichever works first. As with
 * `fs.copyFile`, the destination is overwritten and gets the source's mode, a file copied onto itself stays what it is,
 * and after a failure the destination is removed, if it is a regular file, still the one that was opened, and anything
 * was done to it. Holes stay holes.
 *
 * A FIFO is copied until its writers have closed it; into a FIFO or a device, the bytes are written as they are. Neither
 * is given a mode, truncated or removed.
 *
 * @returns `bytes`: the size of the copy. @throws errors in the shape of fs.copyFile's (`syscall: 'copyfile'`, `path`,
 * `dest`): EISDIR, EINVAL for a source that is a device or a socket, what opening a file says; {@link TransferError} with
 * the bytes done for what comes after that, 'ABORT_ERR' included.
 * @see https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html, copy_file_range(2), splice(2)
 */
export async function copyFile(source: Path, destination: Path, given: CopyFileOptions = {}): Promise<TransferResult> {
  const plan = planOf(source, destination, given);
  const { signal } = plan;
  if (signal?.aborted) throw abortError(signal, 0);
  try {
    const from = await openSource(plan.source, signal);
    try {
      return await copyTo(from, plan);
    } finally {
      if (from.kind === 'file') closeUnwaited(from.fd); // that of a FIFO is its socket's
    }
  } catch (error) {
    throw named(error, plan);
  }
}

/** The error as fs.copyFile has it: about both files, whichever call it was that failed. */
function named(error: unknown, { context }: CopyPlan): unknown {
  const { errno, code } = error as NodeJS.ErrnoException;
  if (error instanceof TransferError) {
    const { cause } = error;
    const cut = (cause as NodeJS.ErrnoException | undefined)?.errno;
    return typeof cut === 'number' ? Object.assign(error, { errno: cut, syscall: 'copyfile', ...context }) : error;
  }
  if (typeof errno !== 'number' || code === 'ERR_ACCESS_DENIED') return error;
  const failure = new SyscallError(errno, 'copyfile', context);
  failure.cause = error;
  return failure;
}

async function copyTo(from: End, plan: CopyPlan): Promise<TransferResult> {
  let to: End;
  try {
    to = await openDestination(plan.destination, from.stat.mode, plan.exclusive, plan.signal);
  } catch (error) {
    if (from.kind === 'fifo') closeUnwaited(from.fd);
    throw error;
  }
  const copy = new Copy(from, to, plan);
  try {
    return await copy.run();
  } catch (error) {
    await copy.undo(error);
    throw error;
  } finally {
    await copy.closeDestination().catch(() => {}); // closed before, unless something failed, which is what is told
  }
}

/** So many bytes are copied sooner than a reflink and copy_file_range across devices are refused. */
const SMALL = 256 * 1024;

/** Filesystems on which a file has the mode that its mount says, and fchmod fails (kernel-rules: fchmod-eperm; libuv #2597). */
const FIXED_MODES: ReadonlySet<string> = new Set([
  'cifs',
  'smb',
  'vfat',
  'exfat',
  'ntfs3',
  'fuse',
  '9p',
  'vboxsf',
  'vmhgfs',
]);

/** A copy between two open ends. */
class Copy {
  readonly #from: End;
  readonly #to: End;
  readonly #plan: CopyPlan;
  #isOpen: boolean;
  /** What leaves the page cache behind the copy. */
  #drops: readonly CacheDrop[] = [];
  /** Whether the destination may no longer be what it was. */
  #touched: boolean;

  constructor(from: End, to: End, plan: CopyPlan) {
    this.#from = from;
    this.#to = to;
    this.#plan = plan;
    this.#isOpen = to.kind !== 'fifo'; // that of a FIFO is its socket's
    this.#touched = to.created;
  }

  run(): Promise<TransferResult> {
    const { kind, stat } = this.#from;
    // Before anything is cut off (kernel-rules: ficlone-same-file).
    if (this.#isSame) return this.#transfer(new SameFile(), 0);
    if (kind === 'fifo' || this.#to.kind === 'fifo') {
      const prepared = this.#prepare();
      const engine = new PipeCopy(this.#from, this.#to, () => this.closeDestination());
      return prepared.then(
        () => this.#transfer(engine, Number.POSITIVE_INFINITY, () => engine.close()),
        async (error: unknown) => {
          await engine.close();
          throw transferError(error, 0);
        },
      );
    }
    // Under /proc a file has no size until it is read (kernel-rules: st-size-lies).
    const size = stat.size === 0 ? Number.POSITIVE_INFINITY : stat.size;
    const engine = this.#fileEngine(size);
    return this.#transfer(engine, size, async () => engine.close());
  }

  get #isSame(): boolean {
    const { stat } = this.#to;
    return stat.dev === this.#from.stat.dev && stat.ino === this.#from.stat.ino;
  }

  #fileEngine(size: number): CopyEngine {
    const { stat } = this.#from;
    const { reflink } = this.#plan;
    const isFile = this.#to.kind === 'file';
    // Subvolumes of one filesystem differ in their device and can share blocks; for a few it is not worth the question.
    const worthAsking = this.#to.stat.dev === stat.dev || stat.size > SMALL || reflink === 'always';
    const unshared = reflink === 'never' ? "reflink is 'never'" : worthAsking ? undefined : 'small, across devices';
    const sparse = isFile && stat.blocks * BLOCK < stat.size;
    const { cache } = this.#plan;
    this.#drops = [
      CacheDrop.of(cache, this.#from.fd, 0),
      isFile ? CacheDrop.of(cache, this.#to.fd, 0, 'written') : undefined,
    ].filter((drop) => drop !== undefined);
    return new CopyEngine({
      room: () => this.#drops.map((drop) => drop.room()).find((wait) => wait !== undefined),
      source: this.#from.fd,
      destination: this.#to.fd,
      size,
      sparse,
      unshared,
      clone: reflink === 'always' ? 'always' : isFile && unshared === undefined,
      sequential: isFile ? undefined : 'the destination is a device',
      prepare: () => this.#prepare(),
      finish: async (bytes) => {
        if (sparse) await truncateAsync(this.#to.fd, bytes);
        await this.closeDestination(); // some filesystems say only now that there was no room
      },
    });
  }

  /** The destination as the source is: empty, and of its mode. */
  async #prepare(): Promise<void> {
    const { fd, kind, stat } = this.#to;
    if (kind !== 'file') return;
    // The mode first: if it cannot be had, nothing is lost. What the umask took from a new file is given back.
    if (this.#from.kind === 'file' && stat.mode !== this.#from.stat.mode) {
      await chmodAsync(fd, this.#from.stat.mode & 0o7777).catch((error: NodeJS.ErrnoException) => {
        const isFixed = error.code === 'EPERM' || error.code === 'EOPNOTSUPP' || error.code === 'ENOSYS';
        if (!isFixed || !FIXED_MODES.has(filesystemOf(fd).name)) throw error;
      });
    }
    this.#touched = true;
    if (stat.size > 0) await truncateAsync(fd, 0);
  }

  #transfer(engine: TransferEngine, length: number, close?: () => Promise<void>): Promise<TransferResult> {
    const { onProgress, signal } = this.#plan;
    return new Promise((resolve, reject) => {
      const end = async (error: TransferError | null, result: TransferResult): Promise<void> => {
        await close?.();
        await Promise.all(this.#drops.map((drop) => drop.end()));
        if (error === null) resolve(result);
        else reject(error);
      };
      new Transfer({
        engine,
        length,
        signal,
        onMoved: (bytes) => {
          if (engine.method === 'reflink') return; // its bytes have not been near the cache
          for (const drop of this.#drops) drop.moved(bytes);
        },
        // Bytes done: none is told of a copy that has some to do.
        onProgress:
          onProgress === undefined
            ? undefined
            : (bytes, total) => {
                if (bytes > 0 || total === undefined) onProgress(bytes, total);
              },
        onEnd: (error, result) => void end(error, result),
        about: {
          source: endKind(this.#from.kind),
          destination: endKind(this.#to.kind),
          detail: { source: this.#from.kind, destination: this.#to.kind, ...this.#plan.context },
        },
      }).start();
    });
  }

  /** Idempotent. */
  async closeDestination(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (closesOnThread(this.#to.fd)) closeSync(this.#to.fd);
    else await closeAsync(this.#to.fd);
  }

  /** Removes what there is of the copy. */
  async undo(error: unknown): Promise<void> {
    if (!this.#touched || this.#to.kind !== 'file' || this.#isSame) return;
    await removeIfSame(this.#plan.destination, this.#to.stat).catch(({ code }: NodeJS.ErrnoException) => {
      if (code !== 'ENOENT') (error as Error).message += `; what there is of the copy could not be removed (${code})`;
    });
  }
}

/** Nothing to do, and told as every copy is. */
class SameFile implements TransferEngine {
  readonly method = 'copy';
  readonly syscall = 'copyfile';
  readonly reason = 'source and destination are the same file';

  attempt(): number {
    return 0;
  }

  wait(): never {
    throw new Error('there is nothing to wait for');
  }
}

/** What is published of an end: a FIFO is a pipe, a device a stream like any other. */
const endKind = (kind: string): EndKind => (kind === 'file' ? 'file' : kind === 'fifo' ? 'pipe' : 'stream');
