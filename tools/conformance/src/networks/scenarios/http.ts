/** A file over HTTP, several times on one kept-alive connection: with a Content-Length, a range, in chunks. */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { CONTENT, fingerprintOfFile, keptAlive, listen, type Passage, receive, type Scenario } from './scenario.js';

interface Body {
  readonly start: number;
  readonly end: number;
  readonly chunked: boolean;
}

type Respond = (path: string, body: Body, response: ServerResponse) => Promise<Omit<Passage, 'name'>>;

const respondByStream: Respond = async (path, { start, end }, response) => {
  const source = createSendfileStream(path, { start, end });
  await pipeline(source, response);
  return { bytes: source.bytesSent, method: source.method, fallbackReason: source.fallbackReason };
};

const respondBySendFile: Respond = (path, { start, end }, response) => sendFile(response, path, { start, end });

/** What is asked for, in this order. The pieces are large enough for the kernel path, and none begins at a page. */
function bodies(size: number): ReadonlyMap<string, Body> {
  return new Map([
    ['/all', { start: 0, end: size - 1, chunked: false }],
    ['/chunked', { start: 12_345, end: size - 1, chunked: true }],
    ['/range', { start: 4097, end: 4097 + Math.floor(size / 2), chunked: false }],
  ]);
}

function scenario(name: string, respond: Respond): Scenario {
  return {
    name,

    async serve({ address, directory, size }) {
      const path = join(directory, CONTENT);
      const asked = bodies(size);
      const responses: Promise<Passage>[] = [];
      let connections = 0;
      const server = http.createServer((request, response) => {
        const url = request.url as string;
        const body = asked.get(url) as Body;
        if (body.chunked) response.setHeader('Transfer-Encoding', 'chunked');
        const done = respond(path, body, response).then((result) => ({ ...result, name: `${name} ${url}` }));
        done.catch(() => response.destroy()); // told by done()
        responses.push(done);
      });
      // What a stalled client has still to read may be in the kernel, and the connection idle for this server.
      server.keepAliveTimeout = 0;
      server.on('connection', () => connections++);
      return {
        ports: [await listen(server, address)],
        async done() {
          const results = await Promise.all(responses);
          server.close();
          server.closeAllConnections();
          if (connections !== 1) throw new Error(`${connections} connections instead of one that is kept alive`);
          const passages: Passage[] = results.map(({ name, bytes, method, fallbackReason }) => ({
            name,
            bytes,
            method,
            fallbackReason,
          }));
          for (const [url, { start, end }] of asked) {
            passages.push({ name: `${name} ${url}`, ...(await fingerprintOfFile(path, { start, end })) });
          }
          return passages;
        },
      };
    },

    async visit({ peerAddress, size, middle }, [port]) {
      const agent = keptAlive();
      const passages: Passage[] = [];
      for (const [url, { start, end, chunked }] of bodies(size)) {
        const request = http.get({ host: peerAddress, port, path: url, agent });
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        request.on('error', () => {}); // its body tells, too
        const framed = response.headers['content-length'] === undefined ? 'chunked' : 'Content-Length';
        if ((framed === 'chunked') !== chunked) throw new Error(`${url} is framed by ${framed}`);
        const received = await receive(response, end + 1 - start, url === '/all' ? middle : undefined);
        passages.push({ name: `${name} ${url}`, ...received });
      }
      agent.destroy();
      return passages;
    },
  };
}

export const httpStream: Scenario = scenario('createSendfileStream, HTTP', respondByStream);
export const httpSendFile: Scenario = scenario('sendFile, HTTP', respondBySendFile);
