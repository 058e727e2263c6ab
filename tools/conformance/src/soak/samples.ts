/** What is looked at, and whether it has grown. */
import { median } from 'simple-statistics';

export interface Sample {
  /** Seconds since the start. */
  readonly at: number;
  /** Nothing was under way: all clients had paused, and what they had left behind was over. */
  readonly quiet: boolean;
  readonly descriptors: number;
  /** Resident, in MiB, after garbage collection. */
  readonly residentSet: number;
  /** Lines of /proc/self/maps. */
  readonly mappings: number;
  readonly threads: number;
  /** Of the process, and of servers and sockets that live long. */
  readonly listeners: number;
  /** Timers, and handles and requests of libuv's. */
  readonly resources: number;
  readonly transfers: number;
  readonly pipesInUse: number;
  /** Worker threads that have come and gone. */
  readonly threadsGone: number;
}

export type Metric = Exclude<keyof Sample, 'at' | 'quiet' | 'threadsGone'>;

interface Tolerance {
  readonly title: string;
  /** Of growth from the end of the warm-up to the end of the run, by the slope of quiet samples. */
  readonly growth: number;
  /** Besides, for each worker thread that has gone in the meantime. */
  readonly perThread?: number;
  /** The most that a quiet sample may show; where nothing may be left at all. */
  readonly most?: number;
}

/**
 * A count that is the same at every quiet moment may differ by one or two that are just being closed. What leaks with each
 * transfer, or with each hundredth, grows by far more. Memory: V8 and malloc keep what they may need again. Mappings: koffi
 * 3.3.4 leaves three behind in each worker thread that has loaded libc, and three more for each call that it has made off the
 * thread at a time (measured with nothing but koffi: 6, 9, 12, 15 for one to four). There are few threads here, and many
 * transfers.
 */
export const TOLERANCES: Readonly<Record<Metric, Tolerance>> = {
  descriptors: { title: 'descriptors', growth: 2 },
  residentSet: { title: 'resident memory, MiB', growth: 24 },
  mappings: { title: 'mappings (VMAs)', growth: 64, perThread: 9 },
  threads: { title: 'threads', growth: 1 },
  listeners: { title: 'listeners', growth: 1 },
  resources: { title: 'timers and handles', growth: 2 },
  transfers: { title: 'transfers under way', growth: 0, most: 0 },
  pipesInUse: { title: 'pipes in use', growth: 0, most: 0 },
};

export const METRICS: readonly Metric[] = Object.keys(TOLERANCES) as Metric[];

/** So many of the quiet samples are warm-up: code is compiled, caches and pools fill. */
const WARM_UP = 0.25;
const QUIET_MIN = 4;

export interface Finding {
  readonly metric: Metric;
  readonly first: number;
  readonly last: number;
  readonly peak: number;
  /** Over the run without its warm-up, by the Theil–Sen slope: the median of the slopes between all pairs. */
  readonly growth: number;
  readonly allowed: number;
  readonly grows: boolean;
}

export function findings(samples: readonly Sample[]): Finding[] {
  const all = samples.filter(({ quiet }) => quiet);
  const quiet = all.slice(Math.ceil(all.length * WARM_UP));
  if (quiet.length < QUIET_MIN) throw new RangeError(`${quiet.length} quiet samples are too few for a verdict`);
  const [first, last] = [quiet[0] as Sample, quiet.at(-1) as Sample];
  return METRICS.map((metric) => {
    const { growth: fixed, perThread = 0, most = Number.POSITIVE_INFINITY } = TOLERANCES[metric];
    const allowed = fixed + perThread * (last.threadsGone - first.threadsGone);
    const growth = slopeOf(quiet, metric) * (last.at - first.at);
    return {
      metric,
      first: first[metric],
      last: last[metric],
      peak: Math.max(...samples.map((sample) => sample[metric])),
      growth,
      allowed,
      grows: growth > allowed || Math.max(...quiet.map((sample) => sample[metric])) > most,
    };
  });
}

/** Per second. A few outliers do not move it, a steady trend does. */
function slopeOf(samples: readonly Sample[], metric: Metric): number {
  const slopes = samples.flatMap((later, index) =>
    samples.slice(0, index).map((earlier) => (later[metric] - earlier[metric]) / (later.at - earlier.at)),
  );
  return median(slopes);
}
