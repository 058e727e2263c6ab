/**
 * An open file, and a second descriptor of it with O_DIRECT.
 *
 * The first one is the caller's, and goes through the page cache. What is aligned goes by the second one; what is not (the
 * start and the end of a write) goes by the first. No block is ever read and written back: bytes that the caller has not
 * given are not written, and so nothing that another process writes beside them is lost. Both see the same bytes, since
 * the kernel writes dirty pages back before a direct request, and throws pages away before a direct write.
 *
 *   direct ──► copy     for good, where the filesystem refuses it at the first request that is aligned as was assumed
 */
import { close, open } from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import {
  closeQuietly,
  closesOnThread,
  filesystemOf,
  isLocalFilesystem,
  nameOfDescriptor,
} from '@zerocopy/core-syscalls/descriptors';
import { poolFor } from './aligned-memory.js';
import { type Alignment, foundAlignment, toldAlignment, UNALIGNED } from './alignment.js';
import { ChunkList } from './chunk-list.js';
import { accessOf, refusalOf } from './refusal.js';
import { type Done, detached, ThreadRequests } from './requests.js';
import { RingReads } from './ring-requests.js';

const { F_GETFL, O_DIRECT, O_DSYNC, O_NOATIME, O_SYNC, O_WRONLY } = constants;
/** What else holds for the second descriptor if it does for the first: when a write is durable, and whether a read is noted. */
const KEPT = O_SYNC | O_DSYNC | O_NOATIME;
/** Bytes of one request: a thread is not kept for longer than some milliseconds. */
const REQUEST_MAX = 16 * 1024 * 1024;
/** Pieces of memory of one request: IOV_MAX is 1024. */
const PIECES_MAX = 64;

/** How a descriptor with O_DIRECT is had. */
export interface DirectOptions {
  /** Why it is not even to be tried, in words. */
  readonly refused?: string | undefined;
  /** Direct reads go by io_uring where they may: their callbacks are called in any asynchronous context. */
  readonly ring?: boolean;
  /** Called if direct I/O turns out to be refused later: `method` is 'copy' from then on. */
  readonly onCopy?: ((reason: string) => void) | undefined;
}

/** By which descriptor requests go, and why not by the one with O_DIRECT. */
interface Opened {
  readonly direct: number;
  readonly alignment: Alignment;
  readonly reason: string | undefined;
}

const openAsync = (path: string, flags: number): Promise<number> =>
  new Promise((resolve, reject) => {
    open(path, flags, (error, fd) => (error === null || error === undefined ? resolve(fd) : reject(error)));
  });

/** In a worker on its own thread where that cannot wait (kernel-rules: worker-close-cancelled). */
async function closeFile(fd: number): Promise<void> {
  if (closesOnThread(fd)) closeQuietly(fd);
  else await new Promise<void>((resolve) => close(fd, () => resolve()));
}

const copies = (reason: string): Opened => ({ direct: -1, alignment: UNALIGNED, reason });

async function openDirectly(fd: number, requests: ThreadRequests): Promise<Opened> {
  const refused = refusalOf(fd);
  if (refused !== undefined) return copies(refused);
  const access = accessOf(fd);
  const kept = Math.max(0, syscalls.fcntl(fd, F_GETFL)) & KEPT;
  let direct: number;
  try {
    // Not by its path, which may lead elsewhere by now, nor by fcntl(F_SETFL) (kernel-rules: direct-create).
    direct = await openAsync(nameOfDescriptor(fd), access | O_DIRECT | kept);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return copies(
      code === 'EINVAL'
        ? `${filesystemOf(fd).name} has no direct I/O`
        : `the file cannot be opened a second time (${code})`,
    );
  }
  const tryRead = (memory: Buffer, length: number): Promise<number> =>
    new Promise((resolve) =>
      requests.read(direct, [memory.subarray(0, length)], length, 0, (error, bytes) => resolve(error?.errno ?? bytes)),
    );
  const alignment = toldAlignment(direct) ?? (await foundAlignment(access === O_WRONLY ? undefined : tryRead));
  if (alignment !== undefined) return { direct, alignment, reason: undefined };
  await closeFile(direct);
  return copies(`${filesystemOf(fd).name} refuses direct reads of every alignment`);
}

