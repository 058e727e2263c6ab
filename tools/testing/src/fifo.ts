/** Named pipes at which another process waits in open(2): whoever opens them wakes it. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { until } from './waiting.js';

/** A process at a FIFO that it has opened for one thing, and waits for somebody to open for the other. */
export interface Waiting {
  /** What it has read, once it has ended; of a writer, nothing. */
  readonly read: Promise<string>;
  /** Its status: not 0 where nobody has read what it wrote. */
  readonly exit: Promise<number | null>;
  /** Ends it, if it still runs. */
  stop(): void;
}

/** Seconds. */
const PATIENCE = 60;

/** The line of /proc/PID/stat of the first process that `pid` has started. */
function statusOfChild(pid: number | undefined): string {
  const [child = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
  return child === '' ? '' : readFileSync(`/proc/${child}/stat`, 'utf8');
}

async function waitingFor(path: string, script: string, argument = ''): Promise<Waiting> {
  execFileSync('mkfifo', [path]);
  // Not for ever, where the test that waits for it is killed.
  const args = [String(PATIENCE), 'sh', '-c', script, 'sh', path, argument];
  const child = spawn('timeout', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const read = once(child, 'close').then(() => text);
  const exit = once(child, 'exit').then(([status]) => status as number | null);
  await once(child, 'spawn');
  await until(() => /^\d+ \(sh\) S /.test(statusOfChild(child.pid)), 'a process that sleeps in open(2)');
  return { read, exit, stop: () => void child.kill() };
}

/** Makes a FIFO, and waits until a process waits there to write `text`. */
export const fifoWithWriter = (path: string, text: string): Promise<Waiting> =>
  waitingFor(path, `printf '%s' "$2" > "$1"`, text);

/** Makes a FIFO, and waits until a process waits there to read. */
export const fifoWithReader = (path: string): Promise<Waiting> =>
  // By the shell itself: what has been read is printed with its end.
  waitingFor(path, 'read -r line < "$1"; printf "%s." "$line"');
