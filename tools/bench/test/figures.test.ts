import test from 'ava';
import { figureOf, growthExponent, growthInWords, shown } from '../dist/race/figures.js';

test('a figure is the median, with its extremes, and the median of the ratios round by round', (t) => {
  // The machine slows down by a factor of ten; the ratio does not notice.
  const figure = figureOf([1, 10, 2], [2, 20, 4]);
  t.like(figure, { median: 2, min: 1, max: 10, ratio: 0.5 });
});

test('noise is a middle half that is wider than a fifth of the median; a single round is not called noisy', (t) => {
  t.false(figureOf([100, 101, 99, 300, 100]).noisy);
  t.true(figureOf([100, 160, 60, 150, 100]).noisy);
  t.false(figureOf([1]).noisy);
});

test('no ratio where the baseline has no figure', (t) => {
  t.is(figureOf([1, 2, 3]).ratio, undefined);
  t.is(figureOf([1, 2, 3], []).ratio, undefined);
});

test('growth: the exponent of a power law, and what it is called', (t) => {
  const points = [1, 10, 100, 1000].map((x) => [x, 7 * x ** 0.5] as const);
  t.true(Math.abs((growthExponent(points) ?? 0) - 0.5) < 1e-9);
  t.is(growthExponent([[1, 1]]), undefined);
  t.deepEqual([-1, 0, 0.05, 0.5, 1, 1.5].map(growthInWords), [
    'falls',
    'does not grow',
    'does not grow',
    'grows more slowly',
    'grows in proportion',
    'grows faster',
  ]);
});

test('figures are shown with three digits, thousands in full', (t) => {
  t.deepEqual([0.123456, 12.345, 123.4, 12345.6, Number.NaN].map(shown), ['0.123', '12.3', '123', '12,346', '–']);
});
