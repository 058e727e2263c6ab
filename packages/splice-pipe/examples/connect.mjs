import http from 'node:http';
import net from 'node:net';
import { proxy } from '@zerocopy/splice-pipe';

const server = http.createServer();
server.on('connect', ({ url }, client, head) => {
  const { hostname, port } = new URL(`tcp://${url}`);
  const upstream = net.connect(Number(port), hostname);
  upstream.once('connect', () => client.write('HTTP/1.1 200 Connection established\r\n\r\n'));
  proxy(client, upstream, { head }).catch((error) => console.error(`${url}: ${error.code}`));
});

server.listen(Number(process.env.PORT ?? 8080));
