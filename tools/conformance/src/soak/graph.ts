/** What the samples look like over time: in the terminal, and as an SVG. */
import { plot } from 'asciichart';
import * as echarts from 'echarts';
import { METRICS, type Metric, type Sample, TOLERANCES } from './samples.js';

const COLUMNS = 72;
const ROWS = 5;

/** One plot under the other. */
export function terminalGraph(samples: readonly Sample[], metrics: readonly Metric[] = METRICS): string {
  return metrics
    .map((metric) => {
      const values = spread(samples.map((sample) => sample[metric]));
      // A flat line has no height to scale by.
      const flat = Math.max(...values) === Math.min(...values);
      const graph = plot(values, { height: flat ? 1 : ROWS, format: (value: number) => value.toFixed(1).padStart(9) });
      return `${TOLERANCES[metric].title}\n${graph}`;
    })
    .join('\n\n');
}

/** So many columns, whatever the number of samples: the largest of what falls into each. */
function spread(values: readonly number[]): number[] {
  if (values.length <= COLUMNS) return [...values];
  return Array.from({ length: COLUMNS }, (_, column) => {
    const from = Math.floor((column * values.length) / COLUMNS);
    const to = Math.max(from + 1, Math.floor(((column + 1) * values.length) / COLUMNS));
    return Math.max(...values.slice(from, to));
  });
}

const WIDTH = 1000;
const PLOT = 150;

export function svgGraph(samples: readonly Sample[], title: string): string {
  const chart = echarts.init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: WIDTH,
    height: METRICS.length * PLOT + 60,
  });
  chart.setOption({
    animation: false,
    title: [
      { text: title, left: 10, top: 8, textStyle: { fontSize: 14 } },
      ...METRICS.map((metric, at) => ({
        text: TOLERANCES[metric].title,
        left: 10,
        top: 40 + at * PLOT,
        textStyle: { fontSize: 11, fontWeight: 'normal' },
      })),
    ],
    grid: METRICS.map((_, at) => ({ left: 60, right: 20, top: 60 + at * PLOT, height: PLOT - 55 })),
    xAxis: METRICS.map((_, gridIndex) => ({
      type: 'value',
      gridIndex,
      max: 'dataMax',
      axisLabel: { formatter: '{value} s' },
    })),
    yAxis: METRICS.map((_, gridIndex) => ({ type: 'value', gridIndex, scale: true, splitNumber: 3 })),
    series: METRICS.flatMap((metric, at) => [
      {
        type: 'line',
        name: 'busy',
        xAxisIndex: at,
        yAxisIndex: at,
        symbol: 'none',
        lineStyle: { width: 1, color: '#9aa7b8' },
        data: samples.map((sample) => [sample.at, sample[metric]]),
      },
      {
        type: 'line',
        name: 'quiet',
        xAxisIndex: at,
        yAxisIndex: at,
        symbolSize: 4,
        lineStyle: { width: 2, color: '#2563a8' },
        itemStyle: { color: '#2563a8' },
        data: samples.filter(({ quiet }) => quiet).map((sample) => [sample.at, sample[metric]]),
      },
    ]),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
