/**
 * Runs a program by both and compares.
 *
 * Where Node itself can end in several ways, by the moment at which its threads answer, ours may end in any of them: a
 * difference counts only if repeated runs of Node never come to what ours came to. What is a violation counts at once. Where
 * four more runs of ours all come to one of Node's, the difference is told as a rare one: of an order that Node does not promise.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Side } from '../ways/twins.js';
import { DIAGNOSTICS } from './cast.js';
import { holdings, leaks } from './leaks.js';
import { type Family, type Observation, type Outcome, Run, uncaught } from './run.js';
import type { Steps } from './steps.js';
import type { Workspace } from './workspace.js';

export interface Verdict {
  /** Empty: the same. */
  readonly differences: readonly string[];
  /** Runs of Node that it took to find one like ours. */
  readonly runs: number;
  readonly node?: Observation;
  readonly ours?: Observation;
  /** Of the first two runs. */
  readonly first: readonly string[];
  /** What differed in a run of ours that was repeated, and then came to what Node comes to: an order of events that is rare. */
  readonly rare?: readonly string[];
}

/** In milliseconds, of the first runs and of the repeated ones. */
const PATIENCE = [30, 150, 600] as const;
/** Those of Node's repeated runs, in turn. */
const LATENCY = [0, 0.1, 0.3, 1, 10, 0.05, 3, 25, 0.2, 0.5, 0, 0.7] as const;
const REPEATS = LATENCY.length;
/** Runs of ours, all like one of Node's, that make a difference a rare one. */
const CONFIRMATIONS = 4;

export async function observe<Program>(
  family: Family<Program>,
  program: Program,
  side: Side,
  workspace: Workspace,
  patience: number = PATIENCE[0],
  latency = 0,
): Promise<Observation> {
  const run = new Run(side, workspace, patience, latency);
  const before = holdings();
  uncaught.length = 0;
  let observation: Observation;
  try {
    observation = await family.run(program, run);
  } finally {
    await run.clean();
  }
  const left = side === 'ours' ? await leaks(before) : [];
  if (side === 'node') await leaks(before); // what comes later would count against ours
  const violations = [
    ...run.violations,
    ...observation.violations,
    ...left,
    ...uncaught.map((error) => `${UNCAUGHT}${describe(error)}`),
  ];
  return { ...observation, waited: run.waited, violations };
}

export async function examine<Program>(
  family: Family<Program>,
  program: Program,
  workspace: Workspace,
): Promise<Verdict> {
  let node = await observe(family, program, 'node', workspace);
  let ours = await observe(family, program, 'ours', workspace);
  const first = compare(family, program, node, ours);
  const twins = [node];
  for (let runs = 1; ; runs++) {
    const differences = runs === 1 ? first : compare(family, program, node, ours);
    const final = ours.violations.length > 0 || runs > REPEATS;
    if (differences.length > 0 && runs > REPEATS && ours.violations.length === 0) {
      for (let confirmed = 0; ; confirmed++) {
        if (confirmed === CONFIRMATIONS) return { differences: [], first, runs, node, ours, rare: differences };
        const again = await observe(family, program, 'ours', workspace, PATIENCE[2]);
        if (!twins.some((twin) => compare(family, program, twin, again).length === 0)) break;
      }
    }
    if (differences.length === 0 || final) return { differences, first, runs, node, ours };
    const patience = runs < 3 ? PATIENCE[1] : PATIENCE[2];
    // An outcome that was told by waiting alone may only have been slow.
    if (ours.waited && runs < 4) ours = await observe(family, program, 'ours', workspace, patience);
    node = await observe(family, program, 'node', workspace, patience, LATENCY[runs - 1]);
    twins.push(node);
  }
}

function compare<Program>(family: Family<Program>, program: Program, node: Observation, ours: Observation): string[] {
  const expected = withoutRacingCodes(node.outcome);
  const actual = withoutRacingCodes(ours.outcome);
  family.reconcile?.(program, expected, actual);
  const compared = !isSubscribed(program);
  return [
    ...notIn(node, ours).map((violation) => `ours: ${violation}`),
    ...notIn(ours, node).map((violation) => `Node: ${violation}`),
    ...(compared ? differencesOf('', expected, actual) : []),
  ];
}

const UNCAUGHT = 'uncaught: ';

/** Of the latter: without what the former throws as well, since Node's own streams do it (Node 20, where a part of what has been decoded is read). */
function notIn(other: Observation, { violations }: Observation): string[] {
  const line = (violation: string): string | undefined => violation.split('\n')[0];
  const both = new Set(other.violations.filter((one) => one.startsWith(UNCAUGHT)).map(line));
  return violations.filter((one) => !both.has(line(one)));
}

/** Whether something happens at a moment that Node's own streams do not have. */
function isSubscribed(program: unknown): boolean {
  const { steps = [], exchanges = [] } = program as { steps?: Steps; exchanges?: readonly unknown[] };
  return steps.some(({ when }) => when === DIAGNOSTICS) || exchanges.some(isSubscribed);
}

/** A copy without the difference between a write that met the connection's end and a read that did: both see it. */
function withoutRacingCodes(outcome: Outcome): Outcome {
  return JSON.parse(
    JSON.stringify(outcome, (_name, value) => (value === undefined ? null : value)).replaceAll(
      /\bEPIPE\b/g,
      'ECONNRESET',
    ),
  );
}

function differencesOf(path: string, expected: unknown, actual: unknown): string[] {
  if (isDeepStrictEqual(expected, actual)) return [];
  if (isRecord(expected) && isRecord(actual)) {
    const names = new Set([...Object.keys(expected), ...Object.keys(actual)]);
    return [...names].flatMap((name) =>
      differencesOf(path === '' ? name : `${path}.${name}`, expected[name], actual[name]),
    );
  }
  return [`${path}: Node ${JSON.stringify(expected)}, ours ${JSON.stringify(actual)}`];
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
