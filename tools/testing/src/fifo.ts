/** Named pipes at which another process waits in open(2): whoever opens them wakes it. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { until } from './waiting.js';

/** A process at a FIFO that it has opened for one thing, and waits for somebody to open for the other. */
export interface Waiting {
  /** Whether it still waits. */
  isWaiting(): boolean;
  /** What it has read, once it has ended; of a writer, nothing. */
  readonly read: Promise<string>;
  /** Ends it, if it still runs. */
  stop(): void;
}

async function waitingFor(path: string, script: string, argument = ''): Promise<Waiting> {
  execFileSync('mkfifo', [path]);
  const child = spawn('sh', ['-c', script, 'sh', path, argument], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const read = once(child, 'close').then(() => text);
  await once(child, 'spawn');
  const status = (): string => readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  await until(() => /^\d+ \(sh\) S /.test(status()), 'a process that sleeps in open(2)');
  return {
    isWaiting: () => child.exitCode === null && child.signalCode === null && /\) S /.test(status()),
    read,
    stop: () => void child.kill('SIGKILL'),
  };
}

/** Makes a FIFO, and waits until a process waits there to write `text`. */
export const fifoWithWriter = (path: string, text: string): Promise<Waiting> =>
  waitingFor(path, `printf '%s' "$2" > "$1"`, text);

/** Makes a FIFO, and waits until a process waits there to read. */
export const fifoWithReader = (path: string): Promise<Waiting> =>
  // By the shell itself: what has been read is printed with its end.
  waitingFor(path, 'read -r line < "$1"; printf "%s." "$line"');
