/** Every fault at every call of what has a process or a thread to itself, and is no way of the catalogue. */
import type { Fault } from './injection.js';

export interface Trial {
  readonly at: number;
  readonly fault: Fault | undefined;
  /** The call that was disturbed. */
  readonly call: string | undefined;
  /** How many calls there were. */
  readonly calls: number;
  /** Whether something said that, and why, it could not be done. */
  readonly clear: boolean;
  /** What is wrong with it; undefined: nothing. */
  readonly complaint: string | undefined;
}

export interface Choice {
  /** Calls disturbed, from the first on; default: all. */
  readonly firstCalls?: number;
  /** Those that are tried; default: all. */
  readonly choose?: (at: number, fault: Fault) => boolean;
}

/** Rejects if there is a complaint undisturbed: `under` is called without a fault then. */
export async function everyFault<T extends Trial>(
  under: (at: number, fault: Fault | undefined) => Promise<T>,
  faults: readonly Fault[],
  { firstCalls = Number.POSITIVE_INFINITY, choose = () => true }: Choice = {},
): Promise<readonly T[]> {
  // Twice: the pool of threads, for instance, starts with the first of them.
  await under(0, undefined);
  const { calls, complaint } = await under(0, undefined);
  if (complaint !== undefined) throw new Error(`undisturbed: ${complaint}`);
  if (calls === 0) throw new Error('no call was met');
  const trials: T[] = [];
  for (let at = 1; at <= Math.min(calls, firstCalls); at++) {
    for (const fault of faults) if (choose(at, fault)) trials.push(await under(at, fault));
  }
  return trials;
}
