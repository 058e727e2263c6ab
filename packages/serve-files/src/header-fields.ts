/** Header fields that options ask for. */
import { create } from 'content-disposition';
import type { FileStat } from './file-status.js';
import { isHashedName } from './hashed-name.js';
import type { HeaderFields, Settings } from './options.js';
import type { PlanHeaders } from './plan.js';

const IMMUTABLE = 'public, max-age=31536000, immutable';
/** They frame the body, and are said by what sends it. */
const FRAMING: ReadonlySet<string> = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-range',
  'keep-alive',
  'transfer-encoding',
]);

export function cachingFields(path: string, stat: FileStat, { cacheControl, immutable }: Settings): PlanHeaders {
  if (immutable !== undefined && immutable !== false && isImmutable(path, immutable)) {
    return { 'cache-control': IMMUTABLE };
  }
  const value = typeof cacheControl === 'function' ? cacheControl(path, stat) : cacheControl;
  if (value !== undefined && value !== '') return { 'cache-control': value };
  return immutable === undefined || immutable === false ? {} : { 'cache-control': 'no-cache' };
}

function isImmutable(path: string, immutable: NonNullable<Settings['immutable']>): boolean {
  if (typeof immutable === 'function') return immutable(path);
  return immutable instanceof RegExp ? path.search(immutable) >= 0 : isHashedName(path);
}

/** Those that do not depend on the file. */
export function presetFields({ cors, corp, isolate }: Settings): PlanHeaders {
  const fields: Record<string, string> = { 'x-content-type-options': 'nosniff' };
  if (cors !== undefined) {
    fields['access-control-allow-origin'] = cors;
    fields['access-control-expose-headers'] = 'Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag';
  }
  if (corp !== undefined) fields['cross-origin-resource-policy'] = corp;
  if (isolate) {
    fields['cross-origin-opener-policy'] = 'same-origin';
    fields['cross-origin-embedder-policy'] = 'require-corp';
  }
  return fields;
}

/** The caller's own, by names in lower case. */
export function ownFields(path: string, stat: FileStat, { headers }: Settings): PlanHeaders {
  const given: HeaderFields | undefined = typeof headers === 'function' ? headers(path, stat) : headers;
  if (given === undefined) return NONE;
  const fields: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    if (!FRAMING.has(lower)) fields[lower] = Array.isArray(value) ? value.map(String) : String(value);
  }
  return fields;
}

const NONE: PlanHeaders = {};

/** RFC 6266, with names by RFC 8187. */
export function dispositionFields(path: string, { download }: Settings): PlanHeaders {
  const name = typeof download === 'function' ? download(path) : download;
  if (name === false || name === undefined) return NONE;
  const filename = name === true ? path.slice(path.lastIndexOf('/') + 1) : name;
  return { 'content-disposition': create(filename, { type: 'attachment' }) };
}
