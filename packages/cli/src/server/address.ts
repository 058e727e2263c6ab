/** Where servers listen, and what they connect to: tcp://host:port, unix:path, fd:number. */
import { once } from 'node:events';
import { existsSync, fstatSync, lstatSync, unlinkSync } from 'node:fs';
import net, { type ListenOptions, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { dirname, resolve } from 'node:path';

export type Address =
  | { readonly kind: 'tcp'; readonly host: string | undefined; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'fd'; readonly fd: number };

/** What an address has to look like. */
export const ADDRESS = 'tcp://host:port, :port, unix:path (of up to 107 bytes) or fd:number';
/** What the address of a target has to look like. */
export const TARGET = 'tcp://host:port or unix:path (of up to 107 bytes)';
/** Bytes of the path of a unix socket: what the kernel has room for (unix(7)). Node would listen at a part of a longer one. */
const LONGEST_PATH = 107;
/** The first descriptor of socket activation (sd_listen_fds(3)); those before it are standard streams. */
const FIRST_FD = 3;
const LAST_PORT = 65_535;

/** Undefined: it is none. An address without a host means all interfaces. */
export function parseAddress(text: string): Address | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice(text.startsWith('unix://') ? 7 : 5);
    return path === '' || Buffer.byteLength(path) > LONGEST_PATH ? undefined : { kind: 'unix', path };
  }
  if (text.startsWith('fd:')) {
    const fd = Number(text.slice(3));
    return Number.isInteger(fd) && fd >= FIRST_FD ? { kind: 'fd', fd } : undefined;
  }
  const match = /^(?:tcp:\/\/)?(?:(?:\[([\da-f:.%]+)\]|([^:/[\]]+))?:)?(\d{1,5})\/?$/i.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > LAST_PORT) return undefined;
  const host = match[1] ?? match[2];
  return { kind: 'tcp', host: host === '*' ? undefined : host, port };
}

/** A target: a host and a port are needed, a descriptor cannot be connected to. */
export function parseTarget(text: string): Exclude<Address, { kind: 'fd' }> | undefined {
  const address = parseAddress(text);
  if (address === undefined || address.kind === 'fd') return undefined;
  if (address.kind === 'tcp' && address.port === 0) return undefined;
  return address.kind === 'tcp' ? { ...address, host: address.host ?? '127.0.0.1' } : address;
}

/** As people write it. */
export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  if (address.kind === 'fd') return `fd:${address.fd}`;
  const host = address.host ?? '*';
  return `tcp://${host.includes(':') ? `[${host}]` : host}:${address.port}`;
}

/** Where it listens now. */
export function addressOf(server: Server, asked: Address): Address {
  const bound = server.address();
  if (bound === null) return asked;
  if (typeof bound === 'string') return { kind: 'unix', path: bound };
  const anywhere = bound.address === '::' || bound.address === '0.0.0.0';
  return { kind: 'tcp', host: anywhere ? undefined : bound.address, port: bound.port };
}

/**
 * Whether a connection to `target` arrives at a server of this machine that listens at `bound`. Of names, localhost is the only
 * one that is known.
 */
export function leadsTo(target: Address, bound: Address): boolean {
  if (target.kind === 'unix') return bound.kind === 'unix' && resolve(target.path) === resolve(bound.path);
  if (target.kind !== 'tcp' || bound.kind !== 'tcp' || target.port !== bound.port) return false;
  const host = target.host ?? '127.0.0.1';
  const isLoopback = host === 'localhost' || host === '::1' || host.startsWith('127.');
  if (bound.host === undefined) return isLoopback || isOwn(host);
  return host === bound.host || (host === 'localhost' && ['127.0.0.1', '::1'].includes(bound.host));
}

const isOwn = (host: string): boolean =>
  Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === host));

const BACKLOG = 4096;

const optionsOf = (address: Address): ListenOptions & { fd?: number } => {
  if (address.kind === 'unix') return { path: address.path, backlog: BACKLOG };
  if (address.kind === 'fd') return { fd: address.fd };
  return { port: address.port, backlog: BACKLOG, ...(address.host !== undefined && { host: address.host }) };
};

/**
 * Listens. A unix socket that no process listens to any more is removed first.
 * @param tries how many ports are tried, from that of `address` on.
 */
export async function listen(server: Server, address: Address, tries = 1): Promise<void> {
  try {
    await listenOnce(server, address);
  } catch (error) {
    const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
    if (isTaken && address.kind === 'unix' && (await isStale(address.path))) {
      unlinkSync(address.path);
      return await listenOnce(server, address);
    }
    if (!isTaken || tries <= 1 || address.kind !== 'tcp' || address.port >= LAST_PORT) throw error;
    return await listen(server, { ...address, port: address.port + 1 }, tries - 1);
  }
}

/** @throws {Error} in better words than those of the error that would come of it, where nothing can listen at an address. */
export function checkListenable(address: Address): void {
  if (address.kind === 'unix' && !existsSync(dirname(address.path))) {
    throw new Error(`cannot listen at ${address.path}: '${dirname(address.path)}' does not exist`);
  }
  if (address.kind !== 'fd') return;
  let isSocket = false;
  try {
    isSocket = fstatSync(address.fd).isSocket();
  } catch {} // it is not open at all
  if (!isSocket) throw new Error(`descriptor ${address.fd} is not a socket that was passed on to this command`);
}

async function listenOnce(server: Server, address: Address): Promise<void> {
  server.listen(optionsOf(address), BACKLOG); // for a descriptor, Node takes it from here only, and else shortens the queue
  await once(server, 'listening');
}

/** Whether there is a socket, and no process that accepts. */
async function isStale(path: string): Promise<boolean> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  const socket = net.connect(path);
  try {
    await once(socket, 'connect');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}
