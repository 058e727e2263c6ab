/** One file that a program has chosen itself, as an answer: what X-Accel-Redirect is to nginx. */
import { invalidArgument } from '@zerocopy/transfer';
import { run } from './maybe.js';
import type { SentInfo, ServeFilesOptions } from './options.js';
import { plainPlan, planOneFile } from './plan.js';
import { normalizePath, rawPathOf } from './request-target.js';
import { type Delivery, type NodeRequest, type NodeResponse, sendPlan, sentInfo } from './send-plan.js';
import { questionOf } from './serve-files.js';
import { knownSite } from './site.js';

type WithRequest = [
  request: NodeRequest,
  response: NodeResponse,
  root: string | URL,
  path: string,
  options?: ServeFilesOptions | undefined,
];
type WithoutRequest = [response: NodeResponse, root: string | URL, path: string, options?: ServeFilesOptions];

/**
 * Answers with the file at `path` beneath `root`: with conditions, ranges, variants and header fields as serveFiles, but
 * without index, redirect, listing and fallback; with 404 if there is none. A request that is neither GET nor HEAD is
 * answered with the whole file. What the response has for header fields stays.
 *
 * @param path decoded, relative to the root, with or without a leading slash.
 * @returns when the response is over; a client that went away is told in `error`. Rejects, with nothing sent, with an
 * {@link OpenError} if the server cannot open files, and with a TypeError or RangeError for invalid arguments.
 */
export function sendFileResponse(...given: WithRequest): Promise<SentInfo>;
/** The same: the response knows its request. */
export function sendFileResponse(...given: WithoutRequest): Promise<SentInfo>;
export async function sendFileResponse(...given: WithRequest | WithoutRequest): Promise<SentInfo> {
  const [request, response, root, path, options] = withRequest(given);
  if (typeof path !== 'string') throw invalidArgument('path', 'a string', path);
  const startedAt = performance.now();
  const site = knownSite(root, options);
  const asked = questionOf(request);
  const reads = asked.method === 'GET' || asked.method === 'HEAD';
  const { target: asIs, originalTarget } = asked;
  const question = reads ? asked : { method: 'POST', target: asIs, originalTarget, field: () => undefined };
  const target = normalizePath(path);
  const valid = typeof target !== 'number' && !target.directory;
  const plan = valid ? await run(planOneFile(target.path, question, site)) : plainPlan(404, question);
  const delivery = await new Promise<Delivery>((resolve) => sendPlan(response, plan, resolve));
  const info = sentInfo(plan, delivery, asked.method, rawPathOf(request.url ?? '/'), startedAt);
  site.settings.onSent?.(info);
  return info;
}

function withRequest(given: WithRequest | WithoutRequest): WithRequest {
  if (typeof given[2] === 'string' && (typeof given[1] === 'string' || given[1] instanceof URL)) {
    const [response, root, path, options] = given as WithoutRequest;
    return [(response as { req: NodeRequest }).req, response, root, path, options];
  }
  return given as WithRequest;
}
