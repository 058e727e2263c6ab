/** A file that is open, with what has been asked of it once, for as long as any transfer uses it. */
import nodeFs from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { libcStatus, syscalls } from '@zerocopy/core-syscalls';
import { type FileFacts, freeSpareDescriptors } from '@zerocopy/core-syscalls/descriptors';
import { isFileHandle, OwnedDescriptor, transferError } from '@zerocopy/transfer';
import { closeAtOnce, closeOnThread, mayOpenAtOnce, openAtOnce } from './cached-open.js';
import { openFiles } from './kept-files.js';
import type { OpenFileCache } from './open-file-cache.js';
import { inspectSource, type SourceFacts } from './source.js';

const openOffThread = promisify(nodeFs.open);
const closeOffThread = promisify(nodeFs.close);

const closeByNode = (fd: number): Promise<void> | undefined => (closeOnThread(fd) ? undefined : closeOffThread(fd));

/** What {@link OpenFile} is made of, besides the descriptor. */
export interface OpenFileOptions {
  /** Told to subscribers of `zerocopy:transfer`, and in errors. */
  readonly path?: string | undefined;
  /** Closes the descriptor, once, after the last reference has been released. Default: fs.close. */
  readonly close?: ((fd: number) => Promise<void> | void) | undefined;
  /** @internal What was asked of it when it was opened. */
  readonly facts?: FileFacts | undefined;
  /** @internal As of copyStatxIdentity, then. */
  readonly identity?: Buffer | undefined;
}

/**
 * An open file, counted by reference: it is closed when everyone who holds it has released it. The one who makes it has the
 * first reference. What the kernel must know of the file is asked once, when it is made, and not again for each transfer:
 * whoever keeps it for longer has to see to it that it is still the file that is meant.
 */
export class OpenFile {
  /** The descriptor; valid until the last reference has been released. */
  readonly fd: number;
  /** Bytes, when it was made; 0 for files without a size of their own (procfs, FIFOs, devices). */
  readonly size: number;
  /** As given; undefined for a descriptor or FileHandle. */
  readonly path: string | undefined;
  /** @internal */
  readonly facts: SourceFacts;
  readonly #close: (fd: number) => Promise<void> | void;
  /** Set by {@link openCached}, which knows how to close the file without asking for its facts once more. */
  #opened: FileFacts | undefined;
  readonly #identity: Buffer | undefined;
  #references = 1;

  /**
   * Takes `fd` over: it is closed with the last reference.
   * @param fd open for reading.
   */
  constructor(fd: number, options: OpenFileOptions = {}) {
    // Not in the signature: two of them are not in the declarations.
    const { path, close = closeByNode, facts, identity } = options;
    this.fd = fd;
    this.path = path;
    this.#close = close;
    this.#identity = identity;
    this.facts = inspectSource(fd, facts);
    this.size = this.facts.sendable ? this.facts.size : 0;
  }

  /** Opens `path` for reading. Rejects with the error of fs.open. */
  static async open(path: string | Buffer | URL): Promise<OpenFile> {
    return OpenFile.openCached(path) ?? openByNode(path);
  }

  /**
   * Opens `path` if that can be done at once, without waiting for a disk or a server; undefined if not, or if it fails.
   * @param identity what {@link isOfStatx} is to compare with: it is filled in.
   */
  static openCached(path: string | Buffer | URL, identity?: Buffer): OpenFile | undefined {
    const file = openAtOnce(path, identity);
    if (file === undefined) return undefined;
    const { fd, facts } = file;
    const opened = new OpenFile(fd, { path: nameOf(path), close: closeSoon, facts, identity });
    opened.#opened = facts;
    return opened;
  }

  /** @internal Whether a buffer that statx(2) has filled tells of this file, unchanged since it was opened. */
  isOfStatx(buffer: Buffer): boolean {
    return this.#identity !== undefined && syscalls.hasStatxIdentity(buffer, this.#identity);
  }

  /** One more reference. @throws {Error} ERR_INVALID_STATE if the last one has been released already. */
  hold(): void {
    if (this.#references === 0) {
      const error = new Error(`the open file${this.path === undefined ? '' : ` '${this.path}'`} has been released`);
      throw Object.assign(error, { code: 'ERR_INVALID_STATE' });
    }
    this.#references++;
  }

  /** One reference less. @returns a promise of the close, if this was the last one and the close takes time. */
  release(): Promise<void> | undefined {
    if (this.#references === 0 || --this.#references > 0) return undefined;
    return this.#close(this.fd) ?? undefined;
  }

  /**
   * @internal {@link release}, where nothing of the file is needed any more in the turn of the event loop in which
   * {@link openCached} has opened it: what was asked of it then is still so. Nothing is done if anyone else holds the file,
   * or if its close might wait.
   */
  releaseInSameTurn(): void {
    if (this.#references !== 1 || this.#opened === undefined) return;
    if (closeAtOnce(this.fd, this.#opened)) this.#references = 0;
  }
}

const closeSoon = (fd: number): Promise<void> | undefined => (closeAtOnce(fd) ? undefined : closeOffThread(fd));

/** What `sendFile` takes for a file. */
export type FileSource = string | Buffer | URL | FileHandle | number | OpenFile;

/** A path as text, for people. */
export function nameOf(path: string | Uint8Array | URL): string {
  return path instanceof Uint8Array ? Buffer.from(path).toString() : String(path);
}

async function openByNode(path: string | Buffer | URL): Promise<OpenFile> {
  const fd = await openOffThread(path, 'r').catch((error: unknown) => {
    if (!freeSpareDescriptors(error)) throw error;
    return openOffThread(path, 'r');
  });
  return new OpenFile(fd, { path: nameOf(path) });
}

/**
 * A reference to the file that `source` names, to be released: opened, or, of a descriptor, a duplicate, since the
 * caller may close theirs, and its number be used again, in the same tick (kernel-rules: fd-reuse).
 * @param keepOpen whether it may be one that was kept open since an earlier call, and be kept for the next.
 */
export function openSource(source: FileSource, keepOpen: boolean): OpenFile | Promise<OpenFile> {
  if (typeof source === 'string')
    return (keepOpen ? openShared(source) : undefined) ?? OpenFile.openCached(source) ?? openByNode(source);
  if (source instanceof OpenFile) {
    source.hold();
    return source;
  }
  if (typeof source === 'number') return duplicateOf(source);
  if (isFileHandle(source)) return duplicateOf(source.fd);
  return openByNode(source);
}

/**
 * A reference, to be released, to a file that is kept open for the next transfers, too: since an earlier one, or from now on;
 * undefined if this one is not kept, or cannot be opened at once.
 */
export function openShared(path: string): OpenFile | undefined {
  const cache = openFiles() as OpenFileCache<OpenFile> | undefined;
  if (cache === undefined || !mayOpenAtOnce(path)) return undefined;
  const kept = cache.get(path);
  if (kept !== undefined) return kept;
  if (!cache.wants(path)) return undefined;
  const file = OpenFile.openCached(path, Buffer.allocUnsafeSlow(syscalls.STATX_IDENTITY_SIZE));
  if (file !== undefined) cache.keep(path, file);
  return file;
}

function duplicateOf(fd: number): OpenFile {
  if (!libcStatus().available) return new OpenFile(fd, { close: () => {} });
  const own = duplicate(fd);
  return new OpenFile(own.fd, { close: () => own.close() });
}

/** @throws {TransferError} as the system call has failed, for instance EBADF. */
export function duplicate(fd: number): OwnedDescriptor {
  try {
    return OwnedDescriptor.duplicate(fd);
  } catch (error) {
    throw transferError(error, 0);
  }
}
