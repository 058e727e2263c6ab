/** The handler for node:http, node:https, node:http2, connect and Express. */
import { nextTick } from '@zerocopy/transfer';
import type { FieldReader } from './conditions.js';
import { type Maybe, run, type Steps, settled } from './maybe.js';
import type { ServeFilesOptions } from './options.js';
import { type Plan, plainPlan, planSteps, type Question, type Site } from './plan.js';
import { decodePath, isHidden, rawPathOf } from './request-target.js';
import { OpenError } from './root.js';
import { type NodeRequest, type NodeResponse, sendPlan, sentInfo } from './send-plan.js';
import { createSite } from './site.js';

/** Called for what is not answered here; with an error if the server failed. */
export type Next = (error?: unknown) => void;

/** A handler of node:http, connect and Express. Without `next` it answers everything. */
export type FileHandler = (request: NodeRequest, response: NodeResponse, next?: Next) => void;

/**
 * Serves the files beneath a directory.
 *
 * @param root an absolute or relative path, or a file: URL. It need not exist yet, and may be replaced.
 * @throws {TypeError | RangeError} for invalid options.
 */
export function serveFiles(root: string | URL, options: ServeFilesOptions = {}): FileHandler {
  const site = createSite(root, options);
  return (request, response, next) => {
    answer(site, request, response, next);
  };
}

/** Express and connect keep the target of a mounted handler here. */
export function questionOf(request: NodeRequest, target: string = request.url ?? '/'): Question {
  const { originalUrl } = request as { originalUrl?: unknown };
  return {
    method: request.method ?? 'GET',
    target,
    originalTarget: typeof originalUrl === 'string' ? originalUrl : (request.url ?? '/'),
    field: fieldsOf(request),
  };
}

/** These may come in several lines; of HTTP/2, Node keeps the first only. */
const LISTS: ReadonlySet<string> = new Set(['if-match', 'if-none-match']);

function fieldsOf(request: NodeRequest): FieldReader {
  const { headers, httpVersionMajor } = request;
  return (name) => {
    const value = headers[name];
    if (value === undefined) return undefined;
    if (httpVersionMajor >= 2 && LISTS.has(name)) return allLines(request.rawHeaders, name);
    return Array.isArray(value) ? value.join(', ') : value;
  };
}

function allLines(rawHeaders: readonly string[], name: string): string {
  const lines: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === name) lines.push(rawHeaders[at + 1] as string);
  }
  return lines.join(', ');
}

/**
 * What a request is answered with; undefined: it is to be passed on.
 * @param passes whether there is somebody to pass it on to.
 */
export function decide(question: Question, site: Site, passes: boolean): Maybe<Plan | undefined> {
  return run(decision(question, site, passes && site.settings.fallthrough));
}

function* decision(question: Question, site: Site, passes: boolean): Steps<Plan | undefined> {
  // OPTIONS belongs to the owner of the resource: another handler may have it where there is no file.
  if (passes && question.method === 'OPTIONS' && !(yield* exists(question, site))) return undefined;
  const plan = yield* planSteps(question, site);
  if (!passes || (plan.status !== 404 && plan.status !== 405)) return plan;
  plan.release();
  return undefined;
}

function* exists({ target }: Question, { root, settings }: Site): Steps<boolean> {
  const decoded = decodePath(rawPathOf(target));
  if (typeof decoded === 'number' || (settings.hidesDotfiles && isHidden(decoded.path))) return false;
  const status = yield* settled(root.look(decoded.path));
  return status !== undefined && (status.isDirectory || (status.isFile && !decoded.directory));
}

/**
 * Sends what was decided, and tells `onSent`, and `over` after it.
 * @throws {TypeError} for a header field that cannot be sent, with nothing sent.
 */
export function send(
  site: Site,
  request: NodeRequest,
  response: NodeResponse,
  plan: Plan,
  startedAt: number,
  over?: () => void,
): void {
  const { onSent } = site.settings;
  if (onSent === undefined) return sendPlan(response, plan, over);
  const { method = 'GET', url = '/' } = request;
  sendPlan(response, plan, (delivery) => {
    over?.();
    onSent(sentInfo(plan, delivery, method, rawPathOf(url), startedAt));
  });
}

/** {@link send}, with a promise of the end of the response. */
export function sendAndWait(...[site, request, response, plan, startedAt]: Parameters<typeof send>): Promise<void> {
  return new Promise((resolve) => send(site, request, response, plan, startedAt, resolve));
}

function answer(site: Site, request: NodeRequest, response: NodeResponse, next: Next | undefined): void {
  const startedAt = performance.now();
  const failed = (error: unknown): void => fail(error, site, request, response, next, startedAt);
  const decided = (plan: Plan | undefined): void => {
    if (plan === undefined) return next?.();
    try {
      send(site, request, response, plan, startedAt);
    } catch (error) {
      failed(error);
    }
  };
  let plan: Maybe<Plan | undefined>;
  try {
    plan = decide(questionOf(request), site, next !== undefined);
  } catch (error) {
    return failed(error);
  }
  if (plan instanceof Promise) plan.then(decided, failed).catch(throwLater);
  else decided(plan);
}

/** What `next` throws is nobody's here: it is uncaught, as what a listener of an event throws. */
function throwLater(error: unknown): void {
  nextTick(() => {
    throw error;
  });
}

/** The server's own failure: told to `next`, without a path in it; else a 500 or 503. */
function fail(
  error: unknown,
  site: Site,
  request: NodeRequest,
  response: NodeResponse,
  next: Next | undefined,
  startedAt: number,
): void {
  if (next !== undefined) return next(error);
  const status = error instanceof OpenError ? error.status : 500;
  const plan = plainPlan(status, { method: request.method ?? 'GET' }, status === 503 ? { 'retry-after': '1' } : {});
  send(site, request, response, plan, startedAt);
}
