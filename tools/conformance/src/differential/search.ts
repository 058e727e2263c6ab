/** Random programs of one family, until one differs: that is shrunk, and can be replayed by its seed and path. */
import fc from 'fast-check';
import { examine, type Verdict } from './examine.js';
import type { Family } from './run.js';
import type { Workspace } from './workspace.js';

export interface SearchOptions {
  readonly cases: number;
  readonly seed: number;
  /** Every program of the family, and not some, if it has a list of them. */
  readonly every?: boolean | undefined;
  /** Of a counterexample found before: only that is run, and shrunk further. */
  readonly path?: string | undefined;
  /** Before each program. */
  readonly onProgram?: ((program: unknown) => void) | undefined;
  /** After each for which one run of Node was not enough. */
  readonly onRepeated?: ((verdict: Verdict) => void) | undefined;
}

export interface Search {
  readonly family: string;
  readonly cases: number;
  /** Programs for which Node had to be run again, because it can end in several ways. */
  readonly repeated: number;
  /** Programs whose difference was rare: see {@link Verdict.rare}. */
  readonly rare: number;
  readonly milliseconds: number;
  readonly failure?: Failure;
}

export interface Failure {
  readonly program: unknown;
  readonly differences: readonly string[];
  readonly seed: number;
  readonly path: string;
}

class Different extends Error {
  readonly verdict: Verdict;
  constructor(verdict: Verdict) {
    super(verdict.differences.join('\n'));
    this.verdict = verdict;
  }
}

export async function search<Program>(
  family: Family<Program>,
  workspace: Workspace,
  { cases, seed, path, every, onProgram, onRepeated }: SearchOptions,
): Promise<Search> {
  const startedAt = performance.now();
  let ran = 0;
  let repeated = 0;
  let rare = 0;
  const property = fc.asyncProperty(family.programs, async (program) => {
    onProgram?.(program);
    const verdict = await examine(family, program, workspace);
    ran++;
    if (verdict.rare !== undefined) rare++;
    if (verdict.runs > 1) {
      repeated++;
      onRepeated?.(verdict);
    }
    if (verdict.differences.length > 0) throw new Different(verdict);
  });
  const examples = every === true ? (family.every ?? []).map((program): [Program] => [program]) : [];
  const found = await fc.check(property, {
    numRuns: Math.max(examples.length, cases),
    examples,
    seed,
    ...(path === undefined ? {} : { path }),
  });
  const summary = { family: family.name, cases: ran, repeated, rare, milliseconds: performance.now() - startedAt };
  if (!found.failed) return summary;
  const { errorInstance, counterexample, counterexamplePath } = found;
  const differences =
    errorInstance instanceof Different ? errorInstance.verdict.differences : [String((errorInstance as Error)?.stack)];
  return {
    ...summary,
    failure: { program: counterexample?.[0], differences, seed: found.seed, path: counterexamplePath ?? '' },
  };
}
