/**
 * Address space that stays readable for as long as an ArrayBuffer over it is left.
 *
 * A view of unmapped memory is a segfault, and a view of an address that was mapped again shows another file
 * (kernel-rules: detached-views). So a region counts who may still touch it: its owner, each ArrayBuffer over it, one
 * that it was transferred to included, and each call under way on another thread. The last of them to go unmaps it. A
 * closed mapping's bytes are replaced by zeros before that.
 *
 *   reserved ──► holding a file ──► zeros ──► unmapped (no references left)
 *                      │              └─────► retired: an ArrayBuffer may be left, of which nothing is known; zeros for ever
 *                      └────────────────────────┘
 */
import { check, constants, type ErrorContext, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { callOffThread } from '@zerocopy/transfer';
import { externalMemory, type MemoryUser } from './external-memory.js';
import { MAX_VIEW } from './view.js';

const { MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } = constants;
const READ_WRITE = PROT_READ | PROT_WRITE;
const EMPTY = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

/** What this thread has mapped, as {@link mappingStats} counts it. */
export interface MappingStats {
  /** Regions of address space in use by this thread's mappings, streams and pools. */
  regions: number;
  /** Of those: closed, or forgotten, and waiting for the ArrayBuffers over them to be collected. */
  lingering: number;
  /** Bytes of address space of all of them. */
  bytes: number;
}

const stats: MappingStats = { regions: 0, lingering: 0, bytes: 0 };

/** What this package has mapped in this thread now. */
export function mappingStats(): MappingStats {
  return { ...stats };
}

/** Bytes of address space that this thread may retire: more is refused as if there were no memory for it. */
const RETIRED_MAX = 2 ** 40;
let retired = 0;

/** Which part of a file is mapped, and how. */
export interface FilePlacement {
  readonly fd: number;
  /** In the file, in bytes: a multiple of the page size. */
  readonly offset: number;
  /** MAP_SHARED or MAP_PRIVATE. */
  readonly sharing: number;
}

/** A piece of address space, and who may still touch it. */
export class Region implements MemoryUser {
  readonly address: number;
  /** Bytes of address space: whole pages. */
  readonly size: number;
  /** Bytes of a page of what is mapped here. */
  readonly pageSize: number;
  /** What was reserved: more than `size` where pages are huge, and the address has to be a multiple of one. */
  readonly #reserved: { readonly address: number; readonly size: number };
  #retired = false;
  /** Bytes from the start that hold something: views end before that. */
  #used = 0;
  #references = 1;
  #owned = true;
  readonly #onUnused: () => void;

  /**
   * @param size in bytes; rounded up to whole pages. @param onUnused called once, before it is unmapped.
   * @param pageSize bytes of a page of the file that it is for; see mappingPageSize.
   * @throws {SyscallError} ENOMEM.
   */
  constructor(size: number, onUnused: () => void, pageSize: number = syscalls.getpagesize()) {
    this.pageSize = pageSize;
    this.size = wholePages(size, pageSize);
    const reserved = this.size + pageSize - syscalls.getpagesize();
    if (retired + reserved > RETIRED_MAX) throw new SyscallError(constants.ENOMEM, 'mmap');
    const address = check(syscalls.mmap(null, reserved, PROT_NONE, EMPTY, -1, 0), 'mmap');
    this.#reserved = { address, size: reserved };
    this.address = wholePages(address, pageSize);
    this.#onUnused = onUnused;
    stats.regions++;
    stats.bytes += this.size;
  }

  get used(): number {
    return this.#used;
  }

  /**
   * Maps a file from `from` to `to`, both in bytes from the region's start and the first a whole number of pages. What
   * was there is replaced at once: nothing in between is ever seen.
   * @throws {SyscallError}
   */
  placeFile(from: number, to: number, file: FilePlacement, context?: ErrorContext): void {
    const length = this.#whole(to) - from;
    if (length > 0) {
      const { fd, offset, sharing } = file;
      const flags = sharing | MAP_FIXED | MAP_NORESERVE;
      check(syscalls.mmap(this.address + from, length, READ_WRITE, flags, fd, offset + from), 'mmap', context);
    }
    this.#used = this.#whole(to);
  }

  /** {@link placeFile} on another thread. The region stays until it is done; `file.fd` must stay open. */
  async placeFileOffThread(from: number, to: number, file: FilePlacement, context?: ErrorContext): Promise<void> {
    const length = this.#whole(to) - from;
    if (length > 0) {
      const { fd, offset, sharing } = file;
      const flags = sharing | MAP_FIXED | MAP_NORESERVE;
      this.retain();
      const result = await callOffThread((done) =>
        syscalls.mmapAsync(this.address + from, length, READ_WRITE, flags, fd, offset + from, done),
      );
      this.release();
      check(result, 'mmap', context);
    }
    this.#used = this.#whole(to);
  }

  #whole(bytes: number): number {
    return wholePages(bytes, this.pageSize);
  }

  /** Puts zeros in the place of everything from `from` on, which is a whole number of pages. */
  placeZeros(from: number): void {
    const length = this.#used - from;
    if (length <= 0) return;
    check(syscalls.mmap(this.address + from, length, READ_WRITE, EMPTY | MAP_FIXED, -1, 0), 'mmap');
  }

  /**
   * @param offset, length in bytes, within what is used.
   * @returns a Buffer that keeps the region mapped. Its ArrayBuffer starts with a page, so that any typed array fits.
   */
  view(offset: number, length: number): Buffer {
    if (length === 0) return Buffer.alloc(0);
    let inPage = offset % syscalls.getpagesize();
    if (inPage + length > MAX_VIEW) inPage = 0;
    const memory = externalMemory(this.address + offset - inPage, inPage + length, this);
    this.retain();
    return Buffer.from(memory, inPage, length);
  }

  retain(): void {
    this.#references++;
  }

  /** The counterpart of {@link retain}. */
  release(): void {
    if (--this.#references > 0) return;
    this.#onUnused(); // first: what guards these addresses must not guard what is mapped there next
    const { address, size } = this.#reserved;
    // What cannot be made zeros stays what it is, unguarded: there is no memory, and nothing else to be done about it.
    if (this.#retired) this.#retire();
    else syscalls.munmap(address, size);
    stats.regions--;
    stats.bytes -= this.size;
    if (!this.#owned) stats.lingering--;
  }

  /** An ArrayBuffer over it is gone, and no other has its memory. */
  freed(): void {
    this.release();
  }

  /** An ArrayBuffer over it is gone; another may have its memory. */
  forgotten(): void {
    this.#retired = true;
    this.release();
  }

  /** Zeros, which take no memory, in the place of everything, and nothing else at this address ever again. */
  #retire(): void {
    const { address, size } = this.#reserved;
    syscalls.mmap(address, size, READ_WRITE, EMPTY | MAP_FIXED, -1, 0);
    retired += size;
  }

  /** Whether an ArrayBuffer may be left, or a call is under way. */
  get isSeen(): boolean {
    return this.#retired || this.#references > (this.#owned ? 1 : 0);
  }

  /** The owner's reference. Idempotent. */
  disown(): void {
    if (!this.#owned) return;
    this.#owned = false;
    stats.lingering++;
    this.release();
  }
}

/** Rounds bytes up to whole pages; of the size the system says, if no other is given (kernel-rules: page-alignment). */
export function wholePages(bytes: number, pageSize: number = syscalls.getpagesize()): number {
  return Math.ceil(bytes / pageSize) * pageSize;
}
