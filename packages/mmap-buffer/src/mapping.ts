/**
 * A file range in memory: its region, its guard and its lease, and the descriptor behind them.
 *
 *   open ──► closed       by close(): views show zeros from then on
 *     └────► forgotten    its MappedFile was collected: views stay what they are, and the last one ends it
 *
 * Growing beyond the address space that was reserved moves the mapping to a new region. Views of the old one stay what
 * they are: a shared mapping shows the same pages wherever it is.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { mappingPageSize } from '@zerocopy/core-syscalls/descriptors';
import { guardMapping, type Lease, type MappingGuard } from '@zerocopy/lease-guard';
import { closeUnwaited } from '@zerocopy/transfer';
import { fileSize, isMappedAtOnce } from './file-status.js';
import { closedError } from './mapping-error.js';
import { Region, wholePages } from './region.js';

const { MADV_HUGEPAGE, MAP_PRIVATE, MAP_SHARED } = constants;
const MiB = 1024 * 1024;
/** Bytes of address space that a writable mapping reserves at least, to grow without moving. */
const RESERVED_MIN = 64 * MiB;

/** A lease, and the descriptor that it is on. */
export interface HeldLease {
  readonly lease: Lease;
  readonly fd: number;
}

export function endLease({ lease, fd }: HeldLease): void {
  // At once. What it promises is that its file is closed, and that is ours; with it ends a lease that could not be
  // given up.
  lease.release().catch(() => {});
  closeUnwaited(fd);
}

export interface MappingOptions {
  readonly fd: number;
  /** For errors. */
  readonly path: string;
  readonly shared: boolean;
  /** Of the first byte in the file, in bytes. */
  readonly offset: number;
  readonly length: number;
  readonly hugePages: boolean;
  readonly trap: boolean;
  readonly lease: HeldLease | undefined;
  /** Bytes up to which a broken lease leaves a copy; see guardMapping. */
  readonly snapshotLimit: number;
}

export class Mapping {
  readonly fd: number;
  readonly path: string;
  readonly offset: number;
  /** Bytes of a page: on hugetlbfs, of a huge one. */
  readonly pageSize: number;
  /** Bytes between the start of the first page and the first byte. */
  readonly lead: number;
  length: number;
  closed = false;
  /** The mapping's own, and those of calls under way. */
  #descriptorHolds = 1;
  #forgotten = false;
  /** Whether mapping it waits for no server. */
  readonly #atOnce: boolean;
  #region: Region | undefined;
  /** All regions that may still be seen, with their guards. */
  readonly #regions = new Map<Region, MappingGuard | undefined>();
  #truncated = false;
  readonly #options: MappingOptions;

  /** Nothing is mapped until {@link map} or {@link mapOffThread}, which take over `fd` and the lease unless they fail. */
  constructor(options: MappingOptions) {
    this.#options = options;
    this.fd = options.fd;
    this.path = options.path;
    this.offset = options.offset;
    this.length = options.length;
    this.pageSize = mappingPageSize(options.fd);
    this.lead = options.offset % this.pageSize;
    this.#atOnce = isMappedAtOnce(options.fd);
  }

