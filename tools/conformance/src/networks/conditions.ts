/** What a network does to packets, by name. */

/** Of each packet, in either direction. */
export interface Impairment {
  /** The probability that it is lost. */
  readonly loss: number;
  readonly delayMs: number;
  /** The delay is uniform within so much more or less, so that packets also overtake each other. */
  readonly jitterMs: number;
  /** The probability that it is not delayed, and so overtakes those that are. */
  readonly reorder: number;
}

export interface Condition {
  readonly name: string;
  readonly impairment: Impairment;
  /** The largest receive and send buffer of a socket, in bytes, where the kernel's own are not to be used. */
  readonly buffers?: { readonly receive: number; readonly send: number };
  /** Bytes arrive a few packets at a time, so that a proxy may find splicing not worth while, as its README says. */
  readonly littleAtATime: boolean;
}

export const CLEAN: Impairment = { loss: 0, delayMs: 0, jitterMs: 0, reorder: 0 };

export const conditions: readonly Condition[] = [
  { name: 'clean', impairment: CLEAN, littleAtATime: false },
  { name: 'loss', impairment: { ...CLEAN, loss: 0.02 }, littleAtATime: true },
  { name: 'delay', impairment: { ...CLEAN, delayMs: 10, jitterMs: 5 }, littleAtATime: true },
  { name: 'reordering', impairment: { ...CLEAN, delayMs: 4, reorder: 0.25 }, littleAtATime: true },
  { name: 'tiny windows', impairment: CLEAN, buffers: { receive: 8192, send: 8192 }, littleAtATime: true },
  {
    name: 'all of them',
    impairment: { loss: 0.01, delayMs: 3, jitterMs: 2, reorder: 0.1 },
    buffers: { receive: 32_768, send: 16_384 },
    littleAtATime: true,
  },
];

/** As arguments of `tc qdisc replace dev X root netem`. */
export function netemArguments({ loss, delayMs, jitterMs, reorder }: Impairment): string[] {
  const args = ['limit', '20000'];
  if (delayMs > 0) args.push('delay', `${delayMs}ms`, ...(jitterMs > 0 ? [`${jitterMs}ms`] : []));
  if (loss > 0) args.push('loss', 'random', `${loss * 100}%`);
  if (reorder > 0) args.push('reorder', `${reorder * 100}%`);
  return args;
}
