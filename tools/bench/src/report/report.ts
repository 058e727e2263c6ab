/** The result of a run: what is saved as JSON, and what tables and pages are made from. */
import type { Machine } from '../race/machine.js';
import type { CaseResult, ScenarioResult } from '../race/runner.js';
import type { Contestant, Metric } from '../race/scenario.js';

export interface Report {
  readonly machine: Machine;
  readonly scenarios: readonly ScenarioResult[];
}

/** A case in which somebody else is ahead of the best of ours. */
export interface Loss {
  readonly scenario: ScenarioResult;
  readonly one: CaseResult;
  readonly metric: Metric;
  readonly peer: Contestant;
  readonly ours: Contestant;
  /** How many times better the peer is; more than 1. */
  readonly ratio: number;
  readonly why: string | undefined;
}

/** Less than this is not called a loss: rounds differ by as much. */
const TIE = 1.05;

/** Where somebody is better than our best by more than chance, the worst first: in what is charted, not in every column. */
export function lossesOf({ scenarios }: Report): Loss[] {
  const losses: Loss[] = [];
  for (const scenario of scenarios) {
    const charted = scenario.metrics.filter(({ tableOnly }) => tableOnly !== true);
    for (const one of scenario.cases) for (const metric of charted) losses.push(...lossesIn(scenario, one, metric));
  }
  return losses.sort((a, b) => b.ratio - a.ratio);
}

function lossesIn(scenario: ScenarioResult, one: CaseResult, metric: Metric): Loss[] {
  const sign = metric.better === 'less' ? 1 : -1;
  const figureOf = (contestant: Contestant) => one.figures[contestant.name]?.[metric.key];
  const [best] = scenario.contestants
    .filter((contestant) => contestant.role === 'ours' && figureOf(contestant) !== undefined)
    .sort((a, b) => sign * ((figureOf(a)?.median ?? 0) - (figureOf(b)?.median ?? 0)));
  const own = best && figureOf(best);
  if (best === undefined || own === undefined) return [];
  return scenario.contestants.flatMap((peer) => {
    const figure = figureOf(peer);
    if (peer.role !== 'peer' || figure === undefined) return [];
    const ratio = metric.better === 'less' ? own.median / figure.median : figure.median / own.median;
    const apart = metric.better === 'less' ? figure.max < own.min : figure.min > own.max;
    if (!(ratio > TIE && apart)) return [];
    return [{ scenario, one, metric, peer, ours: best, ratio, why: scenario.reasons[peer.name] }];
  });
}

/** Figures of the metrics that count, and how many of them are noisy. */
export function noiseOf({ scenarios }: Report): { figures: number; noisy: number } {
  let [figures, noisy] = [0, 0];
  for (const { metrics, cases } of scenarios) {
    const [first] = metrics;
    for (const one of cases) {
      for (const own of Object.values(one.figures)) {
        const figure = first && own[first.key];
        if (figure === undefined) continue;
        figures++;
        if (figure.noisy) noisy++;
      }
    }
  }
  return { figures, noisy };
}

/** More noisy figures than this, more load than that before the run, or a host that takes more: then not to be trusted. */
const NOISY_SHARE = 0.25;
const STOLEN_PERCENT = 5;

/** What speaks against the run as a whole, in words; empty if nothing does. */
export function doubtsAbout(report: Report): string[] {
  const { figures, noisy } = noiseOf(report);
  const { stolen, load, cores, pinned } = report.machine;
  const doubts: string[] = [];
  if (noisy > figures * NOISY_SHARE) {
    doubts.push(`${noisy} of ${figures} figures vary by more than a fifth between rounds: this run is too noisy`);
  }
  if (stolen > STOLEN_PERCENT) doubts.push(`the host took ${stolen.toFixed(0)} % of the processors’ time`);
  if (load > cores / 2) doubts.push(`the machine was busy when the run began (load ${load.toFixed(1)})`);
  if (!pinned) doubts.push('server and client could not be kept on cores of their own (one core, or no taskset)');
  return doubts;
}
