/** Charts as SVG: bars where there are few cases, lines along an axis where there are more. Colours are CSS variables. */
import { type EChartsOption, init } from 'echarts';
import { shown } from '../race/figures.js';
import { machineInWords } from '../race/machine.js';
import type { CaseResult, ScenarioResult } from '../race/runner.js';
import type { Contestant, Metric } from '../race/scenario.js';
import { escapeHtml } from './escape.js';
import type { Report } from './report.js';
import { metricTitle } from './text.js';

/** The values of {@link Chart}'s CSS variables; the rest of the page uses them too. */
export const COLOURS = {
  light: '--text:#1f2328;--muted:#59636e;--line:#d1d9e0;--page:#ffffff;--panel:#f6f8fa',
  dark: '--text:#e6edf3;--muted:#9198a1;--line:#3d444d;--page:#0d1117;--panel:#151b23',
};

/** Of middle lightness, to be told from white and from black. */
const OURS = ['#1f7ae0', '#0aa2a2', '#7d62e0', '#3f9be8', '#4bb3a0', '#a08cf0'];
const PEERS = ['#e0672b', '#c4418f', '#a87a10', '#55992f', '#d9434e', '#8f6f5e'];
const FALLBACK = '#7fa7d6';
const REFERENCE = '#8b949e';
const SYMBOLS = [
  'circle',
  'rect',
  'triangle',
  'diamond',
  'roundRect',
  'emptyCircle',
  'emptyRect',
  'emptyTriangle',
  'emptyDiamond',
];

/** A contestant has one colour in all charts of a scenario. */
function coloursOf(contestants: readonly Contestant[]): Map<string, string> {
  const used = { ours: 0, peer: 0 };
  return new Map(
    contestants.map(({ name, role }) => {
      if (role === 'ours') return [name, OURS[used.ours++ % OURS.length] as string];
      if (role === 'peer') return [name, PEERS[used.peer++ % PEERS.length] as string];
      return [name, role === 'fallback' ? FALLBACK : REFERENCE];
    }),
  );
}

/** Cases that share a chart. */
export interface Group {
  readonly name: string;
  readonly cases: readonly CaseResult[];
}

const LINES_FROM = 3;

/** Groups of cases along the scenario's axis; those that are too few for lines, one by one. */
export function groupsOf({ axis, cases }: ScenarioResult): Group[] {
  const byName = new Map<string, CaseResult[]>();
  for (const one of cases) {
    const name = axis === undefined || one.group === undefined ? one.name : one.group;
    byName.set(name, [...(byName.get(name) ?? []), one]);
  }
  return [...byName].flatMap(([name, group]) =>
    group.length >= LINES_FROM ? [{ name, cases: group }] : group.map((one) => ({ name: one.name, cases: [one] })),
  );
}

export function chartedMetrics({ metrics }: ScenarioResult): readonly Metric[] {
  return metrics.filter(({ tableOnly }) => tableOnly !== true);
}

export interface ChartSize {
  readonly width: number;
  readonly name: 'wide' | 'narrow';
}

/** For a screen or paper, and for a phone: SVG text shrinks with its picture. */
export const SIZES: readonly ChartSize[] = [
  { name: 'wide', width: 860 },
  { name: 'narrow', width: 350 },
];

const FONT = 'system-ui, sans-serif';
const text = (size = 12): object => ({ color: 'var(--text)', fontFamily: FONT, fontSize: size });
const muted = { color: 'var(--muted)', fontFamily: FONT, fontSize: 12 };
/** 10M instead of 10,000,000, for which there is no room at an axis. */
const SHORT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 });
const lines = { lineStyle: { color: 'var(--line)' } };

const label = (metric: Metric): string => `${metricTitle(metric)} (${metric.better} is better)`;

interface Drawn {
  readonly option: EChartsOption;
  readonly height: number;
}

const LETTER = 7;
const TITLE_HEIGHT = 62;

interface Heading {
  readonly title: string;
  readonly subtitle: string;
}

function titleOf(heading: Heading | undefined): object {
  if (heading === undefined) return {};
  const { title, subtitle } = heading;
  return {
    title: { text: title, subtext: subtitle, left: 8, top: 8, textStyle: text(15), subtextStyle: muted },
  };
}

function barsOf(scenario: ScenarioResult, one: CaseResult, metric: Metric, { width }: ChartSize): Drawn {
  const sign = metric.better === 'less' ? -1 : 1;
  const rows = scenario.contestants
    .flatMap(({ name, role }) => {
      const figure = one.figures[name]?.[metric.key];
      return figure === undefined ? [] : [{ name, role, value: figure.median }];
    })
    .sort((a, b) => sign * (a.value - b.value)); // the best is drawn last, which is on top
  const colours = coloursOf(scenario.contestants);
  const left = Math.max(60, ...rows.map(({ name }) => name.length * LETTER + 16));
  return {
    height: rows.length * 26 + 70,
    option: {
      grid: { left, right: 64, top: 8, bottom: 48 },
      xAxis: {
        type: 'value',
        name: label(metric),
        nameLocation: 'middle',
        nameGap: 28,
        nameTextStyle: muted,
        axisLabel: { ...muted, hideOverlap: true, formatter: (value: number) => SHORT.format(value) },
        splitNumber: width < 500 ? 3 : 5,
        splitLine: lines,
        axisLine: lines,
      },
      yAxis: {
        type: 'category',
        data: rows.map(({ name }) => name),
        axisLabel: { ...text(), interval: 0 },
        axisLine: lines,
        axisTick: { show: false },
      },
      series: [
        {
          type: 'bar',
          barWidth: 16,
          data: rows.map(({ name, value }) => ({ value, itemStyle: { color: colours.get(name) as string } })),
          label: { show: true, position: 'right', formatter: ({ value }) => shown(Number(value)), ...text() },
        },
      ],
    },
  };
}

