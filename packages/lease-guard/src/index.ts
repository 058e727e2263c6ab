/** File leases, and safety from SIGBUS. */

export { acquireLease, Lease, type LeaseBreak, type LeaseOptions, type LeaseTarget, type LeaseType } from './lease.js';
export { leaseProvider } from './provider.js';
