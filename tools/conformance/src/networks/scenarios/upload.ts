/** Uploads into files: two requests on one kept-alive connection, and a plain socket. */
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream } from '@zerocopy/splice-pipe';
import type { Fingerprint } from '@zerocopy/testing/bytes';
import {
  connect,
  fingerprintOfFile,
  keptAlive,
  listen,
  type Passage,
  type Scenario,
  type Site,
  send,
} from './scenario.js';

const NAMES = ['upload, HTTP 1', 'upload, HTTP 2'] as const;
const RAW = 'upload, socket';

type Stored = Passage & Fingerprint;

async function store(source: NodeJS.ReadableStream, name: string, { directory }: Site): Promise<Stored> {
  const path = join(directory, name);
  const destination = createSpliceWriteStream(path);
  await pipeline(source, destination);
  const { method, fallbackReason } = destination;
  return { name, ...(await fingerprintOfFile(path)), method, fallbackReason };
}

export const uploads: Scenario = {
  name: 'createSpliceWriteStream, uploads',

  async serve(site) {
    const stored: Promise<Stored>[] = [];
    let connections = 0;
    const web = http.createServer((request, response) => {
      const file = store(request, (request.url as string).slice(1).replaceAll('%20', ' '), site);
      stored.push(file);
      file.then(
        ({ sha256 }) => response.end(sha256),
        () => response.destroy(), // told by done()
      );
    });
    web.keepAliveTimeout = 0;
    web.requestTimeout = 0; // a sender may be stalled for minutes
    web.on('connection', () => connections++);
    const raw = net.createServer({ allowHalfOpen: true }, (socket) => {
      const file = store(socket, RAW, site);
      stored.push(file);
      file.then(
        ({ sha256 }) => socket.end(sha256),
        () => socket.destroy(),
      );
    });
    return {
      ports: [await listen(web, site.address), await listen(raw, site.address)],
      async done() {
        const passages = await Promise.all(stored);
        for (const server of [web, raw]) server.close();
        web.closeAllConnections();
        if (connections !== 1) throw new Error(`${connections} connections instead of one that is kept alive`);
        return passages;
      },
    };
  },

  async visit(site, [web, raw]) {
    const agent = keptAlive();
    const overHttp = async (): Promise<Passage[]> => {
      const passages: Passage[] = [];
      for (const name of NAMES) {
        const request = http.request({
          host: site.peerAddress,
          port: web,
          path: encodeURI(`/${name}`),
          method: 'PUT',
          agent,
          headers: { 'content-length': site.size },
        });
        const responded = once(request, 'response');
        responded.catch(() => {}); // waited for below
        request.on('error', () => {});
        const sent = await send(request, name, site, name === NAMES[0] ? site.middle : undefined);
        const [response] = (await responded) as [IncomingMessage];
        await confirm(response, sent.sha256);
        passages.push({ name, ...sent });
      }
      return passages;
    };
    const overSocket = async (): Promise<Passage[]> => {
      const socket = await connect(site.peerAddress, raw as number);
      const sent = await send(socket, RAW, site);
      await confirm(socket, sent.sha256);
      return [{ name: RAW, ...sent }];
    };
    const passages = await Promise.all([overHttp(), overSocket()]);
    agent.destroy();
    return passages.flat();
  },
};

/** The other host answers with the hash of what it has in its file. */
async function confirm(answer: NodeJS.ReadableStream, sha256: string): Promise<void> {
  let text = '';
  for await (const chunk of answer) text += String(chunk);
  if (text !== sha256) throw new Error(`stored was ${text}, sent was ${sha256}`);
}
