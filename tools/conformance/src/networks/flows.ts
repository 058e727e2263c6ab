/** What the hosts are told of each other, and flows of bytes that stop in the middle, by Node's own streams. */
import { once } from 'node:events';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { streamOf } from '@zerocopy/testing/bytes';

export interface Site {
  readonly address: string;
  readonly peerAddress: string;
  /** Where files may be made; gone with the run. */
  readonly directory: string;
  readonly seed: number;
  /** Of each flow, in bytes. */
  readonly size: number;
}

export interface VisitSite extends Site {
  /** To be waited for in the middle of a flow: there the link is cut. */
  readonly middle: () => Promise<void>;
}

export const CONTENT = 'content';

/** Listens on an address of this host. */
export async function listen(server: Server, address: string): Promise<number> {
  server.listen(0, address);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

export async function connect(address: string, port: number): Promise<Socket> {
  const socket = net.connect({ host: address, port, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Reads half of what comes, waits, and reads on. */
export function receive(socket: Socket, { size, middle }: VisitSite): void {
  let received = 0;
  let waited = false;
  socket.on('error', () => {}); // it is to be cut off
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (waited || received * 2 < size) return;
    waited = true;
    socket.pause();
    void middle().then(() => socket.resume());
  });
}

/** Sends the bytes of a name, and ends; waits in the middle, if told to. */
export async function send(
  writer: Writable,
  name: string,
  { seed, size }: Site,
  middle?: () => Promise<void>,
): Promise<void> {
  let sent = 0;
  let waited = middle === undefined;
  for await (const chunk of streamOf(name, seed, size)) {
    sent += chunk.length;
    if (!writer.write(chunk)) await once(writer, 'drain');
    if (waited || sent * 2 < size) continue;
    waited = true;
    await middle?.();
  }
  writer.end();
}
