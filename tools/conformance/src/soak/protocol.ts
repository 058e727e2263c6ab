/** What the command asks the process that is looked at. */
import type { Sample } from './samples.js';

/** Something that is made to leak, so that it can be seen that a leak is seen. */
export const LEAKS = ['descriptors', 'listeners', 'timers', 'mappings'] as const;
export type Leak = (typeof LEAKS)[number];

export interface ServerOptions {
  readonly seed: number;
  readonly directory: string;
  readonly leak?: Leak | undefined;
}

/** Of one way, or of what else is done: how often it has come to its end, and how often it was broken off. */
export interface Count {
  whole: number;
  brokenOff: number;
}

/** By name. */
export type Counts = Record<string, Count>;

/** What is seen at a moment by the process itself. */
export type Seen = Omit<Sample, 'at' | 'quiet'>;

/** `go`: transfers begin, by a crossing. */
export interface Go {
  readonly crossing: number;
}

/** `pause`: no more begin. */
export interface Pause {
  /** The crossing is about to be killed. */
  readonly vanishing: boolean;
}
