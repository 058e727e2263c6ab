/** A net.Socket over a descriptor of ours, so that libuv waits for its readiness. */
import { Socket, type SocketConstructorOpts } from 'node:net';
import { type OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';

/**
 * Makes a socket that owns the descriptor from now on. Where other descriptors share its connection it must be
 * destroyed and never ended: end() would shut the connection down for all of them.
 * @throws {Error} if libuv does not take this kind of descriptor; EMFILE. The descriptor is closed then.
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
