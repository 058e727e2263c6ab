/** Hono. */
import { fetchResponse } from './fetch-files.js';
import type { ServeFilesOptions } from './options.js';
import { questionOfRequest } from './plan-request.js';
import type { NodeRequest, NodeResponse } from './send-plan.js';
import { decide, questionOf, sendAndWait } from './serve-files.js';
import { createSite } from './site.js';

/** What is used of a Hono context. */
export interface HonoContext {
  readonly req: { readonly raw: Request };
  get res(): Response;
  set res(response: Response | undefined);
  readonly env: unknown;
}

/** Hono middleware. */
// biome-ignore lint/suspicious/noConfusingVoidType: what Hono's own middleware answers
export type HonoMiddleware = (context: HonoContext, next: () => Promise<void>) => Promise<Response | void>;

/** As serveFiles, and where. */
export interface HonoFilesOptions extends ServeFilesOptions {
  /** What the targets begin with, and the files' paths do not: Hono tells no middleware where it is mounted. */
  readonly prefix?: string;
}

/**
 * Hono middleware: `app.use('/static/*', honoFiles(root, { prefix: '/static' }))`. With @hono/node-server what it answers
 * goes out at once on Node's response, so that the kernel can send it: header fields are to be set before this middleware.
 * Elsewhere it is a Response with a stream.
 */
export function honoFiles(root: string | URL, { prefix = '', ...options }: HonoFilesOptions = {}): HonoMiddleware {
  const site = createSite(root, options);
  const mount = prefix.replace(/\/$/, '');
  return async (context, next) => {
    const startedAt = performance.now();
    const { incoming, outgoing } = Object(context.env) as { incoming?: NodeRequest; outgoing?: NodeResponse };
    if (incoming === undefined || outgoing === undefined) {
      const asked = questionOfRequest(context.req.raw);
      const url = new URL(asked.target);
      const path = `${url.pathname}${url.search}`;
      const { method, field } = asked;
      const question = { method, field, originalTarget: path, target: beneath(path, mount) };
      const plan = await decide(question, site, true);
      return plan === undefined ? next() : fetchResponse(plan, site, question, startedAt);
    }
    const plan = await decide(questionOf(incoming, beneath(incoming.url ?? '/', mount)), site, true);
    if (plan === undefined) return next();
    context.res.headers.forEach((value, name) => {
      if (!outgoing.headersSent) outgoing.setHeader(name, value);
    });
    await sendAndWait(site, incoming, outgoing, plan, startedAt);
    // Not returned, and instead of the one that was looked at: Hono would make a third out of both.
    context.res = undefined;
    context.res = alreadySent();
    return undefined;
  };
}

/** Tells @hono/node-server that the response has been sent on Node's own. */
function alreadySent(): Response {
  const response = new Response(null, { headers: { 'x-hono-already-sent': 'true' } });
  // @hono/node-server's Response only takes notes until it is looked at, and sends by its notes.
  void response.body;
  return response;
}

const beneath = (target: string, mount: string): string =>
  target.startsWith(mount) ? target.slice(mount.length) || '/' : target;
