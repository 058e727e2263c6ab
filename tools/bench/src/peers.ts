/** Servers that are not ours and not Node: at their best settings, in their own process, where they are installed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SERVER_CORE, type Server } from './contestant-server.js';
import { FILE_TARGET, WARM_UP_TARGET } from './contestants.js';
import type { ServerReport } from './reporting.js';

export interface Peer {
  readonly name: string;
  readonly description: string;
  /** Its version, or undefined: it is not installed. */
  version(): string | undefined;
  start(path: string, pin: boolean): Promise<Server>;
}

/** CPU seconds of a process and its threads, from the scheduler (proc_pid_schedstat(5), nanoseconds). */
function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  }
  return nanoseconds / 1e9;
}

function peakMemory(pid: number): number {
  const [, kilobytes = '0'] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

export class PeerServer implements Server {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #method: string;
  #used = 0;

  constructor(child: ChildProcess, port: number, directory: string, method: string) {
    this.#child = child;
    this.port = port;
    this.#directory = directory;
    this.#method = method;
  }

  async report(): Promise<ServerReport> {
    const pid = this.#child.pid as number;
    const used = cpuSeconds(pid);
    const since = used - this.#used;
    this.#used = used;
    return { cpuSeconds: since, peakMemory: peakMemory(pid), method: this.#method, syscalls: 0 };
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** A directory whose `www` holds what is asked for. */
function documents(path: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-peer-'));
  mkdirSync(join(directory, 'www'));
  copyFileSync(path, join(directory, 'www', FILE_TARGET));
  writeFileSync(join(directory, 'www', WARM_UP_TARGET), Buffer.alloc(2000, 's'));
  return directory;
}

async function launch(command: readonly string[], pin: boolean, port: number): Promise<ChildProcess> {
  const [program = '', ...args] = pin ? ['taskset', '-c', SERVER_CORE, ...command] : command;
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  for (let attempt = 0; attempt < 200; attempt++) {
    if (child.exitCode !== null) throw new Error(`${command[0]} ended with status ${child.exitCode}`);
    try {
      await fetch(`http://127.0.0.1:${port}${WARM_UP_TARGET}`).then((response) => response.arrayBuffer());
      return child;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
  child.kill('SIGKILL');
  throw new Error(`${command[0]} does not answer`);
}

const nginx: Peer = {
  name: 'nginx',
  description: 'nginx, sendfile on, tcp_nopush on, open_file_cache',
  version() {
    const { stderr } = spawnSync('nginx', ['-v'], { encoding: 'utf8' });
    return /nginx\/([\d.]+)/.exec(stderr ?? '')?.[1];
  },
  async start(path, pin) {
    const directory = documents(path);
    const port = await freePort();
    writeFileSync(
      join(directory, 'nginx.conf'),
      `daemon off; master_process off; worker_processes 1; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; open_file_cache max=100; keepalive_requests 100000000;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${directory}/${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port};
    root ${directory}/www;
  }
}
`,
    );
    const child = await launch(['nginx', '-c', join(directory, 'nginx.conf'), '-p', directory], pin, port);
    return new PeerServer(child, port, directory, 'sendfile');
  },
};

function bunProgram(): string | undefined {
  const require = createRequire(import.meta.url);
  for (const name of ['@oven/bun-linux-x64', '@oven/bun-linux-aarch64']) {
    try {
      return join(dirname(require.resolve(`${name}/package.json`)), 'bin', 'bun');
    } catch {}
  }
  return spawnSync('bun', ['--version']).status === 0 ? 'bun' : undefined;
}

const bun: Peer = {
  name: 'bun',
  description: 'Bun.serve, new Response(Bun.file(path))',
  version() {
    const program = bunProgram();
    return program === undefined ? undefined : spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.trim();
  },
  async start(path, pin) {
    const directory = documents(path);
    const port = await freePort();
    const script = join(directory, 'server.js');
    writeFileSync(
      script,
      `Bun.serve({ port: ${port}, hostname: '127.0.0.1', fetch: (request) =>
  new Response(Bun.file('${directory}/www' + new URL(request.url).pathname)) });`,
    );
    return new PeerServer(await launch([bunProgram() as string, script], pin, port), port, directory, 'its own');
  },
};

export const peers: readonly Peer[] = [nginx, bun];
