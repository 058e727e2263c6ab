/** Runs scenarios: everybody checked, everybody warmed, then interleaved rounds. */
import { type Figure, figureOf } from './figures.js';
import type { Axis, Case, Contestant, Effort, Entrant, Metric, Scenario, Values } from './scenario.js';

export interface CaseResult {
  readonly name: string;
  readonly group: string | undefined;
  readonly x: number | undefined;
  /** By contestant, by metric. */
  readonly figures: Readonly<Record<string, Readonly<Record<string, Figure>>>>;
  /** By contestant: why it has no figures. */
  readonly failures: Readonly<Record<string, string>>;
  /** By contestant: how it did the work. */
  readonly methods: Readonly<Record<string, string>>;
}

export interface ScenarioResult {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  readonly metrics: readonly Metric[];
  readonly baseline: string;
  readonly axis: Axis | undefined;
  readonly growth: boolean;
  readonly contestants: readonly Contestant[];
  readonly reasons: Readonly<Record<string, string>>;
  readonly cases: readonly CaseResult[];
}

export interface RunnerOptions {
  readonly effort: Effort;
  readonly pin: boolean;
  /** Names of contestants; everybody who need not be named, if it is left out. */
  readonly contestants?: readonly string[];
  /** Called after every turn with the estimated milliseconds that it stood for. */
  readonly onProgress?: (estimate: number, what: string) => void;
}

export function participants(scenario: Scenario, named: readonly string[] | undefined): readonly Contestant[] {
  return scenario.contestants.filter(({ name, onlyIfNamed }) =>
    named === undefined ? onlyIfNamed !== true : named.includes(name),
  );
}

/** What {@link runScenario} will report as progress in all, in milliseconds. */
export function estimate(scenario: Scenario, { effort, contestants }: RunnerOptions): number {
  const present = participants(scenario, contestants).filter(({ version }) => version !== undefined);
  const turns = scenario.cases(effort).map((one) => turnEstimate(scenario, one, effort));
  return turns.reduce((sum, turn) => sum + turn, 0) * present.length * (effort.rounds + 1);
}

/** Milliseconds of a turn besides the turn itself: connecting, reading the accounts. */
const BESIDES = 40;

function turnEstimate(scenario: Scenario, one: Case, effort: Effort): number {
  return BESIDES + (scenario.turnEstimate?.(one, effort) ?? effort.turn);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

interface Racing {
  readonly name: string;
  readonly entrant: Entrant<Case>;
}

export async function runScenario(scenario: Scenario, options: RunnerOptions): Promise<ScenarioResult> {
  const { effort, pin } = options;
  const contestants = participants(scenario, options.contestants);
  const cases = scenario.cases(effort);
  const results: CaseResult[] = [];
  const stage = await scenario.open(cases, effort, pin);
  const racing: Racing[] = [];
  const failedToStart: Record<string, string> = {};
  try {
    for (const { name, version } of contestants) {
      if (version === undefined) continue;
      try {
        racing.push({ name, entrant: await stage.enter(name) });
      } catch (error) {
        failedToStart[name] = `did not start: ${messageOf(error)}`;
      }
    }
    for (const one of cases) results.push(await runCase(scenario, one, racing, failedToStart, options));
  } finally {
    for (const { entrant } of racing) await entrant.close();
    await stage.close();
  }
  const { name, title, about, metrics, baseline, axis, growth = false, reasons = {} } = scenario;
  return { name, title, about, metrics, baseline, axis, growth, contestants, reasons, cases: results };
}

async function runCase(
  scenario: Scenario,
  one: Case,
  racing: readonly Racing[],
  failedToStart: Readonly<Record<string, string>>,
  { effort, onProgress }: RunnerOptions,
): Promise<CaseResult> {
  const failures: Record<string, string> = { ...failedToStart };
  const samples = new Map<string, Values[]>();
  const step = turnEstimate(scenario, one, effort);
  const attempt = async (name: string, work: () => Promise<void>): Promise<void> => {
    if (name in failures) return;
    try {
      await work();
    } catch (error) {
      failures[name] = messageOf(error);
      samples.delete(name);
    }
  };
  for (const { name, entrant } of racing) {
    await attempt(name, async () => {
      await entrant.check(one);
      await entrant.turn(one);
      samples.set(name, []);
    });
    onProgress?.(step, `${scenario.name}, ${one.name}: ${name} checked`);
  }
  for (let round = 1; round <= effort.rounds; round++) {
    for (const { name, entrant } of racing) {
      await attempt(name, async () => {
        samples.get(name)?.push(await entrant.turn(one));
      });
      onProgress?.(step, `${scenario.name}, ${one.name}, round ${round} of ${effort.rounds}: ${name}`);
    }
  }
  const methods: Record<string, string> = {};
  for (const { name, entrant } of racing) {
    await attempt(name, async () => {
      const method = await entrant.method?.();
      if (method !== undefined) methods[name] = method;
    });
  }
  return {
    name: one.name,
    group: one.group,
    x: one.x,
    figures: figuresOf(scenario, samples),
    failures,
    methods,
  };
}

function figuresOf(scenario: Scenario, samples: ReadonlyMap<string, readonly Values[]>): CaseResult['figures'] {
  const list = (name: string, key: string): readonly number[] =>
    (samples.get(name) ?? []).map((values) => values[key] ?? Number.NaN);
  const figures: Record<string, Record<string, Figure>> = {};
  for (const name of samples.keys()) {
    const own: Record<string, Figure> = {};
    for (const { key } of scenario.metrics) {
      const values = list(name, key);
      if (values.length > 0 && values.every(Number.isFinite)) own[key] = figureOf(values, list(scenario.baseline, key));
    }
    figures[name] = own;
  }
  return figures;
}
