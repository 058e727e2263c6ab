/** When a process ends: moments drawn by a seed. */
import fc from 'fast-check';
import type { Ending } from './endings.js';
import type { Moment } from './round.js';

/** Milliseconds, at most. */
const LATEST = 150;

const drawn = fc.record({ early: fc.boolean(), delay: fc.integer({ min: 0, max: LATEST }) });

/** So many moments for one ending, always the same for a seed. */
export function momentsOf(ending: Ending, seed: number, count: number): readonly Moment[] {
  return fc
    .sample(drawn, { seed, numRuns: count })
    .map(({ early, delay }) => ({ early: early && ending.mayBeEarly, delay }));
}
