/** A contestant in a process of its own, pinned to one core where the system has two and taskset. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { ServerMessage, ServerReport } from './reporting.js';

const entry = fileURLToPath(new URL('./contestant-process.js', import.meta.url));
export const SERVER_CORE = '0';
export const CLIENT_CORE = '1';

/** Whether processes can be kept on cores of their own here. */
export function canPin(): boolean {
  return availableParallelism() > 1 && spawnSync('taskset', ['-c', SERVER_CORE, 'true']).status === 0;
}

/** Somebody who serves the file and a small one, each at its request target. */
export interface Server {
  readonly port: number;
  /** What it has used since it was last asked. */
  report(): Promise<ServerReport>;
  stop(): Promise<void>;
}

export class ContestantServer implements Server {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  static start(contestant: string, path: string, pin: boolean): Promise<ContestantServer> {
    return ContestantServer.run(entry, [contestant, path], pin);
  }

  /** @param module one module that sends a {@link ServerMessage} when it listens, and whenever it is asked. */
  static async run(module: string, parameters: readonly string[], pin: boolean): Promise<ContestantServer> {
    const command = [process.execPath, module, ...parameters];
    const [program = '', ...args] = pin ? ['taskset', '-c', SERVER_CORE, ...command] : command;
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const message = await Promise.race([
      once(child, 'message').then(([value]) => value as ServerMessage),
      once(child, 'exit').then(([code]) => {
        throw new Error(`the server '${parameters[0]}' ended with ${String(code)} before it listened`);
      }),
    ]);
    if (!('port' in message)) throw new Error('the server did not tell its port');
    return new ContestantServer(child, message.port);
  }

  /** @param detailed also of the loop's delay and the heap. */
  async report(detailed = false): Promise<ServerReport> {
    this.#child.send(detailed ? 'report in detail' : 'report');
    const [message] = (await once(this.#child, 'message')) as [ServerMessage];
    if (!('report' in message)) throw new Error('the server did not report');
    return message.report;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}
