/** Connections that must not look to their peer as if they had been ended: it gets a reset in place of the ordinary end. */
import { Socket } from 'node:net';
import { constants, libcStatus, syscalls } from '@zerocopy/core-syscalls';
import { socketDescriptor } from '@zerocopy/core-syscalls/descriptors';

const { SOL_SOCKET, SO_LINGER } = constants;

/** struct linger { l_onoff: 1, l_linger: 0 }: close(2) sends RST (socket(7)). */
const LINGER = Buffer.from(new Int32Array([1, 0]).buffer);

/**
 * From now on, whoever closes `socket` resets it. Without system calls it is reset at once, unless somebody has ended it:
 * while a shutdown is under way libuv refuses resetAndDestroy(), and Node then never closes the handle, leaks its
 * descriptor, and spins for ever when the process or the worker ends. A unix socket has no reset: its peer sees an end.
 */
export function closeByReset(socket: Socket): void {
  const fd = libcStatus().available ? socketDescriptor(socket) : -1;
  if (fd >= 0) syscalls.setsockoptBytes(fd, SOL_SOCKET, SO_LINGER, LINGER);
  else if (canReset(socket)) socket.resetAndDestroy();
}

/** Whether Node's own reset does what it says: a TCP connection, of no other class, that nobody has ended. */
const canReset = (socket: Socket): boolean =>
  Object.getPrototypeOf(socket) === Socket.prototype &&
  !socket.destroyed &&
  !socket.writableEnded &&
  socket.remoteFamily !== undefined;
