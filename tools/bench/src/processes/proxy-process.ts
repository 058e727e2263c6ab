/** A TCP proxy in a process of its own: one contestant. Talks to its parent by messages. */
import { connect, createServer, type Socket } from 'node:net';
import { pipePoolStats, proxy } from '@zerocopy/splice-pipe';
import { answerReports, tell } from './reporting.js';

const [name = '', upstreamPort = ''] = process.argv.slice(2);

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

answerReports(() => ({ method: pipePoolStats().created > 0 ? 'splice' : 'copy' }));

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const upstream = connect({ port: Number(upstreamPort), host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  join(client, upstream);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') tell({ port: address.port });
});
