/**
 * The file that a body is received into: opened, and in the end kept or removed.
 *
 *   open ──► written to ──keep──► closed, and in its place
 *                    └─discard──► closed; the temporary file is removed, any other stays with what has been written
 */
import { fstat, fsync, link, open, rename, type Stats, stat, unlink } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, libcStatus, SyscallError } from '@zerocopy/core-syscalls';
import { type FileFacts, factsOf, factsOfCached, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { assertOpenPermitted, isURL, pathText } from '@zerocopy/transfer';
import { closeWritten } from './close-written.js';

type Path = string | Buffer;
type Done = (error: Error | null) => void;

const { EAGAIN, ENODEV, ENXIO, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_PATH, O_RDWR, O_TRUNC, O_WRONLY } = constants;

const SLASH = 0x2f;

const FLAGS: Readonly<Record<string, number>> = {
  w: O_WRONLY | O_CREAT | O_TRUNC,
  wx: O_WRONLY | O_CREAT | O_TRUNC | O_EXCL,
  a: O_WRONLY | O_CREAT | O_APPEND,
  ax: O_WRONLY | O_CREAT | O_APPEND | O_EXCL,
  'r+': O_RDWR,
};

/** The strings that {@link flagsOf} knows. */
export const FLAG_NAMES: readonly string[] = Object.keys(FLAGS);

/** Flags of open(2), from one of node:fs's strings or a number; undefined where they are none, or do not allow writing. */
export function flagsOf(flags: unknown): number | undefined {
  if (typeof flags === 'string') return Object.hasOwn(FLAGS, flags) ? FLAGS[flags] : undefined;
  if (!Number.isInteger(flags)) return undefined;
  return ((flags as number) & (O_WRONLY | O_RDWR)) === 0 ? undefined : (flags as number);
}

/** What the file is opened with. */
export interface FileOptions {
  /** Of open(2). */
  readonly flags: number;
  /** Of a file that is made; the umask is taken off. */
  readonly mode: number;
  /** Whether it gets its name when it is whole. */
  readonly atomic: boolean;
  /** Whether it is on the disk before it gets its name, or is closed. */
  readonly flush: boolean;
}

/** In the directory of `path`, and so on its filesystem; short, whatever the length of its name. */
function temporaryNameFor(path: Path): Path {
  // node:crypto takes longer to load than this package does: only those who receive files need it.
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const name = `.upload-${randomBytes(8).toString('hex')}.tmp`;
  if (typeof path === 'string') return join(dirname(path), name);
  return Buffer.concat([path.subarray(0, path.lastIndexOf('/') + 1), Buffer.from(name)]);
}

/** The directory that relative paths start from; undefined where it has been removed. */
function workingDirectory(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}

/** A directory is opened, too: it refuses by itself, and changes nothing. */
const isReceiver = (stats: Stats): boolean => stats.isFile() || stats.isDirectory();

/** See the head of this file. */
export class ReceivedFile {
  /** The descriptor, once it is open. */
  fd = -1;
  readonly #path: Path;
  readonly #options: FileOptions;
  readonly #opened: Path;
  readonly #exclusive: boolean;
  /** Where its names start from. */
  readonly #directory: string | undefined;

  constructor(path: string | Buffer | URL, options: FileOptions) {
    this.#path = isURL(path) ? fileURLToPath(path) : typeof path === 'string' ? path : Buffer.from(path);
    this.#options = options;
    this.#opened = options.atomic ? temporaryNameFor(this.#path) : this.#path;
    this.#exclusive = (options.flags & O_EXCL) !== 0;
    this.#directory = options.atomic ? workingDirectory() : undefined;
  }

  /** Whether writes go to the file's end, wherever that is. */
  get appends(): boolean {
    return (this.#options.flags & O_APPEND) !== 0;
  }

  /** Whether it is empty when it is open: nothing lies behind what is written. */
  get startsEmpty(): boolean {
    return (this.#options.flags & (O_TRUNC | O_EXCL)) !== 0;
  }

  /** Whether what has been written stays where the body breaks off. */
  get keepsParts(): boolean {
    return !this.#options.atomic;
  }

  /**
   * Opens it, on the thread pool. Calls back with Node's own error, or ENODEV where it is no regular file: that is not opened,
   * since whoever reads a FIFO would take the closing for the end (kernel-rules: fifo-open).
   */
  open(done: Done): void {
    const { flags, mode, atomic } = this.#options;
    if (atomic || this.#exclusive) this.#make(flags | O_EXCL, mode, done);
    else if (this.#isKnownRegular()) this.#openSeen(flags | O_NONBLOCK, done);
    else if ((flags & O_CREAT) === 0) this.#openKnown(done);
    else {
      // Most are new: what this makes need not be looked at.
      this.#make(flags | O_EXCL, mode, (error) => {
        if ((error as NodeJS.ErrnoException | null)?.code === 'EEXIST') this.#openKnown(done);
        else done(error);
      });
    }
  }

  /** Closes it, as a success: with `atomic`, it has its name then. */
  keep(done: Done): void {
    if (!this.#options.flush) return this.#close(done);
    fsync(this.fd, (error) => {
      if (error) this.discard(() => done(error));
      else this.#close(done);
    });
  }

  /** Closes it, as a failure. */
  discard(done: () => void): void {
    const { fd } = this;
    this.fd = -1;
    if (fd < 0) return done();
    closeWritten(fd, () => this.#remove(done));
  }

  #make(flags: number, mode: number, done: Done): void {
    open(this.#opened, flags, mode, (error, fd) => {
      if (error === null) this.fd = fd;
      done(error);
    });
  }

  /** By what is in memory: a turn of the thread pool less for a file that is written again. */
  #isKnownRegular(): boolean {
    if (!libcStatus().available || typeof this.#opened !== 'string') return false;
    try {
      assertOpenPermitted(this.#opened, O_PATH);
      const facts = factsOfCached(this.#opened);
      return facts !== undefined && isRegularFile(facts);
    } catch {
      return false; // it may be written and not be read, or cannot be looked at
    }
  }

  /** Opens what is there, if it is a regular file. What cannot be looked at is opened: the error is that of open(2). */
  #openKnown(done: Done): void {
    stat(this.#opened, (error, stats) => {
      if (error === null && !isReceiver(stats)) return done(this.#notRegular());
      // Whatever it has become meanwhile: a FIFO without a reader would hold a thread of the pool until one comes.
      this.#openSeen(this.#options.flags | O_NONBLOCK, done);
    });
  }

  #openSeen(flags: number, done: Done): void {
    open(this.#opened, flags, this.#options.mode, (error, fd) => {
      // Of a lease that another process holds: opened without the flag, the file is ours when that has given it up.
      if (error?.errno === -EAGAIN && (flags & O_NONBLOCK) !== 0) return this.#openSeen(flags & ~O_NONBLOCK, done);
      if (error !== null) return done(error.errno === -ENXIO ? this.#notRegular() : error);
      this.fd = fd;
      this.#seeOpened((failure, isFile) => {
        if (failure === null && isFile) done(null);
        else this.discard(() => done(failure ?? this.#notRegular()));
      });
    });
  }

  /** What has been opened: of the kernel, where that can be asked without a server. */
  #seeOpened(seen: (error: Error | null, isFile: boolean) => void): void {
    let facts: FileFacts | undefined;
    try {
      if (libcStatus().available) facts = factsOf(this.fd);
    } catch {} // fstat tells the same, and its callback who asks
    if (facts !== undefined) seen(null, isRegularFile(facts));
    else fstat(this.fd, (error, stats) => seen(error, error === null && stats.isFile()));
  }

  #notRegular(): Error {
    return new SyscallError(-ENODEV, 'open', { path: pathText(this.#path) });
  }

  #close(done: Done): void {
    const { fd } = this;
    this.fd = -1;
    // A server, or a quota, may tell only now that a write has failed.
    closeWritten(fd, (error) => {
      if (error) this.#remove(() => done(error));
      else if (this.#options.atomic) this.#name(done);
      else done(null);
    });
  }

  #name(done: Done): void {
    const named = (error: Error | null): void => {
      if (error !== null || this.#exclusive) this.#remove(() => done(error));
      else done(null);
    };
    const path = this.#fromDirectory(this.#path);
    if (this.#exclusive) link(this.#fromDirectory(this.#opened), path, named);
    else rename(this.#fromDirectory(this.#opened), path, named);
  }

  #remove(done: () => void): void {
    if (this.#options.atomic) unlink(this.#fromDirectory(this.#opened), () => done());
    else done();
  }

  /**
   * `path`, wherever process.chdir has led to since it was opened. As long as it has led nowhere, relative paths stay so: the
   * directory may have been given another name, which process.cwd does not know.
   */
  #fromDirectory(path: Path): Path {
    if (this.#directory === undefined || path[0] === '/' || path[0] === SLASH) return path;
    if (workingDirectory() === this.#directory) return path;
    if (typeof path === 'string') return `${this.#directory}/${path}`;
    return Buffer.concat([Buffer.from(`${this.#directory}/`), path]);
  }
}
