/** Typed Linux system calls, their errors, and what this machine can do with them. */

export { constants } from './constants.js';
export { descriptorOf, OwnedDescriptor } from './descriptors/descriptor.js';
export { check, type ErrorContext, SyscallError } from './errors.js';
export { type LibcStatus, libcStatus } from './libc.js';
export * from './probe/index.js';
export * as syscalls from './syscalls/index.js';
export { type EndKind, TRANSFER_CHANNEL, type TransferTrace } from './transfer-channel.js';
export { TransferError, type TransferMethod, type TransferResult } from './transfer-result.js';
