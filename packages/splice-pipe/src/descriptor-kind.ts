/** What a descriptor is, and whether bytes can be spliced from or to it. Asked at use: flags change (kernel-rules: nonblock-both). */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { fileStatus, isPollable, isRegularFile } from '@zerocopy/core-syscalls/descriptors';

const { EBADF, F_GETFL, O_APPEND, O_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_TYPE } = constants;

/** A stream socket, a pipe or FIFO, a regular file, or why it is none of them. */
export type DescriptorKind = 'stream' | 'pipe' | 'file' | { readonly refused: string };

/** What two system calls say of a socket, and three of anything else. */
export interface DescriptorFacts {
  readonly kind: DescriptorKind;
  /** SPLICE_F_NONBLOCK covers the pipe only: a socket in blocking mode would stop the event loop. */
  readonly nonblocking: boolean;
  /** splice(2) refuses files that are open for appending (kernel-rules: seekable-source). */
  readonly appending: boolean;
}

/** What `fd` is now. To be passed on within the turn of the loop, so that no descriptor is asked twice. */
export function factsOf(fd: number): DescriptorFacts {
  const kind = kindOf(fd);
  const flags = syscalls.fcntl(fd, F_GETFL);
  return {
    kind,
    nonblocking: flags >= 0 && (flags & O_NONBLOCK) !== 0,
    appending: flags >= 0 && (flags & O_APPEND) !== 0,
  };
}

/** See {@link DescriptorKind}. */
export function kindOf(fd: number): DescriptorKind {
  const type = syscalls.getsockopt(fd, SOL_SOCKET, SO_TYPE);
  if (type === SOCK_STREAM) return 'stream';
  // Boundaries between messages would be lost (kernel-rules: stream-sockets-only).
  if (type >= 0) return { refused: 'the socket keeps boundaries between messages (datagram or seqpacket)' };
  if (type === -EBADF) return { refused: 'the descriptor is not open' };
  let status: { readonly mode: number };
  try {
    status = fileStatus(fd);
  } catch {
    return { refused: 'the descriptor is not open' };
  }
  if (isRegularFile(status)) return 'file';
  if (isPollable(status)) return 'pipe'; // it is no socket
  return { refused: 'it is no stream, pipe or file (a terminal, or another device)' };
}

/** {@link DescriptorFacts.nonblocking}, alone. */
export function isNonblocking(fd: number): boolean {
  const flags = syscalls.fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) !== 0;
}

/** {@link DescriptorFacts.appending}, alone. */
export function isAppending(fd: number): boolean {
  const flags = syscalls.fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_APPEND) !== 0;
}
