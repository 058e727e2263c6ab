/** What a run is told to do, and what it tells. */
import { MiB } from '@zerocopy/testing/bytes';

export interface Options {
  readonly seed: number;
  /** Bytes of each way. */
  readonly size: number;
  /** How long receivers stop reading. */
  readonly stallMs: number;
  /**
   * How long the link is down, before it comes back. A kernel whose own device is down gives a connection up after fifteen
   * probes of a closed window, half a second apart: it has to be less than that.
   */
  readonly downMs: number;
  /** How long no packet gets through, though both hosts' devices are up; 0: not at all. */
  readonly silenceMs: number;
  /** How long one way may take, without the time for which it is stopped. */
  readonly patienceMs: number;
  /** Of those that packets are under, only these; default: all. What interrupts them is always part of a run. */
  readonly conditions?: readonly string[];
  /** Part of a name: only these conditions or ways. */
  readonly only?: string | undefined;
}

export interface Row {
  readonly condition: string;
  /** The ways that were gone, or what was cut off. */
  readonly what: readonly string[];
  readonly faults: readonly string[];
  /** Which ways were taken, or what came of it. */
  readonly outcome: string;
  /** That have been compared with what was sent. */
  readonly bytes: number;
  readonly seconds: number;
}

/** From the laboratory to whoever has started it. */
export type Told =
  | { readonly link: string; readonly congestionControl: string }
  | { readonly row: Row }
  | { readonly failure: string };

export interface Report {
  readonly link: string;
  readonly rows: readonly Row[];
}

/** For every day: as short as can be. */
export const QUICK: Omit<Options, 'seed'> = {
  size: MiB / 2,
  stallMs: 500,
  downMs: 300,
  silenceMs: 0,
  patienceMs: 30_000,
  conditions: ['clean', 'all of them'],
};

export const USUAL: Omit<Options, 'seed'> = {
  size: 2 * MiB,
  stallMs: 10_000,
  downMs: 3000,
  silenceMs: 5000,
  patienceMs: 180_000,
};

export const LONG: Omit<Options, 'seed'> = {
  size: 6 * MiB,
  stallMs: 180_000,
  downMs: 6000,
  silenceMs: 30_000,
  patienceMs: 900_000,
};
