/** Leases for the other packages, which know their shape and not this package. */
import { acquireLease, type Lease } from './lease.js';

/** What `lease: true` of @zerocopy/sendfile-stream uses. */
export const leaseProvider = {
  /** A read lease on `fd`, which the caller keeps open until it has been released. It is the caller who answers a break. */
  acquire: (fd: number, _path: string | undefined): Promise<Lease> => acquireLease(fd, 'read', { autoRelease: false }),
};
