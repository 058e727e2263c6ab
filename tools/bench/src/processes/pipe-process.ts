/**
 * A program with pipes in a process of its own, one contestant: `serve` files and store uploads, or pass on what a `reverse`
 * or a `tcp` proxy's upstream sends. The program is the same for all; whether its pipes go beneath is said by NODE_OPTIONS.
 */
import { createReadStream, createWriteStream, statSync } from 'node:fs';
import http, { type RequestListener } from 'node:http';
import net, { type AddressInfo, type Server } from 'node:net';
import { join as pathOf } from 'node:path';
import { pipeline as nodePipeline, type Readable, type Writable } from 'node:stream';
import { answerReports, tell } from './reporting.js';

const [name = '', mode = '', directory = '', upstream = ''] = process.argv.slice(2);

type Join = (source: Readable, destination: Writable, done: () => void) => void;

async function joining(): Promise<Join> {
  if (name === 'pipeline') return (await import('@zerocopy/pipeline')).pipeline as Join;
  if (name === 'node-pipeline') return nodePipeline as Join;
  return (source, destination, done) => {
    source.pipe(destination);
    destination.once('finish', done);
  };
}

const join = await joining();

/** As Express serves it. */
async function express(): Promise<RequestListener> {
  const { default: make } = await import('express');
  const app = make();
  app.use(make.static(directory));
  return app as unknown as RequestListener;
}

async function serving(): Promise<Server> {
  const app = await express();
  return http.createServer((request, response) => {
    const url = request.url as string;
    if (request.method === 'PUT') {
      join(request, createWriteStream(pathOf(directory, url)), () =>
        response.writeHead(201, { 'Content-Length': 0 }).end(),
      );
    } else if (url.startsWith('/express/')) {
      request.url = url.slice('/express'.length);
      app(request, response);
    } else {
      const path = pathOf(directory, url);
      response.setHeader('Content-Length', statSync(path).size);
      join(createReadStream(path), response, () => {});
    }
  });
}

function reverse(): Server {
  const agent = new http.Agent({ keepAlive: true });
  return http.createServer((request, response) => {
    const { method, headers, url } = request;
    const forwarded = http.request(
      { port: upstream, host: '127.0.0.1', method, headers, path: url, agent },
      (answer) => {
        response.writeHead(answer.statusCode as number, answer.headers);
        join(answer, response, () => {});
      },
    );
    // Otherwise an upstream that goes away would leave the client waiting: a pipeline hears the error, and so nobody else has to.
    forwarded.on('error', (error) => response.destroy(error));
    join(request, forwarded, () => {});
  });
}

function tcp(): Server {
  return net.createServer({ allowHalfOpen: true }, (client) => {
    const server = net.connect({ port: Number(upstream), host: '127.0.0.1', allowHalfOpen: true });
    for (const socket of [client, server]) socket.on('error', () => {});
    join(client, server, () => {});
    join(server, client, () => {});
  });
}

const makers: Readonly<Record<string, () => Server | Promise<Server>>> = { serve: serving, reverse, tcp };
const make = makers[mode];
if (make === undefined) throw new RangeError(`there is no program '${mode}'`);
answerReports(() => ({ method: name === 'register' || name === 'pipeline' ? 'beneath' : 'copy' }));
const server = await make();
// The kept connections of a proxy are idle while the other contestants have their turns. One that its upstream closes just as
// the next request is on its way would fail that request.
if (server instanceof http.Server) server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
