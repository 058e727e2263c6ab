/** The same program twice, with the pipes moved by the kernel and without: asked the same, and compared. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { ask, type Reply } from './client.js';
import type { RealProgram } from './program.js';

const register = pathToFileURL(createRequire(import.meta.url).resolve('@zerocopy/pipeline/register')).href;

interface Report {
  readonly events: readonly string[];
  readonly stats: {
    readonly kinds: Readonly<Record<string, number>>;
    readonly declined: Readonly<Record<string, number>>;
    readonly bytes: Readonly<Record<string, number>>;
  };
}

/** A process that runs programs. */
class Host {
  readonly #child: ChildProcess;

  constructor(site: string, isMoved: boolean) {
    this.#child = fork(fileURLToPath(new URL('./program.child.js', import.meta.url)), [site], {
      execArgv: isMoved ? ['--import', register] : [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, ZEROCOPY_DISABLE: '' },
    });
  }

  async ready(): Promise<void> {
    await this.#answer();
  }

  async start(name: string): Promise<{ port?: number; missing?: readonly string[] }> {
    this.#child.send({ start: name });
    return this.#answer();
  }

  async report(): Promise<Report> {
    this.#child.send({ report: true });
    return this.#answer();
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exit = once(this.#child, 'exit');
    if (this.#child.connected) this.#child.disconnect();
    await exit;
  }

  async #answer<Answer>(): Promise<Answer> {
    const over = new AbortController();
    try {
      const exit = once(this.#child, 'exit', { signal: over.signal }).then(([code]) => {
        throw new Error(`the process of the programs ended with ${code}`);
      });
      const message = once(this.#child, 'message', { signal: over.signal }).then(([value]) => value);
      const answer = (await Promise.race([message, exit])) as Answer & { uncaught?: string };
      if (answer.uncaught !== undefined) throw new Error(answer.uncaught);
      return answer;
    } finally {
      over.abort();
    }
  }
}

const OTHER_EVENTS = 'other events';
/**
 * A client that has its reply goes, and of a response Node tells 'finish' or only 'close', as the one or the other is first: where
 * nothing but events differs, they have to differ each time.
 */
const ATTEMPTS = 4;

/** What is wrong with one program; empty: nothing. */
export interface Verdict {
  readonly program: string;
  readonly exchanges: number;
  /** Packages that are not installed: the program was not tried. */
  readonly missing: readonly string[];
  readonly complaints: readonly string[];
  readonly declined: readonly string[];
}

/** Tries `programs` one after another. @param site the directory of {@link writeSite}. */
export async function compare(programs: readonly RealProgram[], sites: readonly [string, string]): Promise<Verdict[]> {
  const hosts = [new Host(sites[0], false), new Host(sites[1], true)] as const;
  try {
    await Promise.all(hosts.map((host) => host.ready()));
    const verdicts: Verdict[] = [];
    for (const program of programs) {
      let verdict = await judged(program, hosts);
      for (
        let n = 1;
        n < ATTEMPTS && verdict.complaints.every((complaint) => complaint.startsWith(OTHER_EVENTS));
        n++
      ) {
        if (verdict.complaints.length === 0) break;
        verdict = await judged(program, hosts);
      }
      verdicts.push(verdict);
    }
    return verdicts;
  } finally {
    await Promise.all(hosts.map((host) => host.stop()));
  }
}

async function judged(program: RealProgram, [plain, moved]: readonly [Host, Host]): Promise<Verdict> {
  const started = await Promise.all([plain.start(program.name), moved.start(program.name)]);
  const missing = started[0].missing ?? [];
  if (missing.length > 0) return { program: program.name, exchanges: 0, missing, complaints: [], declined: [] };
  const [portPlain, portMoved] = started.map(({ port }) => port as number) as [number, number];
  const before = await moved.report();
  await plain.report();
  const complaints: string[] = [];
  for (const exchange of program.exchanges) {
    const [expected, actual] = await Promise.all([ask(portPlain, exchange), ask(portMoved, exchange)]);
    complaints.push(...differences(exchange.name, expected, actual));
  }
  const [reportPlain, reportMoved] = await Promise.all([plain.report(), moved.report()]);
  if (!isDeepStrictEqual(reportPlain.events, reportMoved.events)) {
    const [left, right] = [reportPlain.events, reportMoved.events].map((events) => events.join('\n    '));
    complaints.push(`${OTHER_EVENTS}:\n    ${left}\n  with:\n    ${right}`);
  }
  const kinds = since(before.stats.kinds, reportMoved.stats.kinds);
  const expectedKinds = [...program.kinds].sort();
  if (!isDeepStrictEqual(kinds, expectedKinds)) {
    const declined = JSON.stringify(since(before.stats.declined, reportMoved.stats.declined));
    complaints.push(
      `went beneath: ${kinds.join() || 'nothing'}; expected: ${expectedKinds.join() || 'nothing'}; ${declined}`,
    );
  }
  const declined = since(before.stats.declined, reportMoved.stats.declined);
  return { program: program.name, exchanges: program.exchanges.length, missing, complaints, declined };
}

const since = (before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>): string[] =>
  Object.keys(after)
    .filter((key) => (after[key] ?? 0) > (before[key] ?? 0))
    .sort();

function differences(name: string, expected: Reply, actual: Reply): string[] {
  if (!expected.whole) return [`${name}: the program itself does not answer in full: ${expected.head}`];
  return (Object.keys(expected) as (keyof Reply)[])
    .filter((key) => expected[key] !== actual[key])
    .map((key) => `${name}: ${key} is ${JSON.stringify(actual[key])}, and without ${JSON.stringify(expected[key])}`);
}
