/** A report as tables for a terminal. */
import CliTable from 'cli-table3';
import { type Figure, shown } from '../race/figures.js';
import { machineInWords } from '../race/machine.js';
import type { ScenarioResult } from '../race/runner.js';
import { growthOf } from './growth.js';
import { doubtsAbout, lossesOf, type Report } from './report.js';

export function metricTitle({ title, unit }: { readonly title: string; readonly unit: string }): string {
  return unit === '' ? title : `${title}, ${unit}`;
}

/** "median (minimum–maximum)", marked if it is noisy. */
export function figureText(figure: Figure | undefined): string {
  if (figure === undefined) return '–';
  return `${shown(figure.median)}${figure.noisy ? ' ~' : ''} (${shown(figure.min)}–${shown(figure.max)})`;
}

export function ratioText(figure: Figure | undefined): string {
  return figure?.ratio === undefined ? '–' : `${shown(figure.ratio)}`;
}

function scenarioText(scenario: ScenarioResult): string {
  const { title, name, metrics, baseline, contestants, cases } = scenario;
  // The page has the rest.
  const charted = metrics.filter(({ tableOnly }) => tableOnly !== true);
  const lines = [`\n${title} (${name})`];
  for (const one of cases) {
    const [first] = metrics;
    const head = ['', 'path', ...charted.map(metricTitle), `× ${baseline}`];
    const table = new CliTable({ head, style: { head: [], border: [], compact: true } });
    for (const contestant of contestants) {
      const own = one.figures[contestant.name];
      const note = contestant.version === undefined ? 'not installed' : one.failures[contestant.name];
      if (own === undefined) {
        table.push([contestant.name, { content: note ?? 'no figures', colSpan: charted.length + 2 }]);
        continue;
      }
      table.push([
        contestant.name,
        one.methods[contestant.name] ?? '',
        ...charted.map(({ key }) => figureText(own[key])),
        ratioText(first && own[first.key]),
      ]);
    }
    lines.push(one.name, table.toString());
  }
  return [...lines, ...growthOf(scenario)].join('\n');
}

export function versionsOf({ scenarios }: Report): Map<string, string | undefined> {
  const versions = new Map<string, string | undefined>();
  for (const { contestants } of scenarios) {
    for (const { name, version } of contestants) if (version !== process.version) versions.set(name, version);
  }
  return versions;
}

export function lossesInWords(report: Report): string[] {
  return lossesOf(report).map(
    ({ scenario, one, metric, peer, ours, ratio }) =>
      `${scenario.title}, ${one.name}: ${peer.name} is ${shown(ratio)} times better than ${ours.name} (${metric.title})`,
  );
}

export function reportText(report: Report): string {
  const { machine, scenarios } = report;
  const { effort, stolen, minutes } = machine;
  const versions = [...versionsOf(report)].map(([name, version]) => `${name} ${version ?? 'not installed'}`);
  const losses = lossesInWords(report);
  return [
    ...scenarios.map(scenarioText),
    '',
    losses.length === 0 ? 'Nobody is ahead of us here.' : 'Where we lose:',
    ...losses.map((line) => `- ${line}`),
    '',
    machineInWords(machine),
    `Contestants: ${versions.join(', ')}; the others are Node ${machine.node}`,
    `Medians (minimum–maximum) of ${effort.rounds} interleaved rounds after one that does not count; ~ is noisy; ${minutes.toFixed(1)} minutes, ${stolen.toFixed(1)} % of the processors’ time taken by the host.`,
    ...doubtsAbout(report).map((doubt) => `Beware: ${doubt}.`),
  ].join('\n');
}
