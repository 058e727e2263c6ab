/** Mappings that another process may cut short: what is done so that no process dies of it, and how to know. */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { readOptions } from '@zerocopy/transfer';
import type { Lease } from './lease.js';
import { validateGuardOptions, validateSpan } from './options.js';
import { type TrapCounts, type TrapRow, trapRange } from './trap.js';

const { EFAULT, PROT_READ, PROT_WRITE } = constants;
const MiB = 1024 * 1024;
const DEFAULT_SNAPSHOT_LIMIT = 16 * MiB;

/** What a mapping is, and what is to be done when its file changes. */
export interface GuardOptions {
  /** Answer faults, by the SIGBUS trap, instead of dying of them. Default true. */
  trap?: boolean;
  /**
   * The open file that is mapped, and where in it the mapping starts, in bytes. It must stay open until the guard is
   * released, or told to {@link MappingGuard.forgetFile forget it}. With it, a fault within the file's size, for which a
   * full filesystem or a bad disk has no page, is answered with what read(2) says of that one page. Without it, every
   * fault is taken for a truncation.
   */
  file?: {
    /** Its descriptor, open for reading. */
    fd: number;
    /** Where in the file the mapping's first byte is. */
    offset: number;
  };
  /**
   * A read lease on the file, taken before it was mapped. When it is broken, the lease thread puts a copy of the bytes
   * in the place of the mapping and lets the other process go on: the bytes stay as they were. For mappings that are
   * only read.
   */
  lease?: Lease;
  /** Bytes up to which that copy is made, inclusive; for more, the trap takes over. Default 16 MiB. */
  snapshotLimit?: number;
  /** Whether the mapping may be written to. Default false. */
  writable?: boolean;
  /** Bytes of a page of the mapping: differs for huge pages. Default: the system's. */
  pageSize?: number;
}

/** What {@link guardMapping} knows of a mapping, and does about it. */
export interface MappingGuard {
  /** Whether the file was cut short under the mapping, as far as a thread has touched what is missing. */
  readonly truncated: boolean;
  /** Faults that were answered: with zeros beyond the file's end, with a copy of the page within the file. */
  readonly trapCount: number;
  /**
   * Pages within the file that the kernel could not provide (a full filesystem, a bad disk). Each is a copy since, which
   * no longer follows the file: a store into it is lost. Always 0 without {@link GuardOptions.file}.
   */
  readonly copiedPages: number;
  /** Of those, pages that could not be read either, and show zeros: a bad disk. */
  readonly unreadablePages: number;
  /** Whether the mapping is a copy now, which no longer follows the file. */
  readonly detached: boolean;
  /**
   * To be called after reading, after stores, and after handing the bytes to the kernel, which then sends zeros instead of
   * answering EFAULT.
   * @throws {Error} ERR_FILE_TRUNCATED if zeros have been read in the place of missing bytes; EIO if pages could not be
   * read; ERR_STORE_LOST, of a writable mapping, if stores may have gone into pages that no longer are the file's.
   */
  check(): void;
  /**
   * Before {@link GuardOptions.file} is closed while the mapping stays. From then on it is not known whether a fault is
   * beyond the file's end: each is answered with zeros for its own page only, and counted as a truncation. Idempotent.
   */
  forgetFile(): void;
  /** Before the mapping is unmapped. Idempotent. */
  release(): void;
}

const NOTHING: TrapCounts = { truncations: 0, copied: 0, unreadable: 0 };

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/**
 * Guards a mapping of a file against being truncated by others, and against pages that the kernel cannot provide
 * (kernel-rules: sigbus, sigbus-not-truncation).
 *
 * @param address of the first page. @param length in bytes; rounded up to whole pages.
 * @throws {Error} ERR_ZEROCOPY_UNAVAILABLE if a trap is wanted and there can be none.
 */
export function guardMapping(address: number, length: number, given: GuardOptions = {}): MappingGuard {
  const names = ['trap', 'file', 'lease', 'snapshotLimit', 'writable', 'pageSize'] as const;
  const options = readOptions<GuardOptions>(given, names);
  const pageSize = options.pageSize ?? syscalls.getpagesize();
  validateSpan(address, length);
  validateGuardOptions(address, pageSize, options);
  const { trap = true, file, lease, snapshotLimit = DEFAULT_SNAPSHOT_LIMIT, writable = false } = options;
  const whole = Math.ceil(length / pageSize) * pageSize;
  const protection = PROT_READ | (writable ? PROT_WRITE : 0);
  const row: TrapRow | undefined = trap ? trapRange({ address, length: whole, pageSize, protection, file }) : undefined;
  if (whole <= snapshotLimit) lease?.protect({ address, length: whole });
  const counts = (): TrapCounts => row?.counts ?? NOTHING;
  return {
    get truncated() {
      return counts().truncations > 0;
    },
    get trapCount() {
      const { truncations, copied } = counts();
      return truncations + copied;
    },
    get copiedPages() {
      return counts().copied;
    },
    get unreadablePages() {
      return counts().unreadable;
    },
    get detached() {
      return lease?.hasDetached ?? false;
    },
    check() {
      const { truncations, copied, unreadable } = counts();
      if (truncations > 0) {
        throw failure(
          'ERR_FILE_TRUNCATED',
          'the file was truncated under its mapping: missing bytes were read as zeros',
        );
      }
      if (unreadable > 0) {
        throw failure('EIO', `${unreadable} pages of the mapping could not be read, and show zeros: the disk fails`);
      }
      if (copied > 0 && writable) {
        throw failure(
          'ERR_STORE_LOST',
          `the filesystem had no room for ${copied} pages of the mapping: what is stored into them is lost`,
        );
      }
    },
    forgetFile() {
      row?.forgetFile();
    },
    release() {
      lease?.protect(undefined);
      row?.release();
    },
  };
}

/**
 * Reads memory that may fault: by process_vm_readv(2) on this process itself, which answers EFAULT where a load would
 * raise SIGBUS or SIGSEGV. About a microsecond for 4 KiB.
 *
 * @param offset, length in bytes from `address`.
 * @returns a copy. @throws {SyscallError} EFAULT if not all of it can be read.
 */
export function readChecked(address: number, offset: number, length: number): Buffer {
  validateSpan(address, 1);
  validateSpan(offset + 1, length + 1);
  const buffer = Buffer.allocUnsafe(length);
  if (length === 0) return buffer;
  const remote = BigUint64Array.of(BigInt(address + offset), BigInt(length));
  const result = syscalls.processVmReadv(process.pid, syscalls.createIovec(buffer), remote);
  if (result === length) return buffer;
  const error = new SyscallError(result < 0 ? result : -EFAULT, 'process_vm_readv');
  if (error.code === 'EFAULT') error.message += `: ${length} bytes at offset ${offset} are not all there`;
  throw error;
}
