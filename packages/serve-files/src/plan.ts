/**
 * What a request is answered with: a status, header fields, and the parts of the body. Nothing is sent here, and neither
 * request nor response is touched; adapters do that (send-plan.ts).
 *
 * The files that a body consists of are open already, so that header fields and body come from one descriptor: a plan
 * owns them until it is released. A plan without parts (HEAD, 304, 404 …) holds nothing.
 */
import { nodeHttp } from '@zerocopy/core-syscalls/descriptors';
import { explicitlyAccepts } from './accept.js';
import type { FieldReader } from './conditions.js';
import { planFile } from './file-plan.js';
import { planListing } from './listing.js';
import { type Steps, settled } from './maybe.js';
import { OpenedFile } from './opened-file.js';
import type { Settings } from './options.js';
import type { Pace } from './rate.js';
import { decodePath, directoryLocation, hasExtension, isHidden, rawPathOf } from './request-target.js';
import { join, type Root } from './root.js';

/** A part of a file. */
export interface FilePart {
  /** Open until the plan is released. */
  readonly file: OpenedFile;
  /** Of the first byte. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
}

/** Bytes in memory, or a part of a file. */
export type PlanPart = Buffer | FilePart;

/** Names in lower case. */
export type PlanHeaders = Readonly<Record<string, string | readonly string[]>>;

interface PlanFields {
  readonly status: number;
  readonly headers: PlanHeaders;
  readonly parts?: readonly PlanPart[];
  /** The file, from the root on, with a leading slash. */
  readonly path?: string | undefined;
  readonly pace?: Pace | undefined;
  readonly lasting?: boolean;
}

/** No body. */
export const NOTHING: readonly PlanPart[] = [];

/** The answer to a request. */
export class Plan implements Disposable {
  /** The status code of the response. */
  readonly status: number;
  /** All header fields that the answer sets; Content-Length among them, where it has a body. */
  readonly headers: PlanHeaders;
  /** The body, in order; empty where none is sent, whatever Content-Length says (HEAD). */
  readonly parts: readonly PlanPart[];
  /** The file that was found, from the root on, with a leading slash; undefined: there is none. */
  readonly path: string | undefined;
  /** How fast the body is to be sent; undefined: as fast as it goes. */
  readonly pace: Pace | undefined;
  /** @internal Whether `headers` is one object that later plans have, too. */
  readonly lasting: boolean;
  #released = false;

  /** Takes over the files of its parts: each part holds its file once. */
  constructor({ status, headers, parts = NOTHING, path, pace, lasting = false }: PlanFields) {
    this.status = status;
    this.headers = headers;
    this.parts = parts;
    this.path = path;
    this.pace = pace;
    this.lasting = lasting;
  }

  /** Closes its files. Idempotent; to be called in every case, also after they were sent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const part of this.parts) if (isFilePart(part)) part.file.release();
  }

  /** {@link release}. */
  [Symbol.dispose](): void {
    this.release();
  }
}

export const isFilePart = (part: PlanPart): part is FilePart => 'file' in part;

/** What a plan is made of. */
export interface Question {
  readonly method: string;
  /** As it was sent, beneath where the handler is mounted. */
  readonly target: string;
  /** As it was sent: what a redirect is made of. */
  readonly originalTarget: string;
  readonly field: FieldReader;
}

/** Where it is looked for. */
export interface Site {
  readonly root: Root;
  readonly settings: Settings;
}

const ALLOW = 'GET, HEAD, OPTIONS';

/** The answer to any request. @throws {OpenError} and whatever functions in the options throw. */
export function* planSteps(question: Question, site: Site): Steps<Plan> {
  const { method } = question;
  if (method === 'OPTIONS') return optionsPlan(site.settings);
  if (method !== 'GET' && method !== 'HEAD') return plainPlan(405, question, { allow: ALLOW });
  const rawPath = rawPathOf(question.target);
  const target = decodePath(rawPath);
  if (typeof target === 'number') return plainPlan(target, question);
  const { path } = target;
  if (site.settings.hidesDotfiles && isHidden(path)) return plainPlan(404, question);
  // Mounted at `/docs`, a handler is asked for `/` where `/docs` was meant.
  const plan = target.directory
    ? yield* planDirectory(path, rawPathOf(question.originalTarget).endsWith('/'), question, site)
    : yield* planName(path, question, site);
  return plan ?? (yield* planFallback(path, question, site)) ?? plainPlan(404, question);
}

function* planName(path: string, question: Question, site: Site): Steps<Plan | undefined> {
  const found = yield* settled(site.root.open(path));
  if (found instanceof OpenedFile) return yield* planFile(found, question, site);
  return found === 'directory' ? redirectPlan(question, site.settings) : undefined;
}

/** @param slash whether the target ended with one. */
function* planDirectory(path: string, slash: boolean, question: Question, site: Site): Steps<Plan | undefined> {
  const { index, listing } = site.settings;
  if (!slash) {
    const status = yield* settled(site.root.look(path));
    return status?.isDirectory === true ? redirectPlan(question, site.settings) : undefined;
  }
  for (const name of index) {
    const found = yield* settled(site.root.open(join(path, name)));
    if (found instanceof OpenedFile) return yield* planFile(found, question, site);
  }
  return listing ? yield* planListing(path, question, site) : undefined;
}

function* planFallback(path: string, question: Question, site: Site): Steps<Plan | undefined> {
  const { fallback } = site.settings;
  if (fallback === undefined || hasExtension(path) || !explicitlyAccepts(question.field('accept'), 'text/html')) {
    return undefined;
  }
  const found = yield* settled(site.root.open(fallback));
  return found instanceof OpenedFile ? yield* planFile(found, question, site) : undefined;
}

/** For a path that a program has chosen itself: no index, redirect, listing or fallback. */
export function* planOneFile(path: string, question: Question, site: Site): Steps<Plan> {
  const hidden = site.settings.hidesDotfiles && isHidden(path);
  const found = hidden ? 'nothing' : yield* settled(site.root.open(path));
  return found instanceof OpenedFile ? yield* planFile(found, question, site) : plainPlan(404, question);
}

function redirectPlan(question: Question, { redirect }: Settings): Plan | undefined {
  if (!redirect) return undefined;
  const location = directoryLocation(question.originalTarget);
  return new Plan({ status: 301, headers: { location, 'content-length': '0', ...SAFE } });
}

function optionsPlan({ cors }: Settings): Plan {
  const preflight =
    cors === undefined
      ? {}
      : {
          'access-control-allow-origin': cors,
          'access-control-allow-methods': ALLOW,
          'access-control-allow-headers': 'Range, If-Range, If-Match, If-None-Match, If-Modified-Since, Cache-Control',
          'access-control-max-age': '86400',
        };
  return new Plan({ status: 204, headers: { allow: ALLOW, ...preflight, ...SAFE } });
}

const SAFE: PlanHeaders = { 'x-content-type-options': 'nosniff' };

/** An answer in words. */
export function plainPlan(status: number, { method }: Pick<Question, 'method'>, headers: PlanHeaders = {}): Plan {
  const text = Buffer.from(`${nodeHttp().STATUS_CODES[status]}\n`);
  return new Plan({
    status,
    headers: {
      ...headers,
      'content-type': 'text/plain; charset=utf-8',
      'content-length': String(text.length),
      ...SAFE,
    },
    parts: method === 'HEAD' ? [] : [text],
  });
}
