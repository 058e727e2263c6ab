import { once } from 'node:events';
import { open } from 'node:fs/promises';
import net from 'node:net';
import { tee } from '@zerocopy/splice-pipe';

const [file = 'recorded', port = '9000'] = process.argv.slice(2);
let connections = 0;

async function record(source, destination, name) {
  const recording = await open(name, 'w');
  try {
    await tee(source, [destination, recording]);
    destination.end(); // a half-close is passed on
  } finally {
    await recording.close();
  }
}

const server = net.createServer({ allowHalfOpen: true }, async (client) => {
  const upstream = net.connect({ port: Number(port), allowHalfOpen: true });
  for (const socket of [client, upstream]) socket.on('error', () => {}); // tee tells
  const name = `${file}-${++connections}`;
  try {
    await once(upstream, 'connect');
    await Promise.all([record(client, upstream, `${name}.up`), record(upstream, client, `${name}.down`)]);
  } catch (error) {
    console.error(`${name}: ${error.code}`);
    client.destroy();
    upstream.destroy();
  }
});

server.listen(Number(process.env.PORT ?? 8080));
