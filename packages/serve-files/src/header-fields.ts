/** Header fields that options ask for. */
import { create } from 'content-disposition';
import type { FileStat } from './file-status.js';
import { isHashedName } from './hashed-name.js';
import type { HeaderFields, Settings } from './options.js';

const IMMUTABLE = 'public, max-age=31536000, immutable';
/** Header fields, in lower case, that frame the body and are said by what sends it: `headers` cannot. */
export const FRAMING_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-range',
  'keep-alive',
  'transfer-encoding',
]);

/** Fields that are being put together, by names in lower case. */
export type Fields = Record<string, string | readonly string[]>;

export function addCaching(fields: Fields, path: string, stat: FileStat, { cacheControl, immutable }: Settings): void {
  const presets = immutable !== undefined && immutable !== false;
  if (presets && isImmutable(path, immutable)) {
    fields['cache-control'] = IMMUTABLE;
    return;
  }
  const value = typeof cacheControl === 'function' ? cacheControl(path, stat) : cacheControl;
  if (value !== undefined && value !== '') fields['cache-control'] = value;
  else if (presets) fields['cache-control'] = 'no-cache';
}

function isImmutable(path: string, immutable: NonNullable<Settings['immutable']>): boolean {
  if (typeof immutable === 'function') return immutable(path);
  return immutable instanceof RegExp ? path.search(immutable) >= 0 : isHashedName(path);
}

/** Those that do not depend on the file. */
export function addPresets(fields: Fields, { cors, corp, isolate }: Settings): void {
  fields['x-content-type-options'] = 'nosniff';
  if (cors !== undefined) {
    fields['access-control-allow-origin'] = cors;
    fields['access-control-expose-headers'] = 'Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag';
  }
  if (corp !== undefined) fields['cross-origin-resource-policy'] = corp;
  if (isolate) {
    fields['cross-origin-opener-policy'] = 'same-origin';
    fields['cross-origin-embedder-policy'] = 'require-corp';
  }
}

/** They say something of the state of a resource, and so go out with a 304, too. */
const OF_THE_STATE: ReadonlySet<string> = new Set(['content-location', 'content-security-policy']);

/**
 * The caller's own: they replace ours, but Vary is added to.
 * @param notModified for a 304, which says nothing else of the content (RFC 9110, 15.4.5).
 */
export function addOwn(
  fields: Fields,
  path: string,
  stat: FileStat,
  { headers }: Settings,
  notModified: boolean,
): void {
  const given: HeaderFields | undefined = typeof headers === 'function' ? headers(path, stat) : headers;
  if (given === undefined) return;
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    if (FRAMING_FIELDS.has(lower)) continue;
    if (notModified && lower.startsWith('content-') && !OF_THE_STATE.has(lower)) continue;
    if (lower === 'vary' && fields.vary !== undefined) fields.vary = `${fields.vary}, ${value}`;
    else fields[lower] = Array.isArray(value) ? value.map(String) : String(value);
  }
}

/** RFC 6266, with names by RFC 8187. */
export function addDisposition(fields: Fields, path: string, { download }: Settings): void {
  const name = typeof download === 'function' ? download(path) : download;
  if (name === false || name === undefined) return;
  const filename = name === true ? path.slice(path.lastIndexOf('/') + 1) : name;
  fields['content-disposition'] = create(filename, { type: 'attachment' });
}
