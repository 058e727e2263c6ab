/**
 * What lies between the two ends of a way's connections, where they are not to be joined directly: every connection goes
 * to a crossing, in another process or on another host, and from there back. Both ends are in this process still, where
 * every byte can be compared, and what happens to the crossing, or on the way to it, happens to the connections.
 */
import { once } from 'node:events';
import net, { type AddressInfo, type Server, type ServerOpts, type Socket } from 'node:net';
import { type Pair, resetConnection, withResolvers } from '@zerocopy/testing/sockets';

export interface Wire {
  /** Where servers listen that are to be reached over it. */
  readonly address: string;
  /** Of the crossing. */
  readonly crossing: { readonly host: string; readonly port: number };
}

/** The number of the port that a connection is to be joined to, which is the first that is sent on it. */
const PORT_BYTES = 2;

export const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** A connection to a server of this process, by the crossing. */
export async function connectOver({ crossing }: Wire, server: Server): Promise<Socket> {
  const socket = net.connect({ ...crossing, allowHalfOpen: true });
  await once(socket, 'connect');
  const port = Buffer.alloc(PORT_BYTES);
  port.writeUInt16BE(portOf(server));
  socket.write(port);
  return socket;
}

/** A connected pair: rejects if the crossing goes before the two are joined. */
export async function pairOver(wire: Wire, options: ServerOpts): Promise<Pair> {
  const { promise, resolve, reject } = withResolvers<Socket>();
  let failed = false;
  const listening = net.createServer({ allowHalfOpen: true, ...options }, (socket) => {
    if (failed) socket.destroy();
    else resolve(socket);
  });
  let client: Socket | undefined;
  try {
    listening.listen(0, wire.address);
    await once(listening, 'listening');
    client = await connectOver(wire, listening);
    const gone = (): void => reject(new Error('the crossing has gone'));
    for (const event of ['error', 'end', 'close']) client.once(event, gone);
    const server = await promise;
    for (const event of ['error', 'end', 'close']) client.off(event, gone);
    return { server, client };
  } catch (error) {
    failed = true;
    client?.destroy();
    throw error;
  } finally {
    listening.close();
  }
}

async function targetOf(socket: Socket): Promise<number> {
  for (;;) {
    const bytes: Buffer | null = socket.read(PORT_BYTES);
    if (bytes !== null) return bytes.readUInt16BE(0);
    await once(socket, 'readable');
  }
}

/** What is sent on either comes out of the other; so does its end, and the loss of it as a reset. By Node's own pipe. */
function join(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on('error', () => {}); // told by 'close'
    from.once('close', (failed) => {
      if (failed || !from.readableEnded) resetConnection(to);
    });
    from.pipe(to);
  }
}

/** Joins whoever connects to a port of `target`. Listens on `address`, and returns the port. */
export async function openCrossing(address: string, target: string): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (incoming) => {
    incoming.on('error', () => {});
    void targetOf(incoming).then(
      (port) => join(incoming, net.connect({ host: target, port, allowHalfOpen: true })),
      () => incoming.destroy(),
    );
  });
  server.listen(0, address);
  await once(server, 'listening');
  return portOf(server);
}
