/** Static file servers as people mount them: validators, ranges and types included. Each runs alone in a process of its own. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { Role } from '../race/scenario.js';

export interface StaticContestant {
  readonly name: string;
  readonly description: string;
  readonly role: Role;
  /** The npm package that does the work, where it is not ours. */
  readonly module?: string;
  serve(directory: string): RequestListener | Promise<RequestListener>;
}

const require = createRequire(import.meta.url);

async function serveFiles(
  directory: string,
  options: { cache?: { files: number; maxAgeMs: number } | false },
): Promise<RequestListener> {
  const module = await import('@zerocopy/serve-files');
  return module.serveFiles(directory, options) as RequestListener;
}

export const staticContestants: readonly StaticContestant[] = [
  {
    name: 'serve-files',
    description: 'serveFiles(root): what is asked for again stays open for a second',
    role: 'ours',
    serve: (directory) => serveFiles(directory, {}),
  },
  {
    name: 'serve-files-uncached',
    description: 'serveFiles(root, { cache: false })',
    role: 'ours',
    serve: (directory) => serveFiles(directory, { cache: false }),
  },
  {
    name: 'send',
    description: 'send(req, req.url, { root })',
    role: 'peer',
    module: 'send',
    serve(directory) {
      const send = require('send') as typeof import('send');
      return (request, response) => {
        send(request, request.url as string, { root: directory }).pipe(response);
      };
    },
  },
  {
    name: 'sirv',
    description: 'sirv(root, { etag: true }), which looks at the directory once',
    role: 'peer',
    module: 'sirv',
    async serve(directory) {
      const { default: sirv } = await import('sirv');
      return sirv(directory, { etag: true });
    },
  },
  {
    name: 'fastify-static',
    description: '@fastify/static',
    role: 'peer',
    module: '@fastify/static',
    async serve(directory) {
      const [{ fastify }, { default: fastifyStatic }] = await Promise.all([
        import('fastify'),
        import('@fastify/static'),
      ]);
      const app = fastify();
      await app.register(fastifyStatic, { root: directory });
      await app.ready();
      return (request: IncomingMessage, response: ServerResponse) => app.routing(request, response);
    },
  },
  {
    name: 'hono-static',
    description: 'serveStatic({ root }) of @hono/node-server',
    role: 'peer',
    module: '@hono/node-server',
    async serve(directory) {
      const [{ Hono }, { getRequestListener }, { serveStatic }] = await Promise.all([
        import('hono'),
        import('@hono/node-server'),
        import('@hono/node-server/serve-static'),
      ]);
      const app = new Hono();
      app.use('*', serveStatic({ root: directory }));
      return getRequestListener(app.fetch) as RequestListener;
    },
  },
];

export function staticContestant(name: string): StaticContestant {
  const found = staticContestants.find((contestant) => contestant.name === name);
  if (found === undefined) throw new RangeError(`no contestant '${name}'`);
  return found;
}
