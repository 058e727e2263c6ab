/** Who takes part in the race: servers, each in a process of its own. */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Says to a process of this program, in its environment, that it is to serve: 'NAME:DIRECTORY'. */
export const ROLE = 'ZEROCOPY_BENCH_SERVER';

/** Of this program; what they do is in server.ts. */
export const OWN = ['createReadStream', 'createSendfileStream', 'sendFile', 'serveFiles'] as const;
export type Own = (typeof OWN)[number];

/** What a process of this program tells when it listens, and when it is asked how it has sent. */
export interface Told {
  readonly port?: number;
  readonly method?: string;
}

export interface Contestant {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  /** How the last file was sent. */
  method(): Promise<string>;
  stop(): Promise<void>;
}

/** @throws if it does not listen within `patience` milliseconds. */
export async function startOwn(
  name: Own,
  directory: string,
  patience: number,
  signal: AbortSignal,
): Promise<Contestant> {
  // What runs is the program itself, as in the workers of `serve`.
  const child = fork(process.argv[1] as string, ['bench'], {
    env: { ...process.env, [ROLE]: `${name}:${directory}` },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  try {
    const { port } = await answer(name, child, patience, signal);
    if (port === undefined) throw new Error(`the server of ${name} does not say where it listens`);
    return {
      name,
      port,
      pid: child.pid as number,
      async method() {
        child.send('method');
        return (await answer(name, child, patience, signal)).method ?? 'unknown';
      },
      stop: () => end(child),
    };
  } catch (error) {
    await end(child);
    throw error;
  }
}

/** The next message of a child that is alive. */
async function answer(name: Own, child: ChildProcess, patience: number, signal: AbortSignal): Promise<Told> {
  const done = new AbortController();
  const timeout = AbortSignal.timeout(patience);
  const limits = AbortSignal.any([signal, done.signal, timeout]);
  try {
    const ended = once(child, 'exit', { signal: limits }).then(([status]) => {
      throw new Error(`the server of ${name} has ended with status ${status}`);
    });
    const message = once(child, 'message', { signal: limits }).then(([told]) => told as Told);
    return await Promise.race([message, ended]);
  } catch (error) {
    if (!timeout.aborted || signal.aborted) throw error;
    throw new Error(`the server of ${name} has not said anything for ${patience / 1000} s`);
  } finally {
    done.abort();
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Undefined: it is not installed. */
export function nginxVersion(): string | undefined {
  const { stdout, stderr } = spawnSync('nginx', ['-v'], { encoding: 'utf8' });
  return /nginx\/([\d.]+)/.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1];
}

/** One process, as the others. */
export async function startNginx(directory: string, patience: number, signal: AbortSignal): Promise<Contestant> {
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const configuration = join(directory, 'nginx.conf');
  writeFileSync(
    configuration,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events { worker_connections 64; }
http {
  access_log off; sendfile on; tcp_nopush on; open_file_cache max=100; keepalive_timeout 1d; keepalive_requests 100000000;
  ${temporary.map((name) => `${name}_temp_path ${directory}/nginx-${name};`).join(' ')}
  server { listen 127.0.0.1:${port}; root ${directory}; }
}
`,
  );
  const child = spawn('nginx', ['-c', configuration, '-p', directory, '-e', join(directory, 'nginx.log')], {
    stdio: 'ignore',
  });
  const deadline = performance.now() + patience;
  try {
    await once(child, 'spawn');
    while (!(await listens(port))) {
      if (child.exitCode !== null) throw new Error(`nginx has ended with status ${child.exitCode}`);
      if (performance.now() > deadline) throw new Error(`nginx has not listened for ${patience / 1000} s`);
      await delay(20, undefined, { signal });
    }
  } catch (error) {
    await end(child);
    throw error;
  }
  const stop = (): Promise<void> => end(child);
  return { name: 'nginx', port, pid: child.pid as number, method: async () => 'sendfile', stop };
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function listens(port: number): Promise<boolean> {
  const socket = net.connect({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
