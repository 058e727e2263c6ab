/**
 * A file offset as the kernel takes it, an off_t in memory, filled from a JavaScript number without a BigInt.
 * The kernel writes the offset it reached back into it; callers know it from the count and need not read it.
 */
export type OffsetCell = Uint32Array;

const TWO_32 = 2 ** 32;

/** Memory for one file offset: 8 bytes, zeros. Each asynchronous call in flight needs one of its own. */
export function createOffsetCell(): OffsetCell {
  return new Uint32Array(2);
}

/**
 * Puts an offset into its memory. Both supported architectures are little-endian.
 * @param offset in bytes, 0 to Number.MAX_SAFE_INTEGER.
 * @returns `cell`.
 */
export function setOffset(cell: OffsetCell, offset: number): OffsetCell {
  cell[0] = offset % TWO_32;
  cell[1] = Math.floor(offset / TWO_32);
  return cell;
}
