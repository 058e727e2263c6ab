/** A net.Socket over a descriptor of ours: libuv brings the waiting. */
import { Socket, type SocketConstructorOpts } from 'node:net';
import { type OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';

/**
 * The socket owns the descriptor from now on. It is to be destroyed, never ended, where the connection is shared: end()
 * would shut it down.
 * @throws {Error} if libuv does not open its kind, or EMFILE; it is closed then.
 */
export function socketOver(own: OwnedDescriptor, options: Omit<SocketConstructorOpts, 'fd'>): Socket {
  let fd = -1;
  try {
    fd = own.releaseToLibuv();
    return new Socket({ ...options, fd });
  } catch (error) {
    own.close();
    if (fd >= 0) syscalls.close(fd);
    throw error;
  }
}
