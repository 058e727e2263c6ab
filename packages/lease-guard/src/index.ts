/** File leases, and safety from SIGBUS. */

export { type GuardOptions, guardMapping, type MappingGuard, readChecked } from './guard.js';
export { acquireLease, Lease, type LeaseBreak, type LeaseOptions, type LeaseTarget, type LeaseType } from './lease.js';
export { leaseProvider } from './provider.js';
export { installSigbusTrap } from './trap.js';
