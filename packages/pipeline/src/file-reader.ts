/** What a stream over a file must be for the kernel to read in its stead. */
import fs from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import {
  factsOf,
  fileIdentity,
  identityOfCached,
  isLocalFilesystem,
  isRegularFile,
} from '@zerocopy/core-syscalls/descriptors';
import type { FileReader } from '@zerocopy/sendfile-stream/route';
import { replacedMethod } from '@zerocopy/transfer';
import { feature } from './feature.js';
import { refusalOfReaderFs } from './node-files.js';

/** What the bytes would pass through on their way out of the reader. */
export const READER_METHODS = ['read', 'push'] as const;
/** The same of a stream that no route is in front of. */
export const FREE_READER_METHODS = ['_read', 'read', 'push'] as const;
const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_BASIC_STATS } = constants;
/** Offset of stx_ino in a struct statx (include/uapi/linux/stat.h). */
const INODE = 32;
const status = Buffer.alloc(syscalls.STATX_SIZE);

/**
 * Why what `source` reads may not be what the kernel would read by its descriptor, or undefined.
 * @param methods that have to be Node's.
 */
export function refusalOfReader(source: FileReader, methods: readonly string[]): string | undefined {
  const replaced = replacedMethod(source, methods);
  if (replaced !== undefined) return `${replaced}() of the source has been replaced`;
  if (isEmitReplaced(source)) return 'emit() of the source has been replaced';
  if (source.readableObjectMode) return 'the source is in object mode';
  return refusalOfReaderFs(source);
}

/**
 * Node itself puts one in front while a stream whose class overrides open(), as that of graceful-fs does, is being opened; and
 * leaves the original behind.
 */
function isEmitReplaced(source: FileReader): boolean {
  if (source.fd === null || !Object.hasOwn(source, 'emit')) return false;
  return source.emit !== (Object.getPrototypeOf(source) as FileReader).emit;
}

/**
 * Whether the number is the same file to the kernel as to node:fs. Virtual filesystems (mock-fs) have descriptors of their
 * own, whose numbers are those of other files to the kernel.
 * @param path that it was opened by. Where node:fs might have to ask a server (kernel-rules: open-may-wait), the kernel must
 * have it by that name, too; unless the kernel cannot look a name up without waiting, as before Linux 5.12.
 */
export function isKernelDescriptor(fd: number, path: unknown): boolean {
  try {
    if (!isLocalFilesystem(factsOf(fd).filesystem) && feature('openat2Cached').available) {
      return typeof path === 'string' && identityOfCached(path) === fileIdentity(fd);
    }
    const { ino } = fs.fstatSync(fd, { bigint: true });
    const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (syscalls.statx(fd, '', flags, STATX_BASIC_STATS, status) < 0) return false;
    return ino === status.readBigUInt64LE(INODE);
  } catch {
    return false;
  }
}

/**
 * What `source` still has to read, at most, in bytes; Infinity where that is not known. It is a look that costs next to nothing, and
 * that a file of few bytes is left to Node by: what the number means to the kernel is not asked before.
 * @param fd of `source`, which may have none yet.
 */
export function bytesAhead({ pos = 0, end }: FileReader, fd: number | null): number {
  const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (fd === null || syscalls.statx(fd, '', flags, STATX_BASIC_STATS, status) < 0) return Number.POSITIVE_INFINITY;
  const { mode, size } = syscalls.readStatx(status);
  // A size of 0 may be a lie (procfs).
  if (size === 0 || !isRegularFile({ mode })) return Number.POSITIVE_INFINITY;
  return Math.max(0, Math.min(size, end + 1) - pos);
}

/** The reason of {@link isKernelDescriptor}. */
export const NOT_KERNELS = 'the descriptor is not known to be the one that the kernel has by this number';
