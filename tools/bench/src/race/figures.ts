/** Figures of several rounds. */
import { linearRegression, max, median, min, quantile } from 'simple-statistics';

export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Median of the ratios to the baseline, taken round by round, so that a machine whose speed drifts does not look like a difference. */
  readonly ratio: number | undefined;
  /** The middle half of the rounds is wider than {@link NOISE_LIMIT} of the median. */
  readonly noisy: boolean;
  readonly samples: readonly number[];
}

export const NOISE_LIMIT = 0.2;

/** @param baseline the baseline's figures of the same rounds. */
export function figureOf(samples: readonly number[], baseline?: readonly number[]): Figure {
  const list = [...samples];
  const middle = median(list);
  const spread = list.length < 3 ? 0 : quantile(list, 0.75) - quantile(list, 0.25);
  const ratios = baseline?.flatMap((other, round) => {
    const ratio = (list[round] ?? Number.NaN) / other;
    return Number.isFinite(ratio) ? [ratio] : [];
  });
  return {
    median: middle,
    min: min(list),
    max: max(list),
    ratio: ratios === undefined || ratios.length === 0 ? undefined : median(ratios),
    noisy: spread > NOISE_LIMIT * Math.abs(middle),
    samples: list,
  };
}

/** The exponent e of y ~ x^e, by least squares on the logarithms; undefined for fewer than two points above zero. */
export function growthExponent(points: readonly (readonly [x: number, y: number])[]): number | undefined {
  const logarithms = points.filter(([x, y]) => x > 0 && y > 0).map(([x, y]) => [Math.log(x), Math.log(y)]);
  return logarithms.length < 2 ? undefined : linearRegression(logarithms).m;
}

/** How something grows with something else, in words. */
export function growthInWords(exponent: number): string {
  if (exponent < -0.1) return 'falls';
  if (exponent <= 0.1) return 'does not grow';
  if (exponent < 0.9) return 'grows more slowly';
  if (exponent <= 1.1) return 'grows in proportion';
  return 'grows faster';
}

/** Three digits that say something, and thousands in full. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}
