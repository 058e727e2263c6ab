/** A file of other code beneath a pipe: sent by the kernel, if the descriptor means to it what it means to node:fs. */
import fs from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { type FileReader, FileRoute, resolveDestination } from '@zerocopy/sendfile-stream/route';
import { replacedMethod } from '@zerocopy/transfer';
import { refusalOfReaderFs } from './node-files.js';
import type { PairRecord } from './pair-record.js';

/** What the bytes would pass through on their way out of the reader; and what has it read, before a route is in front. */
const READER_METHODS = ['read', 'push'] as const;
const FREE_READER_METHODS = ['_read', ...READER_METHODS] as const;
const { AT_EMPTY_PATH, STATX_BASIC_STATS } = constants;
/** Offset of stx_ino in a struct statx (include/uapi/linux/stat.h). */
const INODE = 32;
const status = Buffer.alloc(syscalls.STATX_SIZE);

/**
 * Why what `source` reads may not be what the kernel would read by its descriptor, or undefined.
 * @param methods that have to be Node's.
 */
function refusalOfReader(source: FileReader, methods: readonly string[]): string | undefined {
  const replaced = replacedMethod(source, methods);
  if (replaced !== undefined) return `${replaced}() of the source has been replaced`;
  if (Object.hasOwn(source, 'emit')) return 'emit() of the source has been replaced';
  if (source.readableObjectMode) return 'the source is in object mode';
  return refusalOfReaderFs(source);
}

/**
 * Whether the number is the same file to the kernel as to node:fs. Virtual filesystems (mock-fs) have descriptors of their
 * own, whose numbers are those of other files to the kernel.
 */
export function isKernelDescriptor(fd: number): boolean {
  try {
    const { ino } = fs.fstatSync(fd, { bigint: true });
    if (syscalls.statx(fd, '', AT_EMPTY_PATH, STATX_BASIC_STATS, status) < 0) return false;
    return ino === status.readBigUInt64LE(INODE);
  } catch {
    return false;
  }
}

export const NOT_KERNELS = 'the descriptor is not the one that the kernel has by this number';

class ForeignFileRoute extends FileRoute {
  #isChecked = false;

  protected override begin(): string | undefined {
    if (!this.#isChecked) {
      const refused = refusalOfReader(this.source, READER_METHODS);
      if (refused !== undefined) return refused;
      if (!isKernelDescriptor(this.source.fd as number)) return NOT_KERNELS;
      this.#isChecked = true;
    }
    return super.begin();
  }
}

/** Lays the route. @returns why not. */
export function routeFile(
  source: FileReader,
  destination: NodeJS.WritableStream,
  record: PairRecord,
  minBytes: number,
): string | undefined {
  const resolved = resolveDestination(destination);
  if ('refused' in resolved) return resolved.refused;
  if (!(source instanceof fs.ReadStream)) return 'the source only looks like an fs.ReadStream';
  const refused = refusalOfReader(source, FREE_READER_METHODS);
  if (refused !== undefined) return refused;
  let seen = 0;
  const route = new ForeignFileRoute(source, destination, {
    record,
    announces: false,
    ends: false,
    lent: true,
    smallFileSize: 0,
    minBytes,
    followsGrowth: true,
    onProgress(bytes) {
      record.moved(bytes > seen ? bytes - seen : bytes);
      seen = bytes;
    },
  });
  route.attach();
  return undefined;
}
