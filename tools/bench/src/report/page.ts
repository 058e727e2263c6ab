/** A report as one HTML file that needs nothing else: charts, a table beneath each, and where we lose. */
import { shown } from '../race/figures.js';
import { machineInWords } from '../race/machine.js';
import type { ScenarioResult } from '../race/runner.js';
import type { Metric } from '../race/scenario.js';
import { COLOURS, chartedMetrics, chartSvg, type Group, groupsOf, SIZES } from './chart.js';
import { escapeHtml } from './escape.js';
import { growthOf } from './growth.js';
import { doubtsAbout, type Loss, lossesOf, noiseOf, type Report } from './report.js';
import { figureText, metricTitle } from './text.js';

const STYLE = `
:root{color-scheme:light dark;${COLOURS.light}}
@media(prefers-color-scheme:dark){:root{${COLOURS.dark}}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
h1,h2,h3{line-height:1.25}h2{margin-top:3rem;border-bottom:1px solid var(--line)}
a{color:inherit}code{background:var(--panel);padding:.1em .3em;border-radius:.25em;overflow-wrap:anywhere}
figure{margin:1.5rem 0}svg{display:block;width:100%;height:auto}svg.narrow{display:none}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:.8125rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page)}
tr.ours th{font-weight:700}tr th{font-weight:400}thead th{font-weight:600}
small{color:var(--muted);display:block}.beware{border-left:.25rem solid #d9434e;padding-left:.75rem}
.note{color:var(--muted)}
@media(max-width:40rem){svg.wide{display:none}svg.narrow{display:block}}
@media print{:root{color-scheme:light;${COLOURS.light}}body{max-width:none;font-size:10pt}figure,tr,h2,h3{break-inside:avoid}h2,h3{break-after:avoid}.table{overflow:visible}table{font-size:7pt}td,th{padding:.15rem .3rem;white-space:normal}th:first-child,td:first-child{position:static}svg.wide{display:block}svg.narrow{display:none}}
`;

/** A template whose values are escaped, unless they are HTML already. */
class Html {
  readonly source: string;
  constructor(source: string) {
    this.source = source;
  }
}

function html(strings: TemplateStringsArray, ...values: readonly (string | Html | readonly Html[])[]): Html {
  const parts = values.map((value) =>
    typeof value === 'string'
      ? escapeHtml(value)
      : value instanceof Html
        ? value.source
        : value.map((one) => one.source).join('\n'),
  );
  return new Html(String.raw({ raw: strings }, ...parts));
}

const NOTHING = new Html('');

function table(scenario: ScenarioResult, group: Group, metric: Metric): Html {
  const { contestants, baseline } = scenario;
  const rows = contestants.map((contestant) => {
    const cells = group.cases.map(({ figures, failures }) => {
      const figure = figures[contestant.name]?.[metric.key];
      if (figure === undefined) {
        return html`<td>${contestant.version === undefined ? 'not installed' : (failures[contestant.name] ?? '–')}</td>`;
      }
      const ratio = figure.ratio === undefined ? NOTHING : html`<small>${shown(figure.ratio)} × ${baseline}</small>`;
      return html`<td>${figureText(figure)}${ratio}</td>`;
    });
    return html`<tr class="${contestant.role}"><th scope="row">${contestant.name}</th>${cells}</tr>`;
  });
  const heads = group.cases.map(({ name }) => html`<th scope="col">${name}</th>`);
  return html`<div class="table" tabindex="0" role="region" aria-label="${metricTitle(metric)}, ${group.name}"><table><thead><tr><th scope="col">${metricTitle(metric)}</th>${heads}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

function figure(scenario: ScenarioResult, group: Group, metric: Metric): Html {
  const svgs = SIZES.map((size) => new Html(chartSvg(scenario, group, metric, size)));
  return html`<figure><figcaption>${group.name}: ${metric.title}</figcaption>${svgs}${table(scenario, group, metric)}</figure>`;
}

function section(scenario: ScenarioResult): Html {
  const groups = groupsOf(scenario);
  const charts = groups.map((group) => {
    const charted = chartedMetrics(scenario).map((metric) => figure(scenario, group, metric));
    const rest = scenario.metrics.filter(({ tableOnly }) => tableOnly === true);
    const more =
      rest.length === 0
        ? NOTHING
        : html`<details><summary>More of ${group.name}</summary>${rest.map((metric) => table(scenario, group, metric))}</details>`;
    return html`<h3>${group.name}</h3>${charted}${more}`;
  });
  const growth = growthOf(scenario);
  const slopes = growth.length === 0 ? NOTHING : html`<ul>${growth.map((line) => html`<li>${line}</li>`)}</ul>`;
  return html`<section id="${scenario.name}"><h2>${scenario.title}</h2><p>${scenario.about}</p>${slopes}${charts}
<details><summary>Contestants</summary><ul>${scenario.contestants.map(
    ({ name, description, version }) => html`<li><b>${name}</b> ${version ?? 'not installed'}: ${description}</li>`,
  )}</ul></details></section>`;
}

function loss({ scenario, one, metric, peer, ours, ratio }: Loss): Html {
  return html`<li><a href="#${scenario.name}">${scenario.title}</a>, ${one.name}: <b>${peer.name}</b> is ${shown(ratio)} times better than ${ours.name} (${metric.title}).</li>`;
}

/** Losses of one scenario to one peer share their reason. */
function losses(report: Report): Html {
  const all = lossesOf(report);
  if (all.length === 0) return html`<p>Nowhere, in this run.</p>`;
  const groups = new Map<string, Loss[]>();
  for (const one of all) {
    const key = `${one.scenario.name} ${one.peer.name}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return html`<p>Every case in which a peer is ahead of the best of ours by more than a twentieth and by more than the rounds differ; the worst first.</p>${[
    ...groups.values(),
  ].map((group) => {
    const why = group[0]?.why;
    return html`<ul>${group.map(loss)}</ul>${why === undefined ? html`<p class="note">Not explained yet.</p>` : html`<p class="note">Why: ${why}</p>`}`;
  })}`;
}

export function pageOf(report: Report): string {
  const { machine, scenarios } = report;
  const { effort, minutes, stolen } = machine;
  const { figures, noisy } = noiseOf(report);
  const doubts = doubtsAbout(report).map((doubt) => html`<p class="beware">Beware: ${doubt}.</p>`);
  const settings = `Medians (minimum–maximum) of ${effort.rounds} rounds, in which the contestants took turns, after one that does not count; a turn is ${effort.turn} milliseconds or one piece of work. ${noisy} of ${figures} main figures are noisy (marked ~: the middle half of the rounds is wider than a fifth of the median). The host took ${stolen.toFixed(1)} % of the processors’ time. ${minutes.toFixed(1)} minutes.`;
  const flag = effort.name === 'normal' ? '' : ` -- --${effort.name}`;
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>zerocopy: the bench</title><link rel="icon" href="data:,"><style>${new Html(STYLE)}</style></head><body>
<h1>zerocopy: the bench</h1>
<p>${machineInWords(machine)}.</p>${doubts}
<p>${settings} Every contestant has a process of its own and was checked before it was measured: the right length, the right SHA-256. Made by <code>npm run bench${flag}</code>; run it, and doubt us.</p>
<nav><ul><li><a href="#losses">Where we lose, and why</a></li>${scenarios.map(({ name, title }) => html`<li><a href="#${name}">${title}</a></li>`)}</ul></nav>
<section id="losses"><h2>Where we lose, and why</h2>${losses(report)}</section>
${scenarios.map(section)}
</body></html>
`;
  return page.source;
}
