/** What is particular to the arguments of this package; the rest is checked as in every other (transfer's options.ts). */

import { inspect } from 'node:util';
import { isPath, validateBoolean, validateSignal } from '@zerocopy/transfer';

const received = (value: unknown): string => `Received ${inspect(value, { depth: 0 })}`;

function invalid(message: string, value: unknown): TypeError {
  return Object.assign(new TypeError(`${message}. ${received(value)}`), { code: 'ERR_INVALID_ARG_TYPE' });
}

function outOfRange(message: string, value: unknown): RangeError {
  return Object.assign(new RangeError(`${message}. ${received(value)}`), { code: 'ERR_OUT_OF_RANGE' });
}

const isDescriptor = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;

/** @throws {TypeError | RangeError} unless they are what acquireLease takes. */
export function validateLeaseArguments(target: unknown, type: unknown, options: object): void {
  const fd = typeof target === 'number' ? target : (target as { fd?: unknown } | null | undefined)?.fd;
  if (!isPath(target) && !isDescriptor(fd)) {
    throw invalid('A lease is taken on a path, a FileHandle or a descriptor', target);
  }
  if (type !== 'read' && type !== 'write') throw invalid("The type of a lease is 'read' or 'write'", type);
  const { signal, autoRelease, releaseBeforeMs } = options as Record<string, unknown>;
  validateSignal(signal);
  validateBoolean(autoRelease, 'autoRelease');
  if (releaseBeforeMs === undefined) return;
  if (typeof releaseBeforeMs !== 'number') {
    throw invalid("The option 'releaseBeforeMs' must be a number", releaseBeforeMs);
  }
  if (!(releaseBeforeMs >= 0 && releaseBeforeMs < 2 ** 31)) {
    throw outOfRange("The option 'releaseBeforeMs' must be from 0 to 2147483647", releaseBeforeMs);
  }
}

/** An address and a length in bytes, as of a mapping. */
export function validateSpan(address: unknown, length: unknown): void {
  for (const [name, value] of Object.entries({ address, length })) {
    if (typeof value !== 'number') throw invalid(`The ${name} must be a number`, value);
    if (!Number.isSafeInteger(value) || value <= 0) {
      throw outOfRange(`The ${name} must be a whole number from 1 to ${Number.MAX_SAFE_INTEGER}`, value);
    }
  }
}

export function validateGuardOptions(address: number, pageSize: unknown, options: object): void {
  if (typeof pageSize !== 'number' || !Number.isSafeInteger(pageSize) || pageSize <= 0) {
    throw outOfRange("The option 'pageSize' must be a whole number from 1", pageSize);
  }
  if (address % pageSize !== 0)
    throw outOfRange(`The address must be a multiple of the page size, ${pageSize}`, address);
  const { trap, writable, snapshotLimit, lease, file } = options as Record<string, unknown>;
  validateBoolean(trap, 'trap');
  validateBoolean(writable, 'writable');
  if (file !== undefined) {
    const { fd, offset } = Object(file) as Record<string, unknown>;
    if (!isDescriptor(fd) || !Number.isSafeInteger(offset) || (offset as number) < 0) {
      throw invalid("The option 'file' must be an open file, { fd, offset }", file);
    }
  }
  if (snapshotLimit !== undefined && !(typeof snapshotLimit === 'number' && snapshotLimit >= 0)) {
    throw outOfRange("The option 'snapshotLimit' must be a number of bytes from 0", snapshotLimit);
  }
  if (lease !== undefined && typeof (lease as { protect?: unknown } | null)?.protect !== 'function') {
    throw invalid("The option 'lease' must be a Lease", lease);
  }
}
