/** A scenario without processes: what the runner does with it can be seen. */
import type { Case, Contestant, Scenario } from '../dist/race/scenario.js';

export const contestant = (name: string, more: Partial<Contestant> = {}): Contestant => ({
  name,
  description: `the one called ${name}`,
  role: 'peer',
  version: '1.0',
  ...more,
});

export interface FakeOptions {
  readonly contestants?: readonly Contestant[];
  readonly cases?: readonly Case[];
  /** What a turn gives; throws to fail. */
  readonly turn?: (who: string, one: Case) => Record<string, number>;
  readonly check?: (who: string) => void;
  readonly enter?: (who: string) => void;
}

export function fakeScenario(options: FakeOptions = {}): { scenario: Scenario; log: string[] } {
  const log: string[] = [];
  const scenario: Scenario = {
    name: 'fake',
    title: 'A race <of> nobody & "nothing"',
    about: 'Nothing is done.',
    metrics: [
      { key: 'cpu', title: 'CPU', unit: 's', better: 'less' },
      { key: 'speed', title: 'speed', unit: 'm/s', better: 'more' },
      { key: 'rest', title: 'the rest', unit: '', better: 'less', tableOnly: true },
    ],
    baseline: 'node',
    axis: { title: 'size', kind: 'bytes' },
    growth: true,
    contestants: options.contestants ?? [contestant('ours', { role: 'ours' }), contestant('node')],
    reasons: { node: 'it has it <easier>' },
    cases: () => options.cases ?? [{ name: 'small', group: 'all', x: 1024 }],
    async open() {
      log.push('open');
      return {
        async enter(who) {
          options.enter?.(who);
          log.push(`enter ${who}`);
          return {
            async check() {
              log.push(`check ${who}`);
              options.check?.(who);
            },
            async turn(one) {
              log.push(`turn ${who}`);
              return options.turn?.(who, one) ?? { cpu: 1, speed: 1, rest: 1 };
            },
            async close() {
              log.push(`close ${who}`);
            },
          };
        },
        async close() {
          log.push('close');
        },
      };
    },
  };
  return { scenario, log };
}
