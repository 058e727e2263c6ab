/** Conditional requests (RFC 9110, 13), in the order of 13.2.2. */
import { parseEntityTags, strongMatch, weakMatch } from './entity-tag.js';
import { parseHttpDate } from './http-date.js';

/** The state of the selected representation. */
export interface Validators {
  /** Undefined: it has none. */
  readonly etag: string | undefined;
  /** Milliseconds since 1970, whole seconds, as it is sent; undefined: it is not sent. */
  readonly lastModified: number | undefined;
}

/** A header field by its name in lower case; several lines are one value, joined by commas. */
export type FieldReader = (name: string) => string | undefined;

/** @returns 412 or 304 if the condition of a GET or HEAD says so, else 200. */
export function evaluateConditions(field: FieldReader, { etag, lastModified }: Validators): 200 | 304 | 412 {
  const ifMatch = field('if-match');
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, etag, strongMatch)) return 412;
  } else if (isLaterThan(lastModified, field('if-unmodified-since'))) return 412;

  const ifNoneMatch = field('if-none-match');
  if (ifNoneMatch !== undefined) return matches(ifNoneMatch, etag, weakMatch) ? 304 : 200;
  const since = dateOf(field('if-modified-since'));
  return since !== undefined && lastModified !== undefined && lastModified <= since ? 304 : 200;
}

/** Whether a Range counts: there is no If-Range, or it names exactly this state. */
export function evaluateIfRange(field: FieldReader, { etag, lastModified }: Validators): boolean {
  const value = field('if-range')?.trim();
  if (value === undefined) return true;
  if (/^(W\/)?"/.test(value)) return etag !== undefined && strongMatch(value, etag);
  return lastModified !== undefined && parseHttpDate(value) === lastModified;
}

function matches(value: string, etag: string | undefined, match: (a: string, b: string) => boolean): boolean {
  const tags = parseEntityTags(value);
  if (tags === '*') return true; // there is a representation
  return etag !== undefined && tags.some((tag) => match(tag, etag));
}

const dateOf = (value: string | undefined): number | undefined =>
  value === undefined ? undefined : parseHttpDate(value.trim());

function isLaterThan(lastModified: number | undefined, value: string | undefined): boolean {
  const date = dateOf(value);
  return date !== undefined && lastModified !== undefined && lastModified > date;
}
