/** The command line of the bench. */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { libcStatus } from '@zerocopy/core-syscalls';
import { SingleBar } from 'cli-progress';
import { observeMachine } from './race/machine.js';
import { estimate, participants, type RunnerOptions, runScenario, type ScenarioResult } from './race/runner.js';
import { EFFORTS, type Effort, type Scenario } from './race/scenario.js';
import { leadingChart } from './report/chart.js';
import { pageOf } from './report/page.js';
import type { Report } from './report/report.js';
import { reportText } from './report/text.js';
import { scenarios } from './scenarios/index.js';
import { canPin, pinClient } from './servers/server.js';

const USAGE = 2;
const DEFAULT_PAGE = 'bench-report.html';

const OPTIONS = {
  quick: { type: 'boolean', default: false },
  full: { type: 'boolean', default: false },
  only: { type: 'string', multiple: true },
  rounds: { type: 'string' },
  json: { type: 'string' },
  html: { type: 'string', default: DEFAULT_PAGE },
  svg: { type: 'string' },
  from: { type: 'string', multiple: true },
  help: { type: 'boolean', default: false },
} as const;

function help(): string {
  const contestants = new Map(scenarios.flatMap((one) => one.contestants.map((who) => [who.name, who])));
  const row = (name: string, text: string): string => `  ${name.padEnd(26)} ${text}`;
  return `npm run bench -- [options]
${row('--quick', 'few cases, short rounds: under 2 minutes')}
${row('--full', 'all cases, long rounds')}
${row('--only NAME', 'one scenario or contestant; may be given again')}
${row(
  '--rounds N',
  `counted rounds (${Object.values(EFFORTS)
    .map(({ name, rounds }) => `${name}: ${rounds}`)
    .join(', ')})`,
)}
${row('--html FILE', `the page with charts (${DEFAULT_PAGE})`)}
${row('--json FILE', 'the figures')}
${row('--svg FILE', 'the first chart of the first scenario, with date and machine')}
${row('--from FILE', 'no run: a report of what --json has saved; several are joined')}

Scenarios:
${scenarios.map(({ name, title }) => row(name, title)).join('\n')}

Contestants:
${[...contestants.values()]
  .map(({ name, description, version }) =>
    row(name, `${description}${version === undefined ? ' (not installed)' : ''}`),
  )
  .join('\n')}

Bun and mmap-io are not installed with the rest: npm i --no-save @oven/bun-linux-x64 @riaskov/mmap-io`;
}

class UsageError extends Error {}

interface Selection {
  readonly scenarios: readonly Scenario[];
  readonly contestants: readonly string[] | undefined;
}

/** A name is a scenario's or a contestant's; nothing named is everything. */
export function select(names: readonly string[], all: readonly Scenario[] = scenarios): Selection {
  const known = new Set(all.flatMap((one) => one.contestants.map(({ name }) => name)));
  const chosen = all.filter(({ name }) => names.includes(name));
  const contestants = names.filter((name) => known.has(name) && !chosen.some((one) => one.name === name));
  for (const name of names) {
    if (!known.has(name) && !chosen.some((one) => one.name === name)) {
      throw new UsageError(`--only takes a scenario or a contestant (--help lists them); got '${name}'`);
    }
  }
  const run = (chosen.length === 0 ? all : chosen).filter(
    (one) => participants(one, contestants.length === 0 ? undefined : contestants).length > 0,
  );
  return { scenarios: run, contestants: contestants.length === 0 ? undefined : contestants };
}

function effortOf(values: { quick: boolean; full: boolean; rounds?: string | undefined }): Effort {
  if (values.quick && values.full) throw new UsageError('--quick and --full exclude each other');
  const effort = EFFORTS[values.quick ? 'quick' : values.full ? 'full' : 'normal'];
  if (values.rounds === undefined) return effort;
  const rounds = Number(values.rounds);
  if (!Number.isSafeInteger(rounds) || rounds < 1) {
    throw new UsageError(`--rounds takes a whole number from 1; got '${values.rounds}'`);
  }
  return { ...effort, rounds };
}

/** The exit status: 0, 2 for wrong usage. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    const { values } = parseArgs({ args: [...args], options: OPTIONS });
    if (values.help) {
      console.log(help());
      return 0;
    }
    const report = values.from === undefined ? await race(values) : savedReports(values.from);
    console.log(reportText(report));
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
    if (values.svg !== undefined) writeFileSync(values.svg, leadingChart(report));
    writeFileSync(values.html, pageOf(report));
    console.log(`The page with charts: ${resolve(values.html)}`);
    return 0;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!(error instanceof UsageError) && !code.startsWith('ERR_PARSE_ARGS')) throw error;
    console.error((error as Error).message);
    return USAGE;
  }
}

function savedReports(files: readonly string[]): Report {
  const reports = files.map((file) => {
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as Report;
    } catch (error) {
      throw new UsageError(`--from takes a file that --json has saved; got '${file}': ${(error as Error).message}`);
    }
  });
  const [first] = reports as [Report];
  return { machine: first.machine, scenarios: reports.flatMap((report) => report.scenarios) };
}

async function race(values: Parameters<typeof effortOf>[0] & { only?: string[] | undefined }): Promise<Report> {
  const effort = effortOf(values);
  const { scenarios: chosen, contestants } = select(values.only ?? []);
  const libc = libcStatus();
  if (!libc.available) throw new UsageError(`the bench needs Linux system calls: ${libc.reason}`);
  const pin = canPin();
  if (pin) pinClient();
  // So that what is temporary goes, and the servers with it.
  process.once('SIGINT', () => process.exit(130)).once('SIGTERM', () => process.exit(143));
  const machine = observeMachine(effort, pin);
  const options: RunnerOptions = { effort, pin, ...(contestants === undefined ? {} : { contestants }) };
  const progress = showProgress(chosen.reduce((sum, one) => sum + estimate(one, options), 0));
  const results: ScenarioResult[] = [];
  for (const scenario of chosen) {
    progress.begin(scenario.title);
    results.push(await runScenario(scenario, { ...options, onProgress: progress.step }));
  }
  progress.end();
  return { machine: machine(), scenarios: results };
}

interface Progress {
  begin(title: string): void;
  step(milliseconds: number, what: string): void;
  end(): void;
}

/** A bar with the time left on a terminal; elsewhere a line for each scenario. On standard error. */
function showProgress(total: number): Progress {
  if (!process.stderr.isTTY) {
    return { begin: (title) => console.error(title), step() {}, end() {} };
  }
  const bar = new SingleBar({
    format: '{bar} {percentage}% | {eta_formatted} left | {what}',
    etaBuffer: 50,
    hideCursor: true,
    clearOnComplete: true,
    // The bench blocks its process; whoever waits for a timer to draw waits long.
    forceRedraw: true,
  });
  bar.start(Math.round(total), 0, { what: '' });
  let done = 0;
  return {
    begin: (what) => bar.update({ what }),
    step(milliseconds, what) {
      done += milliseconds;
      bar.update(Math.round(done), { what });
    },
    end: () => bar.stop(),
  };
}
