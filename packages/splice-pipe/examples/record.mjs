import { open } from 'node:fs/promises';
import net from 'node:net';
import { tee } from '@zerocopy/splice-pipe';

const [file = 'recorded.bin', port = '9000'] = process.argv.slice(2);

const server = net.createServer({ allowHalfOpen: true }, async (client) => {
  const upstream = net.connect({ port: Number(port), allowHalfOpen: true });
  const record = await open(file, 'w');
  const { bytes } = await tee(client, [upstream, record]);
  upstream.end();
  client.end();
  await record.close();
  console.log(`${bytes} bytes, passed on and recorded`);
});

server.listen(Number(process.env.PORT ?? 8080));
