/** Programs that serve files. */
import { createReadStream } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { pipelined } from './client.js';
import { type Loose, listening, load } from './loading.js';
import type { Exchange, RealProgram } from './program.js';

const get = (path: string, ...headers: string[]): Exchange => ({
  name: `GET ${path} ${headers}`,
  head: [`GET ${path} HTTP/1.1`, ...headers],
});

const head = (path: string): Exchange => ({ name: `HEAD ${path}`, head: [`HEAD ${path} HTTP/1.1`] });

/** What every static file server is asked, below `prefix`. */
const staticExchanges = (prefix = ''): readonly Exchange[] => [
  get(`${prefix}/small.txt`),
  get(`${prefix}/page.html`),
  get(`${prefix}/large.bin`),
  get(`${prefix}/huge.bin`, 'Range: bytes=100000-2000000'),
  get(`${prefix}/huge.bin`, 'Range: bytes=-300000'),
  get(`${prefix}/large.bin`, 'If-Modified-Since: Fri, 01 Jan 2027 00:00:00 GMT'),
  head(`${prefix}/large.bin`),
  get(`${prefix}/none`),
];

/** Large ones, small ones and one without a body, in turn. */
const kept = (prefix = ''): Exchange =>
  pipelined(
    'several on one connection',
    ['GET /huge.bin', 'GET /small.txt', 'HEAD /large.bin', 'GET /large.bin', 'GET /page.html', 'GET /huge.bin'].map(
      (line) => ({ head: [`${line.replace(' ', ` ${prefix}`)} HTTP/1.1`] }),
    ),
  );

const express = (version: 'express' | 'express4'): RealProgram => ({
  name: version === 'express' ? 'Express 5' : 'Express 4',
  modules: [version],
  kinds: ['file->http'],
  start(site) {
    const make = load(version);
    const app = make();
    app.use('/static', make.static(site));
    app.get('/send/:name', (request: Loose, response: Loose) => {
      response.sendFile(join(site, request.params.name), { headers: { 'X-Sent': 'yes' } });
    });
    app.get('/download/:name', (request: Loose, response: Loose) => {
      response.download(join(site, request.params.name), 'name of its own.bin');
    });
    app.use((error: Loose, _request: Loose, response: Loose, _next: Loose) => {
      response.status(error.status ?? 500).send('failed');
    });
    return listening(http.createServer(app));
  },
  exchanges: [
    ...staticExchanges('/static'),
    kept('/static'),
    ...['/send', '/download'].flatMap((way) => [get(`${way}/large.bin`), get(`${way}/small.txt`), get(`${way}/none`)]),
  ],
});

export const serving: readonly RealProgram[] = [
  {
    name: 'node:http, by hand',
    modules: [],
    kinds: ['file->http'],
    start(site) {
      return listening(
        http.createServer((request, response) => {
          const { pathname } = new URL(request.url as string, 'http://localhost');
          const [, way, name = ''] = pathname.split('/');
          const source = createReadStream(join(site, name));
          source.on('error', () => response.writeHead(404).end());
          if (way === 'pipeline') pipeline(source, response, () => {});
          else source.pipe(response);
        }),
      );
    },
    exchanges: ['/pipe', '/pipeline'].flatMap((way) => [
      get(`${way}/small.txt`),
      get(`${way}/large.bin`),
      head(`${way}/large.bin`),
      { name: `${way}, HTTP/1.0`, head: [`GET ${way}/large.bin HTTP/1.0`] },
    ]),
  },
  express('express'),
  express('express4'),
  {
    name: '@fastify/static',
    modules: ['fastify', '@fastify/static'],
    kinds: ['file->http'],
    async start(site) {
      const app = load('fastify')();
      await app.register(load('@fastify/static'), { root: site });
      await app.listen({ port: 0, host: '127.0.0.1' });
      return app.server;
    },
    exchanges: [...staticExchanges(), kept()],
  },
  {
    name: 'koa-static',
    modules: ['koa', 'koa-static'],
    kinds: ['file->http'],
    start(site) {
      const Koa = load('koa');
      const app = new (Koa.default ?? Koa)();
      app.silent = true;
      app.use(load('koa-static')(site));
      return listening(http.createServer(app.callback()));
    },
    exchanges: staticExchanges().filter(({ name }) => !name.includes('Range')),
  },
  {
    name: 'koa-send',
    modules: ['koa', 'koa-send'],
    kinds: ['file->http'],
    start(site) {
      const Koa = load('koa');
      const send = load('koa-send');
      const app = new (Koa.default ?? Koa)();
      app.silent = true;
      app.use((context: Loose) => send(context, context.path, { root: site }));
      return listening(http.createServer(app.callback()));
    },
    exchanges: staticExchanges().filter(({ name }) => !/Range|none/.test(name)),
  },
  {
    name: 'sirv',
    modules: ['sirv'],
    kinds: ['file->http'],
    start(site) {
      const sirv = load('sirv');
      const handle = (sirv.default ?? sirv)(site, { etag: true });
      return listening(http.createServer((request, response) => handle(request, response)));
    },
    exchanges: [...staticExchanges(), kept()],
  },
  {
    name: 'serve-handler',
    modules: ['serve-handler'],
    kinds: ['file->http'],
    start(site) {
      const handler = load('serve-handler');
      return listening(http.createServer((request, response) => handler(request, response, { public: site })));
    },
    exchanges: staticExchanges().filter(({ name }) => !name.includes('/none')),
  },
  {
    name: 'compression',
    modules: ['express', 'compression'],
    // Where the client takes gzip, a Transform is in between.
    kinds: [],
    start(site) {
      const make = load('express');
      const app = make();
      app.use(load('compression')({ filter: () => true }));
      app.use(make.static(site));
      return listening(http.createServer(app));
    },
    exchanges: [
      get('/large.bin', 'Accept-Encoding: gzip'),
      get('/page.html', 'Accept-Encoding: gzip'),
      get('/large.bin', 'Accept-Encoding: identity'),
    ],
  },
  {
    name: 'archiver',
    modules: ['archiver'],
    kinds: [],
    start(site) {
      const archiver = load('archiver');
      return listening(
        http.createServer((_request, response) => {
          const archive = archiver('zip', { store: true });
          archive.pipe(response);
          for (const name of ['small.txt', 'large.bin']) {
            archive.file(join(site, name), { name, date: new Date('2026-01-02T03:04:05Z'), mode: 0o644 });
          }
          void archive.finalize();
        }),
      );
    },
    exchanges: [get('/')],
  },
];
