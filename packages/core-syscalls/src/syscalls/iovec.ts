/** struct iovec: where the memory of a vector call begins, and how long it is (include/uapi/linux/uio.h). */
import { addressOf } from '../libc.js';

/** One struct iovec: the address and the length, each a u64. It keeps the memory that it points to alive. */
export interface Iovec extends BigUint64Array {
  /** The memory that it points to. */
  readonly target: NodeJS.ArrayBufferView;
}

/** A struct iovec over the whole of `target`. Make it once for each buffer, not for each call. */
export function createIovec(target: NodeJS.ArrayBufferView): Iovec {
  const iovec = BigUint64Array.of(BigInt(addressOf(target)), BigInt(target.byteLength));
  return Object.assign(iovec, { target });
}

/**
 * Changes how many bytes of the target the next call may use, from its first byte on.
 * @param length in bytes, 0 to the target's length.
 * @returns `iovec`.
 * @throws {RangeError} if the target is shorter.
 */
export function setIovecLength(iovec: Iovec, length: number): Iovec {
  if (!(length >= 0 && length <= iovec.target.byteLength)) {
    throw new RangeError(`an iovec's length is 0 to ${iovec.target.byteLength} bytes here; got ${length}`);
  }
  iovec[1] = BigInt(length);
  return iovec;
}
