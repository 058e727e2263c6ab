/** What is raced: scenarios with cases, contestants with turns. */

/** How long and how often is measured. */
export interface Effort {
  readonly name: 'quick' | 'normal' | 'full';
  /** Counted rounds; one more comes before them for everybody to get warm. */
  readonly rounds: number;
  /** How long one contestant's turn is, in milliseconds; turns with a fixed amount of work may be longer. */
  readonly turn: number;
}

export const EFFORTS: Readonly<Record<Effort['name'], Effort>> = {
  quick: { name: 'quick', rounds: 3, turn: 30 },
  normal: { name: 'normal', rounds: 5, turn: 150 },
  full: { name: 'full', rounds: 7, turn: 500 },
};

export interface Metric {
  readonly key: string;
  /** For axes and column heads, without the unit. */
  readonly title: string;
  readonly unit: string;
  readonly better: 'less' | 'more';
  /** Only in tables. */
  readonly tableOnly?: boolean;
}

/**
 * `ours`: a way to use the packages. `fallback`: the packages with every feature turned off. `peer`: what people would
 * pick instead. `reference`: not a way to do the job, but a bound: the bare loop, or no file at all.
 */
export type Role = 'ours' | 'fallback' | 'peer' | 'reference';

export interface Contestant {
  readonly name: string;
  readonly description: string;
  readonly role: Role;
  /** Undefined: it is not installed. */
  readonly version: string | undefined;
  /** Runs only when it is named: it tunes us, or answers a question of its own. */
  readonly onlyIfNamed?: boolean;
}

export interface Case {
  readonly name: string;
  /** Cases of one group share a chart. */
  readonly group?: string;
  /** Where it stands on the scenario's horizontal axis. */
  readonly x?: number;
}

/** By the keys of the scenario's metrics; a metric that does not apply is left out. */
export type Values = Readonly<Record<string, number>>;

/** One contestant, in a process of its own, ready for every case. */
export interface Entrant<C extends Case> {
  /** Throws unless this contestant does the whole job: the right length, the right hash. */
  check(one: C): Promise<void>;
  turn(one: C): Promise<Values>;
  /** How it did the work, if it can say. */
  method?(): Promise<string>;
  close(): Promise<void>;
}

/** A scenario with its files written and its processes' common surroundings running. */
export interface Stage<C extends Case> {
  enter(contestant: string): Promise<Entrant<C>>;
  close(): Promise<void>;
}

export interface Axis {
  readonly title: string;
  readonly kind: 'bytes' | 'count';
}

export interface Scenario<C extends Case = Case> {
  /** What `--only` takes. */
  readonly name: string;
  readonly title: string;
  /** What is done and how it is measured, in a paragraph. */
  readonly about: string;
  /** The first is the one that counts. */
  readonly metrics: readonly Metric[];
  /** The contestant to whom ratios are given. */
  readonly baseline: string;
  readonly axis?: Axis;
  /** Says how the first metric and the memory grow along the axis. */
  readonly growth?: boolean;
  readonly contestants: readonly Contestant[];
  /** Why a peer is ahead of us where it is, by its name. */
  readonly reasons?: Readonly<Record<string, string>>;
  cases(effort: Effort): readonly C[];
  /** How long a turn will be, in milliseconds, for the time left; by default the effort's. */
  turnEstimate?(one: C, effort: Effort): number;
  open(cases: readonly C[], effort: Effort, pin: boolean): Promise<Stage<C>>;
}
