/** How costs grow, in words. */
import { growthExponent, growthInWords } from '../race/figures.js';
import type { ScenarioResult } from '../race/runner.js';

/** One sentence for each contestant and charted metric of a scenario with growth; the exponent is that of y ~ x^e. */
export function growthOf({ growth, axis, metrics, contestants, cases }: ScenarioResult): string[] {
  if (!growth || axis === undefined) return [];
  return metrics
    .filter(({ tableOnly }) => tableOnly !== true)
    .flatMap((metric) =>
      contestants.flatMap(({ name }) => {
        const points = cases.flatMap(({ x, figures }) => {
          const figure = figures[name]?.[metric.key];
          return x === undefined || figure === undefined ? [] : [[x, figure.median] as const];
        });
        const exponent = growthExponent(points);
        if (exponent === undefined) return [];
        const last = points.at(-1)?.[1] ?? Number.NaN;
        const first = points[0]?.[1] ?? Number.NaN;
        const times = `${Number((last / first).toPrecision(2)).toLocaleString('en-US')} times from the first to the last`;
        return [
          `${name}: ${metric.title} ${growthInWords(exponent)} with the ${axis.title} (exponent ${exponent.toFixed(2)}; ${times}).`,
        ];
      }),
    );
}
