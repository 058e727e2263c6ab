/** Other processes: programs that run to their end, fixtures, and examples of a package. */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { until } from './waiting.js';

/** Finds the compiled fixtures that lie beside a compiled test. */
export const fixturesBeside =
  (testUrl: string) =>
  (name: string): string =>
    fileURLToPath(new URL(`./fixtures/${name}.js`, testUrl));

/** How a program has ended. */
export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

export async function runProgram(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  const startedAt = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout, stderr, milliseconds: performance.now() - startedAt };
}

/** Runs code in another process that has `fs` at hand. Rejects if it fails; resolves with the milliseconds it took. */
export async function elsewhere(code: string): Promise<number> {
  const program = `const fs = require('node:fs'); const startedAt = performance.now();
    ${code}; console.log(performance.now() - startedAt);`;
  const { status, stdout, stderr } = await runProgram(process.execPath, ['-e', program]);
  if (status !== 0) throw new Error(stderr);
  return Number(stdout);
}

/** Runs the fixture, which prints JSON, and returns what it printed. Rejects if it fails. */
export async function printedBy<T>(fixture: string, args: readonly string[] = []): Promise<T> {
  const { status, signal, stdout, stderr } = await runProgram(process.execPath, [fixture, ...args]);
  if (status !== 0) throw new Error(`it ended with ${signal ?? status}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** What a transfer in an example has published. */
export interface PublishedResult {
  readonly bytes: number;
  readonly method: string;
  readonly fallbackReason?: string;
}

/** The examples of a package, as its README shows them. */
export class Examples {
  readonly #root: URL;

  /** @param testUrl That of a compiled test of the package, in its folder dist-test. */
  constructor(testUrl: string) {
    this.#root = new URL('../', testUrl);
  }

  path(name: string): string {
    return fileURLToPath(new URL(`examples/${name}.mjs`, this.#root));
  }

  /** Names of the files in examples/ that the README does not show word for word. */
  notInReadme(): readonly string[] {
    const readme = readFileSync(new URL('README.md', this.#root), 'utf8');
    const shown = (name: string): boolean =>
      readme.includes(`\`\`\`js\n${readFileSync(new URL(`examples/${name}`, this.#root), 'utf8')}\`\`\``);
    return readdirSync(new URL('examples', this.#root)).filter((name) => !shown(name));
  }

  run(name: string, ...args: string[]): Promise<Ended> {
    return runProgram(process.execPath, [this.path(name), ...args]);
  }

  /** Runs an example that serves, on a port of its own, for as long as `use` takes. `results` grows while it does. */
  async serve<T>(
    name: string,
    args: readonly string[],
    use: (port: number, results: readonly PublishedResult[]) => Promise<T>,
  ): Promise<T> {
    const child = fork(fileURLToPath(new URL('./example.child.js', import.meta.url)), [this.path(name), ...args], {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const exit = once(child, 'exit');
    const results: PublishedResult[] = [];
    let port: number | undefined;
    child.on('message', (message: { port?: number; result?: PublishedResult }) => {
      port ??= message.port;
      if (message.result !== undefined) results.push(message.result);
    });
    try {
      await until(() => port !== undefined || child.exitCode !== null, `${name} listening`);
      if (port === undefined) throw new Error(`${name} ended with ${child.exitCode}`);
      return await use(port, results);
    } finally {
      if (child.connected) child.disconnect();
      await exit;
    }
  }
}
