/** Programs that pass on what others send: reverse proxies, tunnels, TCP proxies. */
import { once } from 'node:events';
import http from 'node:http';
import net, { type Server, type Socket } from 'node:net';
import { pipelined } from './client.js';
import { type Loose, listening, load, portOf } from './loading.js';
import { content, type Exchange, type RealProgram } from './program.js';

/** Echoes the body of a request with its length; answers GET with a large body, and takes upgrades as an echo. */
async function upstream(): Promise<Server> {
  const large = content('huge.bin');
  const server = http.createServer((request, response) => {
    if (request.method === 'GET') {
      response.setHeader('Content-Length', large.length);
      response.write(large.subarray(0, 5000));
      setTimeout(() => response.end(large.subarray(5000)), 10);
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      if (request.url !== '/chunked') response.setHeader('Content-Length', body.length);
      response.write(body.subarray(0, 5000));
      setTimeout(() => response.end(body.subarray(5000)), 10);
    });
  });
  server.on('upgrade', (_request, socket: Socket, first) => {
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.write(first);
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('end', () => socket.end());
  });
  return listening(server);
}

const echoed = content('huge.bin');

/** Sends all of it behind `opening`, reads as much back behind a head, and closes. */
const echo =
  (opening: string) =>
  async (port: number): Promise<Buffer> => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const chunks: Buffer[] = [];
    let received = 0;
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      received += chunk.length;
      if (received >= echoed.length + (opening === '' ? 0 : 1)) socket.end();
    });
    socket.write(opening);
    if (opening !== '') await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.write(echoed);
    await closed;
    const all = Buffer.concat(chunks);
    return opening === '' ? all : all.subarray(all.indexOf('\r\n\r\n') + 4);
  };

const bodies: readonly Exchange[] = [
  { name: 'GET a large body', head: ['GET / HTTP/1.1'] },
  { name: 'PUT a large body', head: ['PUT / HTTP/1.1'], body: content('huge.bin') },
  { name: 'PUT a small body', head: ['PUT / HTTP/1.1'], body: content('small.txt') },
  { name: 'PUT a chunked body', head: ['PUT /chunked HTTP/1.1'], body: content('large.bin'), chunked: true },
];

const kept: Exchange = pipelined('several on one connection', [
  { head: ['GET / HTTP/1.1'] },
  { head: ['PUT / HTTP/1.1'], body: content('huge.bin') },
  { head: ['PUT / HTTP/1.1'], body: content('small.txt') },
  { head: ['PUT / HTTP/1.1'], body: content('large.bin') },
  { head: ['GET / HTTP/1.1'] },
]);

const upgrade: Exchange = {
  name: 'an upgrade',
  converse: echo('GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
};

/** @param upgrades passes one on: the two take their arguments in an order of their own. */
const reverse = (
  name: string,
  upgrades: (proxy: Loose, request: Loose, socket: Loose, first: Loose, target: string) => void,
): RealProgram => ({
  name,
  modules: [name],
  kinds: ['body->http', 'socket->socket'],
  async start() {
    const target = `http://127.0.0.1:${portOf(await upstream())}`;
    const proxy = load(name).createProxyServer({});
    const server = http.createServer((request, response) => void proxy.web(request, response, { target }));
    server.on('upgrade', (request, socket, first) => upgrades(proxy, request, socket, first, target));
    return listening(server);
  },
  // Neither keeps a connection: without an agent both answer with Connection: close.
  exchanges: [...bodies, upgrade],
});

export const proxying: readonly RealProgram[] = [
  {
    name: 'node:http, a reverse proxy by hand',
    modules: [],
    kinds: ['body->http'],
    async start() {
      const port = portOf(await upstream());
      return listening(
        http.createServer((request, response) => {
          const { method, headers, url } = request;
          const forwarded = http.request({ port, host: '127.0.0.1', method, headers, path: url }, (answer) => {
            response.writeHead(answer.statusCode as number, answer.rawHeaders);
            answer.pipe(response);
          });
          forwarded.on('error', () => response.destroy());
          request.pipe(forwarded);
        }),
      );
    },
    exchanges: [...bodies, kept],
  },
  reverse('http-proxy', (proxy, request, socket, first, target) => proxy.ws(request, socket, first, { target })),
  reverse('httpxy', (proxy, request, socket, first, target) => void proxy.ws(request, socket, { target }, first)),
  {
    name: 'a TCP proxy',
    modules: [],
    kinds: ['socket->socket'],
    async start() {
      const target = await listening(
        net.createServer({ allowHalfOpen: true }, (socket) => {
          socket.on('error', () => {});
          socket.on('data', (chunk) => socket.write(chunk));
          socket.on('end', () => socket.end());
        }),
      );
      return listening(
        net.createServer({ allowHalfOpen: true }, (client) => {
          const server = net.connect({ port: portOf(target), host: '127.0.0.1', allowHalfOpen: true });
          client.on('error', () => server.destroy());
          server.on('error', () => client.destroy());
          client.pipe(server).pipe(client);
        }),
      );
    },
    exchanges: [{ name: 'an echo', converse: echo('') }],
  },
  {
    name: 'a CONNECT proxy',
    modules: [],
    kinds: ['socket->socket'],
    async start() {
      const target = await listening(
        net.createServer((socket) => {
          socket.on('error', () => {});
          socket.on('data', (chunk) => socket.write(chunk));
        }),
      );
      const server = http.createServer();
      server.on('connect', (_request, client: Socket, first: Buffer) => {
        const tunnel = net.connect(portOf(target), '127.0.0.1', () => {
          client.write('HTTP/1.1 200 Connection established\r\n\r\n');
          tunnel.write(first);
          client.pipe(tunnel);
          tunnel.pipe(client);
        });
        client.on('error', () => tunnel.destroy());
        tunnel.on('error', () => client.destroy());
      });
      return listening(server);
    },
    exchanges: [{ name: 'a tunnel', converse: echo('CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n') }],
  },
];
