/** Who is tried: serveFiles by each adapter, and what people use today. Each runs in a process of its own. */
import type { RequestListener } from 'node:http';
import http from 'node:http';
import { createRequire } from 'node:module';

export interface StaticServer {
  readonly name: string;
  readonly ours: boolean;
  /** The packages it needs. */
  readonly modules: readonly string[];
  /** A server that is not listening yet. */
  serve(root: string): http.Server | Promise<http.Server>;
}

const require = createRequire(import.meta.url);
const OPTIONS = { precompressed: true } as const;

const serving = (listener: RequestListener): http.Server => http.createServer(listener);

export const servers: readonly StaticServer[] = [
  {
    name: 'serveFiles',
    ours: true,
    modules: [],
    async serve(root) {
      const { serveFiles } = await import('@zerocopy/serve-files');
      return serving(serveFiles(root, OPTIONS) as RequestListener);
    },
  },
  {
    name: 'serveFiles, kept open',
    ours: true,
    modules: [],
    async serve(root) {
      const { serveFiles } = await import('@zerocopy/serve-files');
      return serving(serveFiles(root, { ...OPTIONS, cache: { files: 100, maxAgeMs: 60_000 } }) as RequestListener);
    },
  },
  {
    name: 'Express',
    ours: true,
    modules: ['express'],
    async serve(root) {
      const [{ serveFiles }, { default: express }] = await Promise.all([
        import('@zerocopy/serve-files'),
        load('express'),
      ]);
      const app = (express as () => RequestListener & { use(handler: unknown): void })();
      app.use(serveFiles(root, { ...OPTIONS, fallthrough: false }));
      return serving(app);
    },
  },
  {
    name: 'Fastify',
    ours: true,
    modules: ['fastify'],
    async serve(root) {
      const [{ fastifyFiles }, { fastify }] = await Promise.all([import('@zerocopy/serve-files'), import('fastify')]);
      const app = fastify({ routerOptions: { ignoreDuplicateSlashes: false } });
      await app.register(fastifyFiles, { root, ...OPTIONS, fallthrough: false });
      await app.ready();
      return app.server;
    },
  },
  {
    name: 'Koa',
    ours: true,
    modules: ['koa'],
    async serve(root) {
      const [{ koaFiles }, { default: Koa }] = await Promise.all([import('@zerocopy/serve-files'), load('koa')]);
      const app = new (Koa as new () => { use(middleware: unknown): void; callback(): RequestListener })();
      app.use(koaFiles(root, { ...OPTIONS, fallthrough: false }));
      return serving(app.callback());
    },
  },
  {
    name: 'Hono',
    ours: true,
    modules: ['hono', '@hono/node-server'],
    async serve(root) {
      const [{ honoFiles }, { Hono }, { getRequestListener }] = await Promise.all([
        import('@zerocopy/serve-files'),
        import('hono'),
        import('@hono/node-server'),
      ]);
      const app = new Hono();
      app.use('*', honoFiles(root, { ...OPTIONS, fallthrough: false }));
      return serving(getRequestListener(app.fetch) as RequestListener);
    },
  },
  {
    name: 'send',
    ours: false,
    modules: ['send'],
    serve(root) {
      const send = require('send') as (request: unknown, path: string, options: object) => { pipe(to: unknown): void };
      return serving((request, response) => {
        const { pathname } = new URL(`http://h${request.url}`);
        send(request, pathname, { root }).pipe(response);
      });
    },
  },
  {
    name: 'sirv',
    ours: false,
    modules: ['sirv'],
    async serve(root) {
      const { default: sirv } = await import('sirv');
      return serving(sirv(root, { dev: true, etag: true, gzip: true, brotli: true }));
    },
  },
  {
    name: 'serve-handler',
    ours: false,
    modules: ['serve-handler'],
    async serve(root) {
      const { default: handler } = await load('serve-handler');
      return serving((request, response) => {
        void (handler as (...args: unknown[]) => unknown)(request, response, {
          public: root,
          cleanUrls: false,
          etag: true,
        });
      });
    },
  },
  {
    name: '@fastify/static',
    ours: false,
    modules: ['fastify', '@fastify/static'],
    async serve(root) {
      const [{ fastify }, { fastifyStatic }] = await Promise.all([import('fastify'), import('@fastify/static')]);
      const app = fastify();
      await app.register(fastifyStatic, { root, preCompressed: true, redirect: true });
      await app.ready();
      return app.server;
    },
  },
  {
    name: 'srvx',
    ours: false,
    modules: ['srvx'],
    async serve(root) {
      const [{ toNodeHandler }, { staticMiddleware }] = (await Promise.all([
        load('srvx'),
        load('srvx/static'),
      ])) as unknown as [
        { toNodeHandler(handler: (request: Request) => unknown): RequestListener },
        { staticMiddleware(options: object): (request: Request, next: () => Response) => unknown },
      ];
      const files = staticMiddleware({ dir: root, encodings: true, compress: false });
      return serving(toNodeHandler((request) => files(request, () => new Response('', { status: 404 }))));
    },
  },
  {
    name: 'Hono serveStatic',
    ours: false,
    modules: ['hono', '@hono/node-server'],
    async serve(root) {
      const [{ Hono }, { getRequestListener }, { serveStatic }] = await Promise.all([
        import('hono'),
        import('@hono/node-server'),
        import('@hono/node-server/serve-static'),
      ]);
      const app = new Hono();
      app.use('*', serveStatic({ root, precompressed: true }));
      return serving(getRequestListener(app.fetch) as RequestListener);
    },
  },
];

/** For packages that bring no types. */
const load = (name: string): Promise<{ default: unknown }> => import(name) as Promise<{ default: unknown }>;
