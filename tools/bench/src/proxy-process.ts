/** A TCP proxy in a process of its own: one contestant. Talks to its parent by messages. */
import { connect, createServer, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { pipePoolStats, proxy } from '@zerocopy/splice-pipe';
import type { ServerMessage } from './contestant-process.js';

const [name = '', upstreamPort = ''] = process.argv.slice(2);
const tell = (message: ServerMessage): void => {
  process.send?.(message);
};

const ways: Readonly<Record<string, (client: Socket, upstream: Socket) => void>> = {
  node(client, upstream) {
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.pipe(upstream).pipe(client);
  },
  zerocopy(client, upstream) {
    proxy(client, upstream).catch(() => {}); // the measuring side breaks connections off
  },
};
const join = ways[name];
if (join === undefined) throw new RangeError(`no way to proxy is called '${name}'`);

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let usage = process.cpuUsage();
process.on('message', (question) => {
  const { user, system } = process.cpuUsage(usage);
  let heap = Number.NaN;
  if (question === 'report in detail') {
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    heap = heapUsed + external;
  }
  tell({
    report: {
      cpuSeconds: (user + system) / 1e6,
      peakMemory: process.resourceUsage().maxRSS * 1024,
      method: `${pipePoolStats().created} pipes made`,
      syscalls: 0,
      heap,
    },
  });
  usage = process.cpuUsage();
});
process.on('disconnect', () => process.exit());

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const upstream = connect({ port: Number(upstreamPort), host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  join(client, upstream);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') tell({ port: address.port });
});
