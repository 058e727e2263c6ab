/**
 * Address space that stays readable for as long as anybody can look at it.
 *
 * An ArrayBuffer over mapped memory cannot be detached on Node 20, and a view of unmapped memory is a segfault
 * (rule 29). So a region counts who may still touch it: its owner, each ArrayBuffer over it that has not been collected,
 * and each call under way on another thread. The last of them to go unmaps it. A closed mapping's bytes are replaced by
 * zeros before that.
 *
 *   reserved ──► holding a file ──► zeros ──► unmapped (no references left)
 *                      └────────────────────────┘
 */
import { check, constants, type ErrorContext, syscalls } from '@zerocopy/core-syscalls';
import { memoryAt } from '@zerocopy/core-syscalls/native';
import { MAX_VIEW } from './view.js';

const { MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } = constants;
const READ_WRITE = PROT_READ | PROT_WRITE;
const EMPTY = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

export interface MappingStats {
  /** Regions of address space in use by this thread's mappings, streams and pools. */
  regions: number;
  /** Of those: closed, or forgotten, and waiting for their views to be collected. */
  lingering: number;
  /** Bytes of address space of all of them. */
  bytes: number;
}

const stats: MappingStats = { regions: 0, lingering: 0, bytes: 0 };

/** What this package has mapped in this thread now. */
export function mappingStats(): MappingStats {
  return { ...stats };
}

// Module-level and used by every region: it stays alive (rule 39).
const views = new FinalizationRegistry<Region>((region) => region.release());

export interface FilePlacement {
  readonly fd: number;
  /** In the file, in bytes: a multiple of the page size. */
  readonly offset: number;
  /** MAP_SHARED or MAP_PRIVATE. */
  readonly sharing: number;
}

export class Region {
  readonly address: number;
  /** Bytes of address space: whole pages. */
  readonly size: number;
  /** Bytes from the start that hold something: views end before that. */
  #used = 0;
  #references = 1;
  #owned = true;
  readonly #onUnused: () => void;

  /**
   * @param size in bytes; rounded up to whole pages. @param onUnused called once, before it is unmapped.
   * @throws {SyscallError} ENOMEM.
   */
  constructor(size: number, onUnused: () => void) {
    this.size = wholePages(size);
    this.address = check(syscalls.mmap(null, this.size, PROT_NONE, EMPTY, -1, 0), 'mmap');
    this.#onUnused = onUnused;
    stats.regions++;
    stats.bytes += this.size;
  }

  get used(): number {
    return this.#used;
  }

  /**
   * Maps a file from `from` to `to`, both in bytes from the region's start and the first a whole number of pages. What
   * was there is replaced at once: nobody sees anything in between.
   */
  placeFile(from: number, to: number, { fd, offset, sharing }: FilePlacement, context?: ErrorContext): void {
    const length = wholePages(to) - from;
    if (length > 0) {
      const flags = sharing | MAP_FIXED | MAP_NORESERVE;
      check(syscalls.mmap(this.address + from, length, READ_WRITE, flags, fd, offset + from), 'mmap', context);
    }
    this.#used = wholePages(to);
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
    const memory = memoryAt(this.address + offset - inPage, inPage + length);
    this.retain();
    views.register(memory, this);
    return Buffer.from(memory, inPage, length);
  }

  retain(): void {
    this.#references++;
  }

  /** The counterpart of {@link retain}. */
  release(): void {
    if (--this.#references > 0) return;
    this.#onUnused(); // first: what guards these addresses must not guard whoever gets them next
    syscalls.munmap(this.address, this.size);
    stats.regions--;
    stats.bytes -= this.size;
    if (!this.#owned) stats.lingering--;
  }

  /** Whether anybody but the owner may look at it. */
  get isSeen(): boolean {
    return this.#references > (this.#owned ? 1 : 0);
  }

  /** The owner's reference: any number of times. */
  disown(): void {
    if (!this.#owned) return;
    this.#owned = false;
    stats.lingering++;
    this.release();
  }
}

/** Rounds bytes up to whole pages, of the size the system says (rule 32). */
export function wholePages(bytes: number): number {
  const page = syscalls.getpagesize();
  return Math.ceil(bytes / page) * page;
}
