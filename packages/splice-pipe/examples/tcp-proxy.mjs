import net from 'node:net';
import { proxy } from '@zerocopy/splice-pipe';

const [host = '127.0.0.1', port = '9000'] = process.argv.slice(2);

const server = net.createServer(async (client) => {
  try {
    const { forward, backward } = await proxy(client, net.connect(Number(port), host), { idleTimeout: 300_000 });
    console.log(`${forward.bytes} bytes up, ${backward.bytes} down`);
  } catch (error) {
    console.error(`${error.code} after ${error.forward.bytes} bytes up, ${error.backward.bytes} down`);
  }
});

server.listen(Number(process.env.PORT ?? 8080));
