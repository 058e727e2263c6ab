/** What a descriptor is, and whether bytes can be spliced from or to it. Asked at use: flags change (rules 7 and 15). */
import { fstatSync, type Stats } from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';

const { F_GETFL, O_APPEND, O_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_TYPE } = constants;

export type DescriptorKind = 'stream' | 'pipe' | 'file' | { readonly refused: string };

/** A stream socket, a pipe or FIFO, a regular file, or why it is none of them. */
export function kindOf(fd: number): DescriptorKind {
  let stats: Stats;
  try {
    stats = fstatSync(fd);
  } catch {
    return { refused: 'the descriptor is not open' };
  }
  if (stats.isFile()) return 'file';
  if (stats.isFIFO()) return 'pipe';
  if (!stats.isSocket()) return { refused: 'it is no stream, pipe or file (a terminal, or another device)' };
  // Elsewhere boundaries between messages would be lost (rule 17).
  if (syscalls.getsockopt(fd, SOL_SOCKET, SO_TYPE) === SOCK_STREAM) return 'stream';
  return { refused: 'the socket keeps boundaries between messages (datagram or seqpacket)' };
}

/** SPLICE_F_NONBLOCK covers the pipe only: a blocking socket would stop the event loop (rule 15). */
export function isNonblocking(fd: number): boolean {
  const flags = syscalls.fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) !== 0;
}

/** splice(2) refuses files that are open for appending. */
export function isAppending(fd: number): boolean {
  const flags = syscalls.fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_APPEND) !== 0;
}
