/** Servers that are not Node: at their best settings, in a process of their own, where they are installed. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { freePort } from '@zerocopy/testing/sockets';
import type { Certificate } from './certificate.js';
import { ProcessMeter } from './process-meter.js';
import { type Details, pinned, type Server } from './server.js';
import { makeDirectory, removeDirectory } from './temporary-directory.js';

const PATIENCE_MS = 5000;

/** They know nothing of this process, and would outlive it. */
const running = new Set<ChildProcess>();
// Before what they write into is removed.
process.prependOnceListener('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class ProgramServer implements Server {
  readonly port: number;
  readonly meter: ProcessMeter;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #method: string;

  private constructor(child: ChildProcess, port: number, directory: string, method: string) {
    this.#child = child;
    this.port = port;
    this.#directory = directory;
    this.#method = method;
    this.meter = new ProcessMeter(child.pid as number);
  }

  /** @param configure writes what the program needs into a directory of its own, and says how it is started. */
  static async run(
    method: string,
    configure: (port: number, directory: string) => readonly string[],
    pin: boolean,
  ): Promise<ProgramServer> {
    const directory = makeDirectory('peer');
    const port = await freePort();
    const command = configure(port, directory);
    const [program, ...args] = pinned(command, pin);
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    running.add(child);
    child.once('exit', () => running.delete(child));
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await listens(port))) {
      if (child.exitCode !== null || performance.now() > deadline) {
        child.kill('SIGKILL');
        removeDirectory(directory);
        throw new Error(`${command[0]} does not listen (status ${child.exitCode ?? 'none yet'})`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return new ProgramServer(child, port, directory, method);
  }

  async details(): Promise<Details> {
    return { method: this.#method, syscalls: 0 };
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await exited;
    }
    removeDirectory(this.#directory);
  }
}

async function listens(port: number): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** The part of what `command` prints that `pattern`'s group matches; undefined if there is no such program. */
export function versionOf(command: readonly string[], pattern: RegExp): string | undefined {
  const [program = '', ...args] = command;
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  return pattern.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1];
}

export const nginx = {
  version: (): string | undefined => versionOf(['nginx', '-v'], /nginx\/([\d.]+)/),
  /** Serves the files of `root`, and takes uploads to any path below it. @param tls by HTTPS. */
  start: (root: string, pin: boolean, tls?: Certificate): Promise<Server> =>
    ProgramServer.run(
      tls === undefined ? 'sendfile' : 'copy',
      (port, directory) => {
        writeFileSync(
          join(directory, 'nginx.conf'),
          `daemon off; master_process off; worker_processes 1; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; open_file_cache max=1000; keepalive_requests 100000000;
  ${['proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${directory}/${name};`).join(' ')}
  client_body_temp_path ${root}/.nginx; client_max_body_size 0; client_body_buffer_size 1m;
  server {
    listen 127.0.0.1:${port} ${tls === undefined ? '' : 'ssl '}backlog=4096;
    ${tls === undefined ? '' : `ssl_certificate ${tls.certificate}; ssl_certificate_key ${tls.key}; ssl_protocols TLSv1.3;`}
    root ${root};
    dav_methods PUT;
  }
}
`,
        );
        return ['nginx', '-c', join(directory, 'nginx.conf'), '-p', directory];
      },
      pin,
    ),
};

function bunProgram(): string | undefined {
  const require = createRequire(import.meta.url);
  for (const name of ['@oven/bun-linux-x64', '@oven/bun-linux-aarch64']) {
    try {
      return join(dirname(require.resolve(`${name}/package.json`)), 'bin', 'bun');
    } catch {} // not installed: the next one, or whatever the path has
  }
  return spawnSync('bun', ['--version']).status === 0 ? 'bun' : undefined;
}

export const bun = {
  version(): string | undefined {
    const program = bunProgram();
    return program === undefined ? undefined : versionOf([program, '--version'], /([\d.]+)/);
  },
  /** Serves the files of `root`, and takes uploads to any path below it. */
  start: (root: string, pin: boolean): Promise<Server> =>
    ProgramServer.run(
      'its own',
      (port, directory) => {
        const script = join(directory, 'server.js');
        writeFileSync(
          script,
          `Bun.serve({ port: ${port}, hostname: '127.0.0.1', maxRequestBodySize: 2 ** 40, async fetch(request) {
  const path = ${JSON.stringify(root)} + new URL(request.url).pathname;
  if (request.method !== 'PUT') return new Response(Bun.file(path));
  await Bun.write(path, new Response(request.body));
  return new Response('stored', { status: 201 });
} });`,
        );
        return [bunProgram() as string, script];
      },
      pin,
    ),
};

/** @param settings of splicing: left to its judgement, or always and with large pipes. */
export const haproxy = {
  version: (): string | undefined => versionOf(['haproxy', '-v'], /version ([\d.]+)/),
  start: (upstream: number, settings: { global: string; defaults: string }, pin: boolean): Promise<Server> =>
    ProgramServer.run(
      'splice',
      (port, directory) => {
        const configuration = join(directory, 'haproxy.cfg');
        writeFileSync(
          configuration,
          `global
  nbthread 1
  maxconn 4096
  maxpipes 1024
  ${settings.global}
defaults
  mode tcp
  ${settings.defaults}
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen proxy
  bind 127.0.0.1:${port}
  server upstream 127.0.0.1:${upstream}
`,
        );
        return ['haproxy', '-db', '-f', configuration];
      },
      pin,
    ),
};
