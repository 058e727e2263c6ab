/** One child that ends in the middle of everything, and what is to be seen of it. */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import type { Side } from '../ways/twins.js';
import { makeDurableFile } from './cargo.js';
import { type ChildOrder, type Ending, MARK, READY } from './endings.js';

export interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  /** Without READY. */
  readonly stdout: string;
  /** Without the paths and the lines of files. */
  readonly firstLine: string;
  /** Whether the error that was thrown on purpose is named. */
  readonly named: boolean;
  /** It had to be killed. */
  readonly hung: boolean;
  /** Files that look like core dumps. */
  readonly cores: readonly string[];
  /** In full, for people. */
  readonly stderr: string;
}

export interface Moment {
  readonly early: boolean;
  /** Milliseconds. */
  readonly delay: number;
}

/** Far more than any ending takes, in milliseconds. */
const PATIENCE = 30_000;
const program = fileURLToPath(new URL('./child.js', import.meta.url));
/** By a shell, which lets it dump its core where it is. */
const WITH_CORES = 'ulimit -c unlimited; exec "$0" "$@"';

/** Ends a child by `ending` at that moment. */
export async function run(
  side: Side,
  ending: Ending,
  { early, delay }: Moment,
  hazards: boolean = false,
): Promise<Outcome> {
  const directory = temporaryDirectory(undefined, 'aborts');
  try {
    const cwd = join(directory, 'cwd');
    mkdirSync(cwd);
    const file = makeDurableFile(directory, 'file');
    const order: ChildOrder = { side, ending: ending.name, early, delay, directory, file, hazards };
    const args = ['-c', WITH_CORES, process.execPath, ...process.execArgv, program, JSON.stringify(order)];
    const child = spawn('sh', args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: directory }, // what it leaves there goes with it
    });
    let [stdout, stderr, hung] = ['', '', false];
    let signalled = false;
    const signal = (): void => {
      if (ending.signal === undefined || signalled) return;
      signalled = true;
      setTimeout(() => child.kill(ending.signal), delay);
    };
    if (early) signal();
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (stdout.startsWith(READY)) signal();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const patience = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, PATIENCE);
    const [code, by] = await new Promise<[number | null, string | null]>((resolve) => {
      child.once('close', (...ended) => resolve(ended));
    });
    clearTimeout(patience);
    return {
      code,
      signal: by,
      stdout: stdout.replace(`${READY}\n`, ''),
      firstLine: firstLine(stderr),
      named: stderr.includes(MARK),
      hung,
      cores: readdirSync(cwd).filter((name) => name.startsWith('core')),
      stderr,
    };
  } finally {
    removeDirectory(directory);
  }
}

function firstLine(text: string): string {
  const line = text.split('\n').find((one) => one.trim() !== '') ?? '';
  return line.replace(/file:\S*\//, '').replace(/:\d+$/, '');
}

/** In which way `mine` did not end as the twin; undefined: it did. */
export function difference(ending: Ending, mine: Outcome, twins: Outcome): string | undefined {
  if (mine.hung) return 'it hung';
  if (twins.hung) return 'the twin hung';
  if (mine.cores.length > 0) return `a core was dumped: ${mine.cores.join(', ')}`;
  const told = (outcome: Outcome): string =>
    JSON.stringify([
      outcome.code,
      outcome.signal,
      outcome.stdout,
      outcome.named,
      ending.sameFirstLine ? outcome.firstLine : '',
    ]);
  if (told(mine) === told(twins)) return undefined;
  return `it ended with ${told(mine)}, the twin with ${told(twins)}\n${mine.stderr}`;
}
