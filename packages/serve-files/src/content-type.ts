/** Media types, by the extension of a name. */
import type * as MediaTypes from './media-types.lazy.js';

/** By extension, with or without its dot, in any case; or by the path, relative to the root. */
export type Types = Readonly<Record<string, string>> | ((path: string) => string | undefined);

const UNKNOWN = 'application/octet-stream';
/** Text that is written in UTF-8 unless it says otherwise: it is told, so that no reader has to guess. */
const TEXT = /^text\/|^application\/(?:javascript|ecmascript|json|xml|manifest\+json|xml-dtd)$|\+json$|\+xml$/;

export const extensionOf = (path: string): string => {
  const dot = path.lastIndexOf('.');
  return dot > path.lastIndexOf('/') ? path.slice(dot + 1).toLowerCase() : '';
};

let mediaTypes: typeof MediaTypes | undefined;
const found = new Map<string, string>();
/** Extensions come from requests: they are not remembered without end. */
const FOUND_MAX = 1000;

function typeOfExtension(extension: string): string {
  const before = found.get(extension);
  if (before !== undefined) return before;
  mediaTypes ??= require('./media-types.lazy.js') as typeof MediaTypes;
  const type = withCharset((extension !== '' && mediaTypes.lookup(extension)) || UNKNOWN);
  if (found.size >= FOUND_MAX) found.clear();
  found.set(extension, type);
  return type;
}

export function withCharset(type: string): string {
  const [essence = ''] = type.split(';', 1);
  const isText = TEXT.test(essence.trim().toLowerCase()) && !/;\s*charset=/i.test(type);
  return isText ? `${type}; charset=utf-8` : type;
}

/** The Content-Type of a file. */
export function contentTypeOf(path: string, types: Types | undefined): string {
  if (types === undefined) return typeOfExtension(extensionOf(path));
  const own = typeof types === 'function' ? types(path) : types[extensionOf(path)];
  return own === undefined ? typeOfExtension(extensionOf(path)) : withCharset(own);
}

/** Keys as {@link contentTypeOf} looks them up. */
export function normalizeTypes(types: Types): Types {
  if (typeof types === 'function') return types;
  const rows = Object.entries(types).map(([key, type]) => [key.replace(/^\./, '').toLowerCase(), type] as const);
  return Object.assign(Object.create(null), Object.fromEntries(rows));
}
