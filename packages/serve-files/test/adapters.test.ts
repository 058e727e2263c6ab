/** The same answers through every framework. */
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { getRequestListener } from '@hono/node-server';
import {
  fastifyFiles,
  fetchFiles,
  honoFiles,
  koaFiles,
  type SentInfo,
  type ServeFilesOptions,
  serveFiles,
} from '@zerocopy/serve-files';
import test from 'ava';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { ask, listening, MiB, openDescriptors, pattern, tree, until } from './harness.js';

const big = pattern(3 * MiB);
const root = tree({
  'a.txt': '0123456789',
  'a.txt.br': 'br',
  'big.bin': big,
  'dir/index.html': 'index',
  'with space#.txt': 'hash',
  '.env': 'SECRET',
});

interface Served {
  readonly port: number;
  close(): Promise<void>;
}

async function serving(server: net.Server): Promise<Served> {
  const port = await listening(server);
  return {
    port,
    async close() {
      (server as http.Server).closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const adapters: Readonly<Record<string, (options: ServeFilesOptions) => Promise<Served>>> = {
  'node:http': (options) => {
    const handler = serveFiles(root, options);
    return serving(
      http.createServer((request, response) => {
        const { url = '/' } = request;
        if (url.startsWith('/m')) Object.assign(request, { originalUrl: url, url: url.slice(2) || '/' });
        handler(request, response);
      }),
    );
  },
  Express: (options) => {
    const app = express();
    app.use('/m', serveFiles(root, options));
    app.use(serveFiles(root, options));
    return serving(http.createServer(app));
  },
  async Fastify(options) {
    const app = fastify({ forceCloseConnections: true });
    app.register(fastifyFiles, { root, prefix: '/m', ...options });
    app.register(fastifyFiles, { root, ...options });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { port: (app.server.address() as net.AddressInfo).port, close: () => app.close() };
  },
  Koa: (options) => {
    const app = new Koa();
    app.silent = true;
    const mounted = koaFiles(root, options);
    app.use(koaFiles(root, options));
    app.use((context, next) => {
      const { url } = context;
      if (!url.startsWith('/m')) return next();
      context.url = url.slice(2) || '/'; // as koa-mount does
      return mounted(context, next);
    });
    return serving(http.createServer(app.callback()));
  },
  Hono: (options) => {
    const app = new Hono();
    app.use('/m/*', honoFiles(root, { prefix: '/m', ...options }));
    app.use('/m', honoFiles(root, { prefix: '/m', ...options }));
    app.use('*', honoFiles(root, options));
    return serving(http.createServer(getRequestListener(app.fetch)));
  },
  'Hono without Node': (options) => {
    const app = new Hono();
    app.use('/m/*', honoFiles(root, { prefix: '/m', ...options }));
    app.use('/m', honoFiles(root, { prefix: '/m', ...options }));
    app.use('*', honoFiles(root, options));
    return serving(http.createServer(getRequestListener((request) => app.fetch(request))));
  },
  fetch: (options) => {
    const files = fetchFiles(root, options);
    const handler = async (request: Request): Promise<Response> => {
      const { pathname, search, origin } = new URL(request.url);
      if (!pathname.startsWith('/m')) return files(request, () => new Response('next', { status: 404 }));
      const inner = new Request(`${origin}${pathname.slice(2) || '/'}${search}`, request);
      const response = await files(inner);
      const location = response.headers.get('location');
      if (location !== null) response.headers.set('location', `/m${location}`);
      return response;
    };
    return serving(http.createServer(getRequestListener(handler)));
  },
};

for (const [name, serve] of Object.entries(adapters)) {
  test.serial(`${name}: the table`, async (t) => {
    const infos: SentInfo[] = [];
    const { port, close } = await serve({
      precompressed: true,
      cacheControl: 'max-age=7',
      onSent: (info) => infos.push(info),
    });
    try {
      const whole = await ask(port, '/a.txt');
      t.is(whole.status, 200);
      t.is(whole.body.toString(), '0123456789');
      t.is(whole.headers['content-type'], 'text/plain; charset=utf-8');
      t.is(whole.headers['content-length'], '10');
      t.is(whole.headers['cache-control'], 'max-age=7');
      t.is(whole.headers.vary, 'Accept-Encoding');
      t.is(whole.headers['x-content-type-options'], 'nosniff');
      t.true((await ask(port, '/big.bin')).body.equals(big));
      t.is((await ask(port, '/with%20space%23.txt')).body.toString(), 'hash');
      t.is((await ask(port, '/dir/')).body.toString(), 'index');
      const redirect = await ask(port, '/dir?q=1');
      t.is(redirect.status, 301);
      t.is(redirect.headers.location, '/dir/?q=1');
      t.is((await ask(port, '/m/a.txt')).body.toString(), '0123456789');
      t.is((await ask(port, '/m/dir?q=1')).headers.location, '/m/dir/?q=1');
      t.is((await ask(port, '/a.txt', { headers: [`If-None-Match: ${whole.headers.etag}`] })).status, 304);
      t.is(
        (await ask(port, '/a.txt', { headers: ['If-None-Match: "x"', `If-None-Match: ${whole.headers.etag}`] })).status,
        304,
      );
      t.is((await ask(port, '/a.txt', { headers: ['If-Match: "x"'] })).status, 412);
      const range = await ask(port, '/big.bin', { headers: ['Range: bytes=1000000-2000000'] });
      t.is(range.status, 206);
      t.true(range.body.equals(big.subarray(1_000_000, 2_000_001)));
      t.is((await ask(port, '/a.txt', { headers: ['Range: bytes=50-'] })).status, 416);
      t.regex(
        (await ask(port, '/a.txt', { headers: ['Range: bytes=0-1,5-6'] })).headers['content-type'] ?? '',
        /multipart/,
      );
      t.is((await ask(port, '/a.txt', { headers: ['Accept-Encoding: br'] })).body.toString(), 'br');
      const head = await ask(port, '/a.txt', { method: 'HEAD' });
      t.is(head.status, 200);
      t.is(head.headers['content-length'], '10');
      t.is(head.body.length, 0);
      t.is((await ask(port, '/a.txt', { method: 'OPTIONS' })).status, 204);
      for (const target of ['/nothing', '/.env', '/a.txt/', '/dir/nothing', '/m/nothing']) {
        t.is((await ask(port, target)).status, 404, target);
      }
      await until(() => infos.some(({ path, status }) => path === '/big.bin' && status === 206), 'onSent');
      const old = await ask(port, '/a.txt', { version: '1.0' });
      t.is(old.body.toString(), '0123456789');
    } finally {
      await close();
    }
  });

  test.serial(`${name}: fallthrough: false answers 404 and 405 itself`, async (t) => {
    const { port, close } = await serve({ fallthrough: false });
    try {
      t.is((await ask(port, '/nothing')).body.toString(), 'Not Found\n');
      const refused = await ask(port, '/a.txt', { method: 'POST' });
      t.is(refused.status, 405);
      t.is(refused.headers.allow, 'GET, HEAD, OPTIONS');
    } finally {
      await close();
    }
  });

  test.serial(`${name}: clients that go away leave no descriptor`, async (t) => {
    const { port, close } = await serve({});
    try {
      await ask(port, '/a.txt');
      const before = openDescriptors();
      for (let n = 0; n < 10; n++) {
        const request = http.get({ port, path: '/big.bin', agent: false });
        request.on('error', () => {});
        const [response] = (await once(request, 'response')) as [http.IncomingMessage];
        response.on('error', () => {});
        response.destroy();
      }
      await until(() => openDescriptors() <= before, 'every descriptor closed');
      t.pass();
    } finally {
      await close();
    }
  });
}

test('the fields of a framework go out, too', async (t) => {
  const app = fastify({ forceCloseConnections: true });
  app.addHook('onRequest', async (_request, reply) => void reply.header('x-own', 'fastify'));
  app.register(fastifyFiles, { root });
  app.get('/own', async () => 'own');
  await app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = app.server.address() as net.AddressInfo;
  t.is((await ask(port, '/a.txt')).headers['x-own'], 'fastify');
  t.is((await ask(port, '/own')).body.toString(), 'own');
  await app.close();

  const hono = new Hono();
  hono.use('*', async (context, next) => {
    context.header('x-own', 'hono');
    await next();
  });
  hono.use('*', honoFiles(root));
  const server = await serving(http.createServer(getRequestListener(hono.fetch)));
  t.is((await ask(server.port, '/a.txt')).headers['x-own'], 'hono');
  await server.close();

  const koa = new Koa();
  koa.use((context, next) => {
    context.set('x-own', 'koa');
    return next();
  });
  koa.use(koaFiles(root));
  const koaServer = await serving(http.createServer(koa.callback()));
  t.is((await ask(koaServer.port, '/a.txt')).headers['x-own'], 'koa');
  await koaServer.close();
});
