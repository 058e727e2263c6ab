/** `plan`, for whoever sends by themselves. */
import type { IncomingHttpHeaders } from 'node:http';
import type { FieldReader } from './conditions.js';
import { run } from './maybe.js';
import type { ServeFilesOptions } from './options.js';
import { type Plan, planSteps, type Question } from './plan.js';
import { knownSite } from './site.js';

/** What of a request is looked at. An http.IncomingMessage and a fetch Request are such. */
export interface PlanRequest {
  /** Default 'GET'. */
  readonly method?: string | undefined;
  /** The target or URL, as it was sent. */
  readonly url?: string | undefined;
  /** What a redirect is made of, where `url` is only the part beneath a mount point. */
  readonly originalUrl?: string | undefined;
  /** By names in lower case, as of node:http; or the Headers of fetch. */
  readonly headers?: IncomingHttpHeaders | Pick<Headers, 'get'> | undefined;
}

export function questionOfRequest({
  method = 'GET',
  url = '/',
  originalUrl = url,
  headers = {},
}: PlanRequest): Question {
  return { method, target: url, originalTarget: originalUrl, field: reader(headers) };
}

function reader(headers: NonNullable<PlanRequest['headers']>): FieldReader {
  if (typeof headers.get === 'function') return (name) => (headers as Headers).get(name) ?? undefined;
  return (name) => {
    const value = (headers as IncomingHttpHeaders)[name];
    return Array.isArray(value) ? value.join(', ') : value;
  };
}

/**
 * The answer to a request: `{ status, headers, parts }`. Nothing is sent, and the same request has the same answer for as
 * long as the files are the same. The files in `parts` are open, each once: header fields and body are of one descriptor.
 * So a plan has to be released, whether it was sent or not; `using` does it.
 *
 * @throws {TypeError | RangeError} for invalid options; rejects with {@link OpenError} if the server cannot open files.
 */
export async function plan(request: PlanRequest, root: string | URL, options?: ServeFilesOptions): Promise<Plan> {
  return run(planSteps(questionOfRequest(request), knownSite(root, options)));
}
