/** All programs in one process, each on a port of its own: with the pipes moved by the kernel if it is started so. */
import { createRequire } from 'node:module';
import type { AddressInfo, Server } from 'node:net';
import { listenToServers, takeEvents } from './events.js';
import { programs } from './programs.js';

const [, , site = '', ...names] = process.argv;
const require = createRequire(import.meta.url);
listenToServers();
process.on('uncaughtException', (error) => process.send?.({ uncaught: String(error.stack) }));

const servers = new Map<string, Server>();

function isInstalled(module: string): boolean {
  try {
    require.resolve(module);
    return true;
  } catch {
    return false;
  }
}

process.on('message', async (message: { start?: string; report?: true }) => {
  if (message.report !== undefined) {
    const { stats } = await import('@zerocopy/pipeline');
    process.send?.({ events: await takeEvents(), stats: stats() });
    return;
  }
  const program = programs.find(({ name }) => name === message.start);
  if (program === undefined) throw new RangeError(`there is no program '${message.start}'`);
  const missing = program.modules.filter((module) => !isInstalled(module));
  if (missing.length > 0) {
    process.send?.({ missing });
    return;
  }
  const server = await program.start(site);
  servers.set(program.name, server);
  process.send?.({ port: (server.address() as AddressInfo).port });
});
process.on('disconnect', () => process.exit());
process.send?.({ ready: names.length });
