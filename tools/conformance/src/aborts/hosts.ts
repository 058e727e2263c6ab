/** The other ends of what is under way: endless sources, greedy sinks, and peers that have stopped reading. */
import { once } from 'node:events';
import type http from 'node:http';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';

const CHUNK = Buffer.alloc(64 * 1024, 'bytes ');

const ignore = (): void => {};

function pour(socket: Socket): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(CHUNK));
  };
  socket.on('drain', more).on('error', ignore).resume();
  more();
}

type Behave = (socket: Socket) => void;

const behaviours: Readonly<Record<'source' | 'sink' | 'stalled' | 'echo', Behave>> = {
  /** Writes for as long as it is let. */
  source: pour,
  sink: (socket) => void socket.resume().on('error', ignore),
  stalled: (socket) => void socket.pause().on('error', ignore),
  echo: (socket) => void socket.on('error', ignore).pipe(socket),
};

export type Behaviour = keyof typeof behaviours;

export interface Hosts {
  /** A socket connected to one that behaves so. */
  to(behaviour: Behaviour): Promise<Socket>;
  /** Where servers of one's own listen: on a free port of this machine. */
  listen(server: Server | http.Server): Promise<number>;
  /** Nothing here keeps the process alive any more. */
  unref(): void;
}

export async function openHosts(): Promise<Hosts> {
  const ports = new Map<Behaviour, number>();
  const servers: (Server | http.Server)[] = [];
  const sockets = new Set<Socket>();
  const listen = async (server: Server | http.Server): Promise<number> => {
    servers.push(server);
    server.on('connection', (socket: Socket) => sockets.add(socket.once('close', () => sockets.delete(socket))));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  for (const [name, behave] of Object.entries(behaviours)) {
    ports.set(name as Behaviour, await listen(net.createServer({ allowHalfOpen: true }, behave)));
  }
  return {
    listen,
    async to(behaviour) {
      const socket = net.connect(ports.get(behaviour) as number, '127.0.0.1');
      socket.on('error', ignore);
      sockets.add(socket.once('close', () => sockets.delete(socket)));
      await once(socket, 'connect');
      return socket;
    },
    unref() {
      for (const server of servers) server.unref();
      for (const socket of sockets) socket.unref();
    },
  };
}
