/** Bytes that are in user space already, and go first. An empty view of them would keep all of their memory. */

/** No bytes, and no memory. */
export const NO_BYTES: Buffer = Buffer.alloc(0);

/** What is left of `bytes` behind the first `count`. */
export const behind = (bytes: Buffer, count: number): Buffer =>
  count < bytes.length ? bytes.subarray(count) : NO_BYTES;