/** Whether an error says that it cannot be done directly, and not that it cannot be done. */
const isRefusal = ({ code }: NodeJS.ErrnoException): boolean => code === 'EINVAL' || code === 'EOPNOTSUPP';

/** Of memory in pieces, `length` bytes from `from` on. */
function piecesOf(memory: readonly Buffer[], from: number, length: number): readonly Buffer[] {
  const pieces: Buffer[] = [];
  let offset = 0;
  for (const piece of memory) {
    const part = piece.subarray(Math.max(0, from - offset), Math.max(0, from + length - offset));
    if (part.length > 0) pieces.push(part);
    offset += piece.length;
  }
  return pieces;
}

/** See above. */
export class DirectDescriptor {
  readonly #fd: number;
  readonly #requests: ThreadRequests;
  readonly #ring: RingReads | undefined;
  readonly #onCopy: DirectOptions['onCopy'];
  readonly #direct: number;
  /** Bytes of whole pages, at least (kernel-rules: direct-and-cached). */
  readonly #unit: number;
  #alignment: Alignment;
  #reason: string | undefined;

  private constructor(
    fd: number,
    requests: ThreadRequests,
    ring: RingReads | undefined,
    opened: Opened,
    onCopy: DirectOptions['onCopy'],
  ) {
    this.#fd = fd;
    this.#requests = requests;
    this.#ring = ring;
    this.#onCopy = onCopy;
    this.#direct = opened.direct;
    this.#alignment = opened.alignment;
    this.#reason = opened.reason;
    this.#unit = Math.max(opened.alignment.offset, syscalls.getpagesize());
  }

  /** @param fd an open file, which stays the caller's, and open until {@link close} has resolved. */
  static async over(fd: number, options: DirectOptions = {}): Promise<DirectDescriptor> {
    const { ring = false, refused, onCopy } = options;
    const isLocal = isLocalFilesystem(filesystemOf(fd));
    const requests = new ThreadRequests(isLocal ? 'disk' : 'server');
    const reads = ring && isLocal ? new RingReads(requests) : undefined;
    const opened = refused === undefined ? await openDirectly(fd, requests) : copies(refused);
    return new DirectDescriptor(fd, requests, reads, opened, onCopy);
  }

  /** 'direct', or 'copy' for requests that go through the page cache. */
  get method(): 'direct' | 'copy' {
    return this.#reason === undefined ? 'direct' : 'copy';
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#reason;
  }

  /** What has to be a multiple of what, at present. */
  get alignment(): Alignment {
    return this.#alignment;
  }

  /** How direct reads are made at present. */
  get readsBy(): 'io_uring' | 'threads' {
    return this.#reason === undefined && this.#ring?.isByRing === true ? 'io_uring' : 'threads';
  }

