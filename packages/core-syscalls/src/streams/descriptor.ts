/** Descriptors: finding the one under a stream, and owning a duplicate. */
import { constants } from '../constants.js';
import { SyscallError } from '../errors.js';
import { fcntl } from '../syscalls/fcntl.js';
import { close } from '../syscalls/file.js';
import { isOutgoingMessage, isSocket, socketDescriptor, socketOfMessage } from './socket-internals.js';

const isDescriptor = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0;

/**
 * The plain kernel descriptor under a net.Socket, http.ServerResponse, http.ClientRequest, http.IncomingMessage,
 * fs.ReadStream, fs.WriteStream, fs FileHandle, a child process's stream, a tty or a number.
 *
 * @returns the descriptor; or null where there is none: TLS, HTTP/2, a Transform, anything closed or not open yet.
 * The number is only valid in this turn of the event loop: own a duplicate to keep it.
 */
export function descriptorOf(thing: unknown): number | null {
  if (typeof thing === 'number') return isDescriptor(thing) ? thing : null;
  if (typeof thing !== 'object' || thing === null) return null;
  if (isSocket(thing)) {
    const fd = socketDescriptor(thing);
    return fd < 0 ? null : fd;
  }
  if (isOutgoingMessage(thing)) return descriptorOf(socketOfMessage(thing));
  const { fd, socket } = thing as { fd?: unknown; socket?: unknown };
  if (isDescriptor(fd)) return fd;
  // An http.IncomingMessage; an Http2Stream's session also has a `socket`, but that one carries many streams.
  if ('httpVersionMajor' in thing && (thing as { httpVersionMajor: unknown }).httpVersionMajor === 1) {
    return descriptorOf(socket);
  }
  return null;
}

/**
 * A duplicate that belongs to whoever made it (F_DUPFD_CLOEXEC): the original may be closed, and its number used
 * again, without the duplicate noticing. Closed exactly once.
 */
export class OwnedDescriptor {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws {SyscallError} EBADF if `fd` is not open, EMFILE if the process has too many. */
  static duplicate(fd: number): OwnedDescriptor {
    const result = fcntl(fd, constants.F_DUPFD_CLOEXEC, 0);
    if (result < 0) throw new SyscallError(result, 'fcntl');
    return new OwnedDescriptor(result);
  }

  /** {@link duplicate}, but null where it cannot be done. */
  static tryDuplicate(fd: number): OwnedDescriptor | null {
    const result = fcntl(fd, constants.F_DUPFD_CLOEXEC, 0);
    return result < 0 ? null : new OwnedDescriptor(result);
  }

  /** Takes over a descriptor that the caller has opened and from now on must not close. */
  static adopt(fd: number): OwnedDescriptor {
    return new OwnedDescriptor(fd);
  }

  /** The number; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  close(): void {
    if (this.#fd < 0) return;
    close(this.#fd);
    this.#fd = -1;
  }

  /** The number, for somebody else to own and close. */
  release(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }
}
