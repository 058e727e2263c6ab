/** What the relay's thread and its owner share: 32-bit words, read and written by Atomics. */

export const LOSS_PPM = 0;
export const DELAY_US = 1;
export const JITTER_US = 2;
export const REORDER_PPM = 3;
export const STOP = 4;
/** What has become of the packets so far. */
export const FORWARDED = 5;
export const LOST = 6;
export const OVERTAKING = 7;
export const WORDS = 8;

/** What the thread is started with. */
export interface RelayData {
  readonly control: Int32Array;
  readonly seed: number;
  /** Indices of the two devices. */
  readonly devices: readonly [number, number];
}