  /** @throws {SyscallError} */
  map(): void {
    if (this.length === 0) return;
    const region = this.#reserve(this.#options.shared);
    try {
      region.placeFile(0, this.lead + this.length, this.#placement(), { path: this.path });
      this.#take(region);
    } catch (error) {
      region.disown();
      throw error;
    }
  }

  /** {@link map}; on another thread where it may have to wait for a server. */
  async mapOffThread(): Promise<void> {
    if (this.#atOnce) this.map();
    else if (this.length > 0) await this.#mapSlowly(this.#options.shared);
  }

  get region(): Region | undefined {
    return this.#region;
  }

  /** Whether faults are answered by the SIGBUS trap. */
  get isTrapped(): boolean {
    return this.#options.trap;
  }

  /** Of the file now, in bytes. */
  fileSize(): number {
    return fileSize(this.fd);
  }

  /** Whether the file has been cut short under the mapping, or was while it was touched. Stays true. */
  get truncated(): boolean {
    if (this.#truncated || this.closed) return this.#truncated;
    for (const guard of this.#regions.values()) if (guard?.truncated) this.#truncated = true;
    // No process can shorten a file under a lease.
    if (!this.#truncated && this.#options.lease?.lease.state !== 'held') {
      this.#truncated = this.length > 0 && this.fileSize() < this.offset + this.length;
    }
    return this.#truncated;
  }

  /** Pages of the file that the kernel could not provide, by what is known so far; see MappingGuard. */
  faults(): { copied: number; unreadable: number } {
    let [copied, unreadable] = [0, 0];
    for (const guard of this.#regions.values()) {
      copied += guard?.copiedPages ?? 0;
      unreadable += guard?.unreadablePages ?? 0;
    }
    return { copied, unreadable };
  }

  view(offset: number, length: number): Buffer {
    return this.#region === undefined || length === 0 ? Buffer.alloc(0) : this.#region.view(this.lead + offset, length);
  }

  /** The whole pages that hold a range: address and length, in bytes. */
  pagesOf(offset: number, length: number): { address: number; length: number } {
    if (this.#region === undefined || length === 0) return { address: 0, length: 0 };
    const from = this.lead + offset;
    const start = from - (from % this.pageSize);
    return { address: this.#region.address + start, length: this.#whole(from + length) - start };
  }

  /** The file has been extended to hold `length` bytes of the mapping. */
  async grow(length: number): Promise<void> {
    const region = this.#region;
    const before = this.length;
    if (region === undefined || this.lead + length > region.size) {
      this.length = length;
      try {
        await this.#mapSlowly(true);
      } catch (error) {
        this.length = before;
        throw error;
      }
      region?.disown();
      return;
    }
    await this.#place(region, Math.min(this.#whole(this.lead + before), region.used), this.lead + length);
    const guard = this.#guard(region);
    this.length = length;
    this.#regions.get(region)?.release();
    this.#regions.set(region, guard);
  }

  /** The file is about to be cut short: views beyond `length` show zeros from now on. */
  shrink(length: number): void {
    this.length = length;
    for (const region of this.#regions.keys()) region.placeZeros(this.#whole(this.lead + length));
  }

  /** It was not cut short after all. */
  async unshrink(length: number): Promise<void> {
    for (const region of [...this.#regions.keys()]) {
      await this.#place(region, this.#whole(this.lead + this.length), Math.min(this.lead + length, region.used));
    }
    this.length = length;
  }

  /**
   * Idempotent.
   * @throws {SyscallError} ENOMEM where zeros cannot be put in the place of what is seen: then it is forgotten instead, and
   * views stay what they are, guarded.
   */
  close(): void {
    if (this.closed) return;
    this.#rememberTruncation();
    try {
      for (const region of this.#regions.keys()) if (region.isSeen) region.placeZeros(0);
    } catch (error) {
      this.forget();
      throw error;
    }
    this.closed = true;
    for (const [region, guard] of [...this.#regions]) {
      this.#regions.set(region, undefined);
      guard?.release();
      region.disown();
    }
    this.#region = undefined;
    this.#end();
  }

  /** For a question that comes when it is closed. */
  #rememberTruncation(): void {
    try {
      void this.truncated;
    } catch {} // the file does not tell its size any more
  }

  /** Its MappedFile is gone, and with it the way to close it. */
  forget(): void {
    if (this.closed) return;
    this.#forgotten = true;
    if (this.#region === undefined) this.#end();
    else this.#region.disown(); // ends it, now or when its last view goes
  }

  /** The descriptor stays open until what is returned is called, even if the mapping is closed meanwhile (kernel-rules: fd-reuse). */
  holdDescriptor(): () => void {
    this.#descriptorHolds++;
    return () => this.#letGo();
  }

  #letGo(): void {
    if (--this.#descriptorHolds === 0) closeUnwaited(this.fd);
  }

  #end(): void {
    this.closed = true;
    const { lease } = this.#options;
    if (lease !== undefined) endLease(lease);
    this.#letGo();
  }

  #whole(bytes: number): number {
    return wholePages(bytes, this.pageSize);
  }

  #placement(): { fd: number; offset: number; sharing: number } {
    const sharing = this.#options.shared ? MAP_SHARED : MAP_PRIVATE;
    return { fd: this.fd, offset: this.offset - this.lead, sharing };
  }

  /** Maps the file into a part of a region. @throws {MappingError} ERR_MAPPING_CLOSED if it was closed meanwhile. */
  async #place(region: Region, from: number, to: number): Promise<void> {
    if (this.#atOnce) return region.placeFile(from, to, this.#placement());
    region.retain();
    try {
      await region.placeFileOffThread(from, to, this.#placement());
      if (!this.closed) return;
      region.placeZeros(0);
      throw closedError();
    } finally {
      region.release();
    }
  }

  #reserve(toGrow: boolean): Region {
    const size = this.lead + this.length;
    const reserved = toGrow ? Math.max(2 * size, RESERVED_MIN) : size;
    const region = new Region(reserved, () => this.#unused(region), this.pageSize);
    this.#regions.set(region, undefined);
    return region;
  }

  async #mapSlowly(toGrow: boolean): Promise<void> {
    const region = this.#reserve(toGrow);
    try {
      await this.#place(region, 0, this.lead + this.length);
      this.#take(region);
    } catch (error) {
      region.disown();
      throw error;
    }
  }

  #take(region: Region): void {
    if (this.#options.hugePages) syscalls.madvise(region.address, region.used, MADV_HUGEPAGE); // advice: not obeyed everywhere
    this.#regions.set(region, this.#guard(region));
    this.#region = region;
  }

  #guard(region: Region): MappingGuard | undefined {
    const { trap, lease, snapshotLimit } = this.#options;
    if (!trap && lease === undefined) return undefined;
    return guardMapping(region.address, region.used, {
      trap,
      file: { fd: this.fd, offset: this.offset - this.lead },
      writable: true,
      pageSize: this.pageSize,
      snapshotLimit,
      ...(lease === undefined ? {} : { lease: lease.lease }),
    });
  }

  /** The last view of a region is gone; it is about to be unmapped. */
  #unused(region: Region): void {
    this.#regions.get(region)?.release();
    this.#regions.delete(region);
    if (this.#forgotten && this.#regions.size === 0) this.#end();
  }
}
