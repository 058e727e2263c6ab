/** Koa. */
import type { ServeFilesOptions } from './options.js';
import type { NodeRequest, NodeResponse } from './send-plan.js';
import { decide, questionOf, sendAndWait } from './serve-files.js';
import { createSite } from './site.js';

/** What is used of a Koa context. */
export interface KoaContext {
  readonly req: NodeRequest;
  readonly res: NodeResponse;
  /** Beneath a mount point (koa-mount) the rest of it. */
  readonly url: string;
  readonly originalUrl: string;
  respond?: boolean | undefined;
}

/** Koa middleware. */
export type KoaMiddleware = (context: KoaContext, next: () => Promise<unknown>) => Promise<unknown>;

/**
 * Koa middleware. What it answers goes out at once on Node's response, beside Koa (`ctx.respond = false`), so that the
 * kernel can send it: header fields are to be set before this middleware, not after it.
 */
export function koaFiles(root: string | URL, options: ServeFilesOptions = {}): KoaMiddleware {
  const site = createSite(root, options);
  return async (context, next) => {
    const startedAt = performance.now();
    const { req, res, url, originalUrl } = context;
    const plan = await decide({ ...questionOf(req, url), originalTarget: originalUrl }, site, true);
    if (plan === undefined) return next();
    context.respond = false;
    return sendAndWait(site, req, res, plan, startedAt);
  };
}
