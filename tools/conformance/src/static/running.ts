/** A server in a process of its own, and those that are no Node programs. */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '@zerocopy/testing/sockets';

export interface RunningServer {
  readonly port: number;
  /** Whether it still runs. */
  readonly alive: boolean;
  /** Open descriptors; of Node programs only. */
  descriptors(): Promise<number>;
  stop(): Promise<void>;
}

async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

const isAlive = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

export async function startNode(name: string, root: string): Promise<RunningServer> {
  const child = fork(fileURLToPath(new URL('./server.child.js', import.meta.url)), [name, root], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const asked = async (): Promise<{ port?: number; descriptors?: number }> => {
    const over = new AbortController();
    try {
      const message = once(child, 'message', { signal: over.signal }).then(([value]) => value as object);
      const exit = once(child, 'exit', { signal: over.signal }).then(() => {
        throw new Error(`${name} ended`);
      });
      return await Promise.race([message, exit]);
    } finally {
      over.abort();
    }
  };
  const { port = 0 } = await asked();
  return {
    port,
    get alive() {
      return isAlive(child);
    },
    async descriptors() {
      child.send('descriptors');
      return (await asked()).descriptors ?? Number.NaN;
    },
    stop: () => stopped(child),
  };
}

/** The command of @zerocopy/cli. */
const zerocopy = fileURLToPath(new URL('./main.js', import.meta.resolve('@zerocopy/cli')));

/** A program that is started by a command line; undefined if it is not installed. */
export interface Program {
  readonly name: string;
  readonly ours?: boolean;
  readonly version: readonly string[];
  configure(
    root: string,
    directory: string,
    port: number,
  ): { readonly file: string; readonly text: string; readonly command: readonly string[] };
}

export const programs: readonly Program[] = [
  {
    name: 'zerocopy serve',
    ours: true,
    version: [process.execPath, zerocopy, '--version'],
    configure: (root, directory, port) => ({
      file: join(directory, 'unused'),
      text: '',
      command: [
        process.execPath,
        zerocopy,
        'serve',
        root,
        '-l',
        `tcp://127.0.0.1:${port}`,
        '--precompressed',
        '--log=none',
      ],
    }),
  },
  {
    name: 'nginx',
    version: ['nginx', '-v'],
    configure(root, directory, port) {
      const file = join(directory, 'nginx.conf');
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (kind) => `${kind}_temp_path ${directory}/${kind};`,
      );
      const text = `daemon off; master_process off; pid ${directory}/pid; error_log /dev/null; user root;
events {}
http { ${temporary.join(' ')} include /etc/nginx/mime.types; access_log off; sendfile on; gzip_static on; charset utf-8;
server { listen 127.0.0.1:${port}; root ${root}; location ~ /\\.(?!well-known) { return 404; } } }`;
      return { file, text, command: ['nginx', '-c', file, '-p', directory] };
    },
  },
  {
    name: 'Caddy',
    version: ['caddy', 'version'],
    configure(root, directory, port) {
      const file = join(directory, 'Caddyfile');
      const text = `{
  admin off
  auto_https off
}
http://127.0.0.1:${port} {
  root * ${root}
  file_server {
    precompressed br gzip
    hide .env
  }
}`;
      return { file, text, command: ['caddy', 'run', '--config', file, '--adapter', 'caddyfile'] };
    },
  },
];

export const isInstalled = ({ version: [program = '', ...args] }: Program): boolean =>
  spawnSync(program, args).status === 0;

export async function startProgram(program: Program, root: string): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-program-'));
  const port = await freePort();
  const { file, text, command } = program.configure(root, directory, port);
  writeFileSync(file, text);
  const [name = '', ...args] = command;
  const child = spawn(name, args, { stdio: 'ignore', env: { ...process.env, HOME: directory } });
  for (let waited = 0; !(await listens(port)); waited += 50) {
    if (waited > 5000 || !isAlive(child)) throw new Error(`${program.name} does not listen`);
    await delay(50);
  }
  return {
    port,
    get alive() {
      return isAlive(child);
    },
    descriptors: () => Promise.resolve(Number.NaN),
    async stop() {
      await stopped(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function listens(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
