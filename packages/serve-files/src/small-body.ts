/**
 * Small bodies: read from the page cache, without waiting for a disk, to leave in one write with the head. Up to 64 KiB
 * that copy costs less than a sendfile(2) of its own (README of sendfile-stream, figures).
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { feature } from './feature.js';
import type { FilePart } from './plan.js';

const SMALL_MAX = 64 * 1024;
/** Buffers kept for the next ones: 2 MiB. */
const POOL_MAX = 32;
const { EINTR, RWF_NOWAIT } = constants;

const pool: syscalls.Iovec[] = [];
let nowait: boolean | undefined;

/** Bytes in a buffer that is used again. */
export interface SmallBody {
  readonly bytes: Buffer;
  /** When nobody reads `bytes` any more. Not calling it costs an allocation later, no more. */
  recycle(): void;
}

/** The whole part, if it is small and in memory; undefined, and nothing done, if it is not, or the file became shorter. */
export function readSmallBody({ file, start, length }: FilePart): SmallBody | undefined {
  nowait ??= feature('preadvNowait').available;
  if (length > SMALL_MAX || !file.isLocal || !nowait) return undefined;
  const iovec = pool.pop() ?? syscalls.createIovec(Buffer.allocUnsafeSlow(SMALL_MAX));
  const buffer = iovec.target as Buffer;
  const recycle = (): void => {
    if (pool.length < POOL_MAX) pool.push(iovec);
  };
  let result: number;
  do {
    result = file.livesInMemory
      ? syscalls.pread(file.fd, buffer, length, start)
      : syscalls.preadv2(file.fd, syscalls.setIovecLength(iovec, length), start, RWF_NOWAIT);
  } while (result === -EINTR);
  if (result === length) return { bytes: buffer.subarray(0, length), recycle };
  recycle();
  return undefined;
}
