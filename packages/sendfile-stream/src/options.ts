/** Validation of what is particular to this package; see @zerocopy/transfer for the rest. */
import { inspect } from 'node:util';
import { invalidArgument, validateChoice } from '@zerocopy/transfer';

/** @throws {TypeError} for a `lease` that is neither a boolean nor a provider, or an unknown `leaseBreak`. */
export function validateLease(lease: unknown, leaseBreak: unknown): void {
  const isProvider = typeof (lease as { acquire?: unknown } | null)?.acquire === 'function';
  if (typeof lease !== 'boolean' && !isProvider) {
    const received = inspect(lease, { depth: 0 });
    throw Object.assign(
      new TypeError(`The option 'lease' must be a boolean or an object with acquire(). Received ${received}`),
      { code: 'ERR_INVALID_ARG_TYPE' },
    );
  }
  validateChoice(leaseBreak, 'leaseBreak', ['finish', 'fail']);
}

/** @throws {TypeError} ERR_INVALID_ARG_TYPE unless it is a Writable, a FileHandle or a descriptor. */
export function validateDestination(value: unknown): void {
  const { write, on } = Object(value) as { write?: unknown; on?: unknown };
  if (typeof value === 'number' || (typeof write === 'function' && typeof on === 'function')) return;
  throw invalidArgument('destination', 'a Writable, an HTTP message, a FileHandle or a descriptor', value);
}