function linesOf(
  scenario: ScenarioResult,
  { cases }: Group,
  metric: Metric,
  { width }: ChartSize,
  heading?: Heading,
): Drawn {
  const colours = coloursOf(scenario.contestants);
  const present = scenario.contestants.filter(({ name }) =>
    cases.some(({ figures }) => figures[name]?.[metric.key] !== undefined),
  );
  const legendRows = rowsFor(
    present.map(({ name }) => name.length * LETTER + 54),
    width - 16,
  );
  const top = 16 + legendRows * 24 + 24 + (heading === undefined ? 0 : TITLE_HEIGHT);
  const { axis } = scenario;
  return {
    height: top + 300,
    option: {
      ...titleOf(heading),
      grid: { left: 62, right: 20, top, bottom: 52 },
      legend: {
        top: heading === undefined ? 8 : TITLE_HEIGHT,
        left: 8,
        width: width - 16,
        itemWidth: 26,
        itemGap: 16,
        textStyle: text(),
        data: present.map(({ name }) => name),
      },
      xAxis: {
        type: 'category',
        data: cases.map(({ x, name }) => (axis === undefined || x === undefined ? name : axisValue(axis.kind, x))),
        name: axis?.title ?? '',
        nameLocation: 'middle',
        nameGap: 30,
        nameTextStyle: muted,
        axisLabel: { ...muted, hideOverlap: true },
        axisLine: lines,
        axisTick: { show: false },
      },
      yAxis: {
        type: 'log',
        name: label(metric),
        nameLocation: 'end',
        nameTextStyle: { ...muted, align: 'left', padding: [0, 0, 0, -50] },
        axisLabel: { ...muted, formatter: (value: number) => SHORT.format(value) },
        splitLine: lines,
      },
      series: present.map(({ name, role }, n) => ({
        type: 'line',
        name,
        symbol: SYMBOLS[n % SYMBOLS.length] as string,
        symbolSize: role === 'ours' ? 9 : 7,
        z: role === 'ours' ? 3 : 2,
        color: colours.get(name) as string,
        lineStyle: {
          width: role === 'ours' ? 3 : 1.5,
          type: role === 'reference' || role === 'fallback' ? 'dashed' : 'solid',
        },
        data: cases.map(({ figures }) => figures[name]?.[metric.key]?.median ?? null),
      })),
    },
  };
}

/** Lines that things of these widths take, one after the other. */
function rowsFor(widths: readonly number[], width: number): number {
  let [rows, used] = [1, 0];
  for (const one of widths) {
    if (used > 0 && used + one > width) {
      rows++;
      used = 0;
    }
    used += one;
  }
  return rows;
}

function axisValue(kind: 'bytes' | 'count', x: number): string {
  if (kind === 'count') return x.toLocaleString('en-US');
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (x >= size) return `${x / size} ${unit}`;
  }
  return `${x} B`;
}

function render({ option, height }: Drawn, { width, name }: ChartSize, description: string, style = ''): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption({ animation: false, ...option });
    return (
      chart
        .renderToSVGString()
        .replace(/<style[\s\S]*?<\/style>/g, '') // for a pointer, which these have no use for
        // Nothing is drawn outside, and ids would have to differ within a page.
        .replace(/<defs[\s\S]*?<\/defs>| clip-path="[^"]*"/g, '')
        .replace(/ class="zr\S*"| ecmeta_\w+="[^"]*"| pointer-events="visible"/g, '')
        .replace(
          /^<svg [^>]*>/,
          `<svg xmlns="http://www.w3.org/2000/svg" class="${name}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(description)}">${style}`,
        )
    );
  } finally {
    chart.dispose();
  }
}

export function chartSvg(scenario: ScenarioResult, group: Group, metric: Metric, size: ChartSize): string {
  const [first] = group.cases;
  const drawn =
    group.cases.length >= LINES_FROM || first === undefined
      ? linesOf(scenario, group, metric, size)
      : barsOf(scenario, first, metric, size);
  return render(drawn, size, `${scenario.title}, ${group.name}: ${label(metric)}`);
}

/** The first chart of the first scenario as a file of its own, with its date and machine. */
export function leadingChart({ machine, scenarios }: Report): string {
  const [scenario] = scenarios;
  const [group] = scenario === undefined ? [] : groupsOf(scenario);
  const [metric] = scenario?.metrics ?? [];
  if (scenario === undefined || group === undefined || metric === undefined)
    throw new Error('there is nothing to draw');
  const [wide] = SIZES as [ChartSize];
  const heading = { title: `${scenario.title}, ${group.name}`, subtitle: machineInWords(machine) };
  const drawn =
    group.cases.length >= LINES_FROM
      ? linesOf(scenario, group, metric, wide, heading)
      : barsOf(scenario, group.cases[0] as CaseResult, metric, wide);
  const style = `<style>svg{${COLOURS.light};background:var(--page)}@media(prefers-color-scheme:dark){svg{${COLOURS.dark}}}</style>`;
  return render(drawn, wide, `${heading.title}: ${label(metric)}. ${heading.subtitle}`, style);
}
