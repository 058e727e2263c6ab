/** A report with everything in it that a page can show. */
import { figureOf } from '../dist/race/figures.js';
import { EFFORTS } from '../dist/race/scenario.js';
import type { Report } from '../dist/report/report.js';
import { contestant } from './fake-scenario.js';

const sizes = [
  ['1 KiB', 2 ** 10],
  ['32 KiB', 2 ** 15],
  ['1 MiB', 2 ** 20],
] as const;

const figures = (factor: number, baseline: number) =>
  Object.fromEntries(
    (['cpu', 'speed', 'rest'] as const).map((key) => [
      key,
      figureOf(
        [1, 1.1, 0.9].map((one) => one * factor),
        [baseline, baseline, baseline],
      ),
    ]),
  );

export const sampleReport: Report = {
  machine: {
    date: '2026-01-31',
    node: 'v20.20.2',
    kernel: '6.1.0',
    processor: 'A processor',
    cores: 2,
    memory: 4,
    pinned: true,
    effort: EFFORTS.quick,
    load: 0.1,
    stolen: 0,
    minutes: 1.5,
  },
  scenarios: [
    {
      name: 'fake',
      title: 'A race of nobody',
      about: 'Nothing is done.',
      metrics: [
        { key: 'cpu', title: 'CPU', unit: 's', better: 'less' },
        { key: 'speed', title: 'speed', unit: 'm/s', better: 'more' },
        { key: 'rest', title: 'the rest', unit: '', better: 'less', tableOnly: true },
      ],
      baseline: 'node',
      axis: { title: 'size', kind: 'bytes' },
      growth: true,
      contestants: [
        contestant('ours', { role: 'ours' }),
        contestant('ours-disabled', { role: 'fallback' }),
        contestant('node'),
        contestant('absent', { version: undefined }),
        contestant('floor', { role: 'reference' }),
      ],
      reasons: { node: 'It has it easier.' },
      cases: [
        ...sizes.map(([name, x]) => ({
          name,
          group: 'lines',
          x,
          figures: {
            ours: figures(x, x / 2),
            'ours-disabled': figures(x * 3, x / 2),
            node: figures(x / 2, x / 2),
            floor: figures(x / 4, x / 2),
          },
          failures: {},
          methods: { ours: 'sendfile' },
        })),
        {
          name: 'bars',
          group: undefined,
          x: undefined,
          figures: { ours: figures(2, 1), node: figures(1, 1) },
          failures: { floor: 'it has failed' },
          methods: {},
        },
      ],
    },
  ],
};
