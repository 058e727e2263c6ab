/** Leases for the other packages, which know their shape and not this package. */
import { acquire, type Lease } from './lease.js';

export const leaseProvider = {
  /** A read lease on `fd`, which the caller keeps open until it has been released. */
  async acquire(fd: number, _path: string | undefined): Promise<Lease> {
    return acquire(fd, 'read', { autoRelease: false });
  },
};
