/** The command in a process of its own, with a listening socket that it does not own, as systemd gives it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { OwnedDescriptor } from '@zerocopy/core-syscalls';

/** The program. */
export const program: string = fileURLToPath(new URL('./main.js', import.meta.resolve('@zerocopy/cli')));

const BACKLOG = 4096;

/** A socket that listens, and from which nobody accepts here. */
export interface Listening {
  readonly fd: number;
  readonly port: number;
  close(): void;
}

export async function listening(): Promise<Listening> {
  const server = net.createServer().listen(0, '127.0.0.1', BACKLOG);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const own = OwnedDescriptor.duplicate(fd);
  server.close();
  await once(server, 'close');
  return { fd: own.fd, port, close: () => own.close() };
}

/** A running command. */
export interface Command {
  readonly process: ChildProcess;
  /** What it has said on standard error. */
  told(): string;
  /** By SIGTERM. @returns its status. */
  stop(): Promise<number | null>;
}

/** Starts it, and waits until it has said `ready`. */
export async function start(args: readonly string[], fd: number | 'ignore', ready: RegExp): Promise<Command> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'ignore', 'pipe', fd] });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  let text = '';
  const { stderr } = child;
  if (stderr === null) throw new Error('there is no standard error');
  stderr.on('data', (chunk) => {
    text += chunk;
  });
  while (!ready.test(text)) {
    const ended = await Promise.race([once(stderr, 'data').then(() => false), exited.then(() => true)]);
    if (ended) throw new Error(`zerocopy ${args.join(' ')} has ended: ${text}`);
  }
  return {
    process: child,
    told: () => text,
    async stop() {
      child.kill('SIGTERM');
      const [status] = await exited;
      return status;
    },
  };
}
