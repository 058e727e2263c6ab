/** Figures of several rounds, and how they are shown. */
import CliTable from 'cli-table3';
import { max, median, min } from 'simple-statistics';

/** By what they measure: lists of one figure a round. */
export class Samples {
  readonly #lists = new Map<string, number[]>();

  add(key: string, value: number): void {
    const list = this.#lists.get(key);
    if (list === undefined) this.#lists.set(key, [value]);
    else list.push(value);
  }

  get keys(): readonly string[] {
    return [...this.#lists.keys()];
  }

  /** "median (minimum–maximum)", or a dash: not measured. */
  summary(key: string): string {
    const list = this.#lists.get(key);
    if (list === undefined) return '–';
    return `${median(list).toPrecision(3)} (${min(list).toPrecision(3)}–${max(list).toPrecision(3)})`;
  }
}

/** One row for what was measured, one column for a contestant. */
export function tableOf(contestants: readonly { readonly name: string; readonly samples: Samples }[]): string {
  const table = new CliTable({ head: ['', ...contestants.map(({ name }) => name)], style: { head: [], border: [] } });
  const keys = new Set(contestants.flatMap(({ samples }) => samples.keys));
  for (const key of keys) table.push([key, ...contestants.map(({ samples }) => samples.summary(key))]);
  return table.toString();
}