  /**
   * Reads until `length` bytes are there, or the file has ended.
   * @param memory one piece after the other, at least `length` bytes. Like `position` and `length`, in bytes, aligned as
   * `alignment` says for reads.
   * @param done gets the bytes; with an error those before it.
   */
  read(memory: readonly Buffer[], position: number, length: number, done: Done): void {
    let total = 0;
    let refused: NodeJS.ErrnoException | undefined;
    const step = (): void => {
      const isDirect = this.#reason === undefined && refused === undefined;
      // A count that is no multiple: the end, as a rule; the rest is asked for from the last multiple on.
      const from = isDirect ? total - (total % this.#alignment.readOffset) : total;
      const fd = isDirect ? this.#direct : this.#fd;
      const count = Math.min(length - from, REQUEST_MAX);
      const ended: Done = (error, bytes) => {
        if (error !== null) {
          if (isDirect && isRefusal(error)) {
            refused = error;
            step();
          } else done(error, total);
          return;
        }
        if (refused !== undefined) this.#copyInstead(refused);
        const reached = from + bytes;
        if (reached <= total) return done(null, total);
        total = reached;
        if (total >= length) done(null, total);
        else step();
      };
      const [first, ...others] = piecesOf(memory, from, count);
      if (first === undefined) done(detached(), total);
      else if (isDirect && this.#ring !== undefined && others.length === 0) {
        this.#ring.read(fd, first, count, position + from, ended);
      } else this.#requests.read(fd, [first, ...others], count, position + from, ended);
    };
    step();
  }

  /**
   * Writes all of the chunks, one after the other: directly what is whole pages, by the page cache what is left before
   * and behind them.
   * @param done gets how many bytes are in the file, from `position` on, also with an error.
   */
  write(chunks: readonly Uint8Array[], position: number, done: Done): void {
    const list = new ChunkList(chunks);
    let written = 0;
    const ended: Done = (error, bytes) => {
      written += bytes;
      if (error !== null) return done(error, written);
      list.take(bytes);
      step();
    };
    const step = (): void => {
      if (list.left === 0) return done(null, written);
      if (list.front === 0) return done(detached(), written);
      const at = position + written;
      const over = at % this.#unit;
      if (this.#reason !== undefined) this.#writeCached(list, at, list.left, ended);
      else if (over > 0) this.#writeCached(list, at, Math.min(list.left, this.#unit - over), ended);
      else if (list.left < this.#unit) this.#writeCached(list, at, list.left, ended);
      else this.#writeDirectly(list, at, ended);
    };
    step();
  }

  /** fdatasync(2) of the file. */
  datasync(done: (error: NodeJS.ErrnoException | null) => void): void {
    this.#requests.datasync(this.#fd, done);
  }

  /** Closes the descriptor with O_DIRECT. To be called once, when no request is under way. */
  async close(): Promise<void> {
    this.#ring?.close();
    if (this.#direct >= 0) await closeFile(this.#direct);
  }

  #writeCached(list: ChunkList, at: number, length: number, ended: Done): void {
    this.#write(this.#fd, [list.peek(Math.min(list.front, length, REQUEST_MAX))], at, ended);
  }

  #writeDirectly(list: ChunkList, at: number, ended: Done): void {
    const whole = (length: number): number => length - (length % this.#unit);
    const pieces = list.alignedPieces(this.#alignment.memory, this.#unit, whole(REQUEST_MAX), PIECES_MAX);
    if (pieces.length > 0) return this.#write(this.#direct, pieces, at, ended);
    const pool = poolFor(whole(list.left));
    try {
      pool.take((buffer) => {
        const length = Math.min(whole(list.left), buffer.length);
        const given: Done = (error, bytes) => {
          pool.give(buffer);
          ended(error, bytes);
        };
        if (list.copy(buffer, length) < length) given(detached(), 0);
        else this.#write(this.#direct, [buffer.subarray(0, length)], at, given);
      });
    } catch (error) {
      ended(error as Error, 0);
    }
  }

  /** One request, after which the loop goes on; 0 bytes are none that could be repeated for ever. */
  #write(fd: number, memory: readonly Uint8Array[], at: number, ended: Done): void {
    const written: Done = (error, bytes) => ended(error === null && bytes === 0 ? nothingWritten() : error, bytes);
    this.#requests.write(fd, memory, at, (refused, bytes) => {
      if (refused === null || fd !== this.#direct || !isRefusal(refused)) return written(refused, bytes);
      this.#requests.write(this.#fd, memory, at, (error, bytes) => {
        if (error === null) this.#copyInstead(refused);
        written(error, bytes);
      });
    });
  }

  /** A direct request was refused, and the same through the page cache was not: it is not about the request. */
  #copyInstead({ code }: NodeJS.ErrnoException): void {
    if (this.#reason !== undefined) return;
    this.#reason = `${filesystemOf(this.#fd).name} refused a direct request (${code})`;
    this.#alignment = UNALIGNED;
    this.#onCopy?.(this.#reason);
  }
}

const nothingWritten = (): Error => Object.assign(new Error('EIO: nothing was written, write'), { code: 'EIO' });
