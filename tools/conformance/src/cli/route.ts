/** `zerocopy proxy` in a process of its own, between clients and a target that are here. */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import net, { type NetConnectOpts, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { addressOf, destroyed, type Kind } from '@zerocopy/testing/sockets';
import { type Command, start } from './command.js';

/** The two ends that talk to each other through the command. */
export interface Joined {
  readonly client: Socket;
  readonly upstream: Socket;
}

const text = (address: NetConnectOpts): string =>
  'path' in address ? `unix:${address.path}` : `127.0.0.1:${(address as { port: number }).port}`;

export class Route {
  readonly command: Command;
  readonly #directory: string;
  readonly #target: Server;
  readonly #address: NetConnectOpts;
  readonly #sockets = new Set<Socket>();
  readonly #arrived: Socket[] = [];
  #accept: ((socket: Socket) => void) | undefined;
  /** The last turn of {@link Route.join}: one at a time, so that it is known who is joined to whom. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(command: Command, directory: string, target: Server, address: NetConnectOpts) {
    this.command = command;
    this.#directory = directory;
    this.#target = target;
    this.#address = address;
    target.on('connection', (socket: Socket) => {
      this.#keep(socket);
      if (this.#accept === undefined) this.#arrived.push(socket);
      else this.#accept(socket);
      this.#accept = undefined;
    });
  }

  /** @param kinds of the clients' connections and of the target's. */
  static async open([from, to]: readonly [Kind, Kind], options: readonly string[] = []): Promise<Route> {
    const directory = temporaryDirectory(undefined, 'unix');
    const target = net.createServer({ allowHalfOpen: true });
    if (to === 'tcp') target.listen(0, '127.0.0.1');
    else target.listen(join(directory, 'target'));
    await once(target, 'listening');
    const listens = from === 'tcp' ? 'tcp://127.0.0.1:0' : `unix:${join(directory, 'front')}`;
    const args = ['proxy', listens, text(addressOf(target)), '--admin', `unix:${join(directory, 'admin')}`, ...options];
    const ready = / to (tcp|unix):/;
    const command = await start(args, 'ignore', ready);
    const port = Number(/127\.0\.0\.1:(\d+) to/.exec(command.told())?.[1]);
    const address = from === 'tcp' ? { host: '127.0.0.1', port } : { path: join(directory, 'front') };
    return new Route(command, directory, target, address);
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    return socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
  }

  /** Connects. */
  async connect(): Promise<Socket> {
    const client = this.#keep(net.connect({ ...this.#address, allowHalfOpen: true }));
    await once(client, 'connect');
    return client;
  }

  /** The next connection that reaches the target. */
  arrival(): Promise<Socket> {
    const arrived = this.#arrived.shift();
    if (arrived !== undefined) return Promise.resolve(arrived);
    return new Promise((resolve) => {
      this.#accept = resolve;
    });
  }

  /** Connections that have reached the target, and that nobody has asked for. */
  get strays(): number {
    return this.#arrived.length;
  }

  /** @param begin what the client sends before anything reaches the target. */
  join(begin?: (client: Socket) => unknown): Promise<Joined> {
    const joined = this.#turn.then(async () => {
      const client = await this.connect();
      await begin?.(client);
      return { client, upstream: await this.arrival() };
    });
    this.#turn = joined.catch(() => {});
    return joined;
  }

  /** What it counts, by the names and labels of the metrics without the target. */
  async counters(): Promise<Map<string, number>> {
    const request = http.get({ socketPath: join(this.#directory, 'admin'), path: '/metrics', agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) body += chunk;
    const rows = [...body.matchAll(/^zerocopy_proxy_(\w+)(?:\{(?:target="[^"]*",?)?(.*)\})? (\d+)$/gm)];
    return new Map(rows.map(([, name, labels, value]) => [`${name}${labels ? ` ${labels}` : ''}`, Number(value)]));
  }

  /** Descriptors that the process has open, and its workers. */
  descriptors(): number {
    const { pid } = this.command.process;
    const workers = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return [pid, ...workers.filter((one) => one !== '')]
      .map((one) => readdirSync(`/proc/${one}/fd`).length)
      .reduce((sum, count) => sum + count, 0);
  }

  /** @returns the status of the command. */
  async close(): Promise<number | null> {
    await Promise.all([...this.#sockets].map(destroyed));
    const status = await this.command.stop();
    this.#target.close();
    removeDirectory(this.#directory);
    return status;
  }
}
