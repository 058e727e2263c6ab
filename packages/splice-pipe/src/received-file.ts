/**
 * The file that a body is received into: opened, and in the end kept or removed.
 *
 *   open ──► written to ──keep──► closed, and in its place
 *                    └─discard──► closed; the temporary file is removed, any other stays with what has been written
 */
import { randomBytes } from 'node:crypto';
import { close, fstatSync, fsync, link, open, rename, unlink } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, SyscallError } from '@zerocopy/core-syscalls';
import { isURL, pathText } from '@zerocopy/transfer';

type Path = string | Buffer;
type Done = (error: Error | null) => void;

const { EAGAIN, ENODEV, ENXIO, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_RDWR, O_TRUNC, O_WRONLY } = constants;

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
  const name = `.upload-${randomBytes(8).toString('hex')}.tmp`;
  if (typeof path === 'string') return join(dirname(path), name);
  return Buffer.concat([path.subarray(0, path.lastIndexOf('/') + 1), Buffer.from(name)]);
}

/** See the head of this file. */
export class ReceivedFile {
  /** The descriptor, once it is open. */
  fd = -1;
  readonly #path: Path;
  readonly #options: FileOptions;
  readonly #opened: Path;
  readonly #exclusive: boolean;

  constructor(path: string | Buffer | URL, options: FileOptions) {
    this.#path = isURL(path) ? fileURLToPath(path) : typeof path === 'string' ? path : Buffer.from(path);
    this.#options = options;
    this.#opened = options.atomic ? temporaryNameFor(this.#path) : this.#path;
    this.#exclusive = (options.flags & O_EXCL) !== 0;
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

  /** Opens it, on the thread pool. Calls back with Node's own error, or ENODEV where it is no regular file. */
  open(done: Done): void {
    const { flags, mode, atomic } = this.#options;
    // A FIFO without a reader would hold a thread of the pool until one comes.
    this.#open((atomic ? flags | O_EXCL : flags) | O_NONBLOCK, mode, done);
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
    close(fd, () => this.#remove(done));
  }

  #open(flags: number, mode: number, done: Done): void {
    open(this.#opened, flags, mode, (error, fd) => {
      // Of a lease that another process holds: opened without the flag, the file is ours when that has given it up.
      if (error?.errno === -EAGAIN && (flags & O_NONBLOCK) !== 0) this.#open(flags & ~O_NONBLOCK, mode, done);
      else if (error?.errno === -ENXIO) done(this.#notRegular());
      else if (error) done(error);
      else {
        this.fd = fd;
        if (fstatSync(fd).isFile()) done(null);
        else this.discard(() => done(this.#notRegular()));
      }
    });
  }

  #notRegular(): Error {
    return new SyscallError(-ENODEV, 'open', { path: pathText(this.#path) });
  }

  #close(done: Done): void {
    const { fd } = this;
    this.fd = -1;
    // A server, or a quota, may tell only now that a write has failed.
    close(fd, (error) => {
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
    if (this.#exclusive) link(this.#opened, this.#path, named);
    else rename(this.#opened, this.#path, named);
  }

  #remove(done: () => void): void {
    if (this.#options.atomic) unlink(this.#opened, () => done());
    else done();
  }
}
