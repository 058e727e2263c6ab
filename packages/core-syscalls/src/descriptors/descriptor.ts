/** Descriptors: finding the one under a stream, and owning a duplicate. */
import { close as closeFile, openSync } from 'node:fs';
import { constants } from '../constants.js';
import { SyscallError } from '../errors.js';
import { dup3 } from '../syscalls/dup3.js';
import { fcntl } from '../syscalls/fcntl.js';
import { close } from '../syscalls/file.js';
import { closeQuietly } from './close-quietly.js';
import { closesAtOnce } from './closes-at-once.js';
import { isMainThread } from './node-threads.js';
import { withSpareDescriptors } from './spare-descriptors.js';
import { isOutgoingMessage, isSocket, socketDescriptor, socketOfMessage } from './stream-descriptor.js';

const isDescriptor = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0;

/**
 * The plain kernel descriptor under a net.Socket, http.ServerResponse, http.ClientRequest, http.IncomingMessage,
 * fs.ReadStream, fs.WriteStream, fs FileHandle, a child process's stream, a tty or a number.
 *
 * @returns the descriptor; or null where there is none: TLS, HTTP/2, a Transform, anything closed or not open yet.
 * The number is only valid in this turn of the event loop: own a duplicate to keep it (kernel-rules: fd-reuse).
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
 * A number that Node closes when this worker thread ends, however it ends: Node keeps account of what node:fs has
 * opened in a worker, and of nothing else. -1 on the main thread, whose descriptors end with the process, and where
 * none can be had: then the descriptor is only ever closed by its owner.
 */
function reserveNumber(): number {
  if (isMainThread()) return -1;
  try {
    return openSync('/dev/null', 'r');
  } catch {
    return -1;
  }
}

/**
 * A duplicate (close-on-exec) that belongs to its maker: the original may be closed, and its number used again,
 * without the duplicate noticing. Closed exactly once; by Node, if it was made in a worker thread that ends before.
 */
export class OwnedDescriptor {
  #fd: number;
  /** Whether Node has it in its account of this thread: then only Node may close it, or it would do so once more. */
  #accounted: boolean;

  private constructor(fd: number, accounted: boolean) {
    this.#fd = fd;
    this.#accounted = accounted;
  }

  /**
   * A duplicate of `fd`, which stays the caller's.
   * @throws {SyscallError} EBADF if `fd` is not open, EMFILE if the process has too many.
   */
  static duplicate(fd: number): OwnedDescriptor {
    const own = OwnedDescriptor.#duplicate(fd);
    if (typeof own === 'number') throw new SyscallError(own, 'fcntl');
    return own;
  }

  /** {@link duplicate}, but null where it cannot be done. */
  static tryDuplicate(fd: number): OwnedDescriptor | null {
    const own = OwnedDescriptor.#duplicate(fd);
    return typeof own === 'number' ? null : own;
  }

  /** Takes over a descriptor that the caller has opened and from now on must not use: {@link fd} may be another. */
  static adopt(fd: number): OwnedDescriptor {
    const reserved = reserveNumber();
    if (reserved < 0) return new OwnedDescriptor(fd, false);
    if (dup3(fd, reserved, constants.O_CLOEXEC) < 0) {
      closeQuietly(reserved);
      return new OwnedDescriptor(fd, false);
    }
    close(fd);
    return new OwnedDescriptor(reserved, true);
  }

  static #duplicate(fd: number): OwnedDescriptor | number {
    const reserved = reserveNumber();
    const result = withSpareDescriptors(() =>
      reserved < 0 ? fcntl(fd, constants.F_DUPFD_CLOEXEC, 0) : dup3(fd, reserved, constants.O_CLOEXEC),
    );
    if (result >= 0) return new OwnedDescriptor(result, reserved >= 0);
    if (reserved >= 0) closeQuietly(reserved);
    return result;
  }

  /** The number; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Whatever close(2) says: the number is the caller's no longer. Where it might wait for a server or a disk
   * (kernel-rules: open-may-wait), it is made on the thread pool.
   */
  close(): void {
    const fd = this.#fd;
    if (fd < 0) return;
    if ((this.#accounted || isMainThread()) && !closesAtOnce(fd)) closeFile(this.release(), () => {});
    else this.closeAtOnce();
  }

  /** {@link close} on this thread, of what its owner knows not to wait: it is not asked for. */
  closeAtOnce(): void {
    const fd = this.release();
    if (fd < 0) return;
    if (this.#accounted) closeQuietly(fd);
    else close(fd);
  }

  /**
   * The number, which node:fs owns and closes from now on, and nothing else: in a worker thread Node would close it once more
   * when that ends, and by then it may be somebody else's. -1 once closed or released.
   */
  release(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }

  /**
   * {@link release} for libuv, that is net.Socket: it closes what it owns by itself, and so it must be in no account of
   * Node's. The number may be another than {@link fd}.
   * @throws {SyscallError} EMFILE; it is still owned then.
   */
  releaseToLibuv(): number {
    if (!this.#accounted) return this.release();
    const free = fcntl(this.#fd, constants.F_DUPFD_CLOEXEC, 0);
    if (free < 0) throw new SyscallError(free, 'fcntl');
    this.close();
    return free;
  }

  /** The same descriptor, for another owner. */
  moved(): OwnedDescriptor {
    return new OwnedDescriptor(this.release(), this.#accounted);
  }
}
