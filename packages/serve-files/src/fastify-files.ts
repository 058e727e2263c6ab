/** Fastify. */
import type { ServeFilesOptions } from './options.js';
import type { NodeRequest, NodeResponse } from './send-plan.js';
import { decide, questionOf, sendAndWait } from './serve-files.js';
import { createSite } from './site.js';

/** As serveFiles, and where. */
export interface FastifyFilesOptions extends ServeFilesOptions {
  /** The directory. */
  readonly root: string | URL;
  /** Given to `register`: the path under which the files are served. */
  readonly prefix?: string;
}

/** What is used of a Fastify request. */
export interface FastifyFilesRequest {
  readonly raw: NodeRequest;
}

/** What is used of a Fastify reply. */
export interface FastifyFilesReply {
  readonly raw: NodeResponse;
  hijack(): unknown;
  callNotFound(): unknown;
  getHeaders(): Record<string, number | string | string[] | undefined>;
}

/** What is used of a Fastify instance. */
export interface FastifyFilesInstance {
  readonly prefix: string;
  readonly supportedMethods: string[];
  // biome-ignore lint/suspicious/noExplicitAny: the types of Fastify's routes are Fastify's
  route(route: any): unknown;
}

const READING = ['GET', 'HEAD', 'OPTIONS'];

/**
 * Fastify plugin: `app.register(fastifyFiles, { root, prefix: '/static' })`. What it answers goes out on Node's response,
 * beside Fastify (`reply.hijack()`), so that the kernel can send it. What it does not find is Fastify's own 404, unless
 * `fallthrough` is false.
 */
export async function fastifyFiles(instance: FastifyFilesInstance, options: FastifyFilesOptions): Promise<void> {
  const { root, ...others } = options;
  const site = createSite(root, others);
  const prefix = instance.prefix.replace(/\/$/, '');

  const handler = async (request: FastifyFilesRequest, reply: FastifyFilesReply): Promise<unknown> => {
    const startedAt = performance.now();
    const { raw } = request;
    const url = raw.url ?? '/';
    const question = questionOf(raw, url.startsWith(prefix) ? url.slice(prefix.length) : url);
    const plan = await decide(question, site, true);
    if (plan === undefined) return reply.callNotFound();
    const response = reply.raw;
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined && !response.headersSent) response.setHeader(name, value);
    }
    reply.hijack();
    await sendAndWait(site, raw, response, plan, startedAt);
    return reply;
  };
  instance.route({ method: READING, url: '/*', exposeHeadRoute: false, handler });
  if (site.settings.fallthrough) return;
  // Other methods are answered by 405, before Fastify asks for a body that it can read.
  const method = instance.supportedMethods.filter((name) => !READING.includes(name));
  instance.route({ method, url: '/*', onRequest: handler, handler });
}
