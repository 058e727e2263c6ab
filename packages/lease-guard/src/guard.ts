/** Mappings that another process may cut short: what is done so that nobody dies of it, and how to know. */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { readOptions } from '@zerocopy/transfer';
import type { Lease } from './lease.js';
import { validateGuardOptions, validateSpan } from './options.js';
import { type TrapRow, trapRange } from './trap.js';

const { EFAULT, PROT_READ, PROT_WRITE } = constants;
const MiB = 1024 * 1024;
const DEFAULT_SNAPSHOT_LIMIT = 16 * MiB;

export interface GuardOptions {
  /** Answer faults with zeros, by the SIGBUS trap. Default true. */
  trap?: boolean;
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

export interface MappingGuard {
  /** Whether the file was cut short under the mapping, as far as anybody has touched what is missing. */
  readonly truncated: boolean;
  /** Faults that were answered with zeros. */
  readonly trapCount: number;
  /** Whether the mapping is a copy now, which no longer follows the file. */
  readonly detached: boolean;
  /**
   * @throws {Error} ERR_FILE_TRUNCATED if zeros have been read in the place of missing bytes: to be called after reading,
   * and after handing the bytes to the kernel, which then sends zeros instead of answering EFAULT.
   */
  check(): void;
  /** Before the mapping is unmapped. Any number of times. */
  release(): void;
}

/**
 * Guards a mapping of a file against being truncated by others (rule 27).
 *
 * @param address of the first page. @param length in bytes; rounded up to whole pages.
 * @throws {Error} ERR_ZEROCOPY_UNAVAILABLE if a trap is wanted and there can be none.
 */
export function guardMapping(address: number, length: number, given: GuardOptions = {}): MappingGuard {
  const options = readOptions<GuardOptions>(given, ['trap', 'lease', 'snapshotLimit', 'writable', 'pageSize']);
  const pageSize = options.pageSize ?? syscalls.getpagesize();
  validateSpan(address, length);
  validateGuardOptions(address, pageSize, options);
  const { trap = true, lease, snapshotLimit = DEFAULT_SNAPSHOT_LIMIT, writable = false } = options;
  const whole = Math.ceil(length / pageSize) * pageSize;
  const protection = PROT_READ | (writable ? PROT_WRITE : 0);
  const row: TrapRow | undefined = trap ? trapRange({ address, length: whole, pageSize, protection }) : undefined;
  if (whole <= snapshotLimit) lease?.protect({ address, length: whole });
  return {
    get truncated() {
      return (row?.traps ?? 0) > 0;
    },
    get trapCount() {
      return row?.traps ?? 0;
    },
    get detached() {
      return lease?.hasDetached ?? false;
    },
    check() {
      if (!this.truncated) return;
      throw Object.assign(new Error('the file was truncated under its mapping: missing bytes were read as zeros'), {
        code: 'ERR_FILE_TRUNCATED',
      });
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
