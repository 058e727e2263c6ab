/** A module of ours, or of Node's, that serves in a process of its own and talks to this one by messages. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { httpContestant } from '../processes/http-contestants.js';
import type { ServerMessage } from '../processes/reporting.js';
import type { Certificate } from './certificate.js';
import { ProcessMeter } from './process-meter.js';
import { type Details, pinned, type Server } from './server.js';

export interface NodeServerOptions {
  readonly pin: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export class NodeServer implements Server {
  readonly port: number;
  readonly meter: ProcessMeter;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
    this.meter = new ProcessMeter(child.pid as number);
  }

  /** @param module one module of `processes/`: it sends a {@link ServerMessage} when it is ready, and whenever it is asked. */
  static async run(module: string, parameters: readonly string[], options: NodeServerOptions): Promise<NodeServer> {
    const path = fileURLToPath(new URL(`../processes/${module}.js`, import.meta.url));
    const [program, ...args] = pinned([process.execPath, path, ...parameters], options.pin);
    const env = { ...process.env, ...options.env };
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env });
    const message = await nextMessage(child, `${module} ${parameters[0] ?? ''}`);
    if (!('port' in message)) throw new Error('the server did not tell its port');
    return new NodeServer(child, message.port);
  }

  /** One contestant of the HTTP scenarios, serving the files of `directory`. */
  static http(contestant: string, directory: string, options: NodeServerOptions): Promise<NodeServer> {
    return NodeServer.run('http-process', [contestant, directory], options);
  }

  /** The same by HTTPS; or, for 'register', Node's contestant with the hook of @zerocopy/pipeline. */
  static https(contestant: string, directory: string, tls: Certificate, pin: boolean): Promise<NodeServer> {
    const isHooked = contestant === 'register';
    const hook = pathToFileURL(createRequire(import.meta.url).resolve('@zerocopy/pipeline/register')).href;
    const env = isHooked ? { NODE_OPTIONS: `--import=${hook}` } : (httpContestant(contestant).env ?? {});
    const parameters = [isHooked ? 'node' : contestant, directory, tls.key, tls.certificate];
    return NodeServer.run('http-process', parameters, { pin, env });
  }

  async details(detailed = false): Promise<Details> {
    const message = await this.#ask({ report: detailed ? 'in detail' : 'in short' });
    if (!('details' in message)) throw new Error('the server did not report');
    return message.details;
  }

  /** Has a task done, for processes that do some; throws if it failed there. */
  async task(task: string, argument?: unknown): Promise<Readonly<Record<string, number>>> {
    const message = await this.#ask({ task, argument });
    if ('failure' in message) throw new Error(message.failure);
    if (!('values' in message)) throw new Error(`no values came of the task '${task}'`);
    return message.values;
  }

  async #ask(question: object): Promise<ServerMessage> {
    this.#child.send(question);
    return nextMessage(this.#child, 'the server');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

async function nextMessage(child: ChildProcess, who: string): Promise<ServerMessage> {
  const abort = new AbortController();
  try {
    return await Promise.race([
      once(child, 'message', { signal: abort.signal }).then(([value]) => value as ServerMessage),
      once(child, 'exit', { signal: abort.signal }).then(([code, signal]) => {
        throw new Error(`${who} ended with ${String(code ?? signal)}`);
      }),
    ]);
  } finally {
    abort.abort();
  }
}
