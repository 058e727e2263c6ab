/** Packages of other people, loaded as a program would, and without their types: some have none. */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { ListenOptions, Server } from 'node:net';

// biome-ignore lint/suspicious/noExplicitAny: what a package without types exports
export type Loose = any;

const require = createRequire(import.meta.url);

/** By require(), as most programs do. */
export const load = (name: string): Loose => require(name);

/** Starts to listen on a port of its own. */
export async function listening<S extends Server>(server: S, options: ListenOptions = {}): Promise<S> {
  server.listen({ port: 0, host: '127.0.0.1', ...options });
  await once(server, 'listening');
  return server;
}

export const portOf = (server: Server): number => (server.address() as { port: number }).port;
