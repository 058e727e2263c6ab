/** From the request target to a path beneath the root: decoded exactly once. */

/** A path as `Root` takes it, or the status that the target is answered with. */
export interface TargetPath {
  /** Relative to the root; '' is the root itself. */
  readonly path: string;
  /** Whether it ended with a slash: only a directory can be meant. */
  readonly directory: boolean;
}

const SCHEME = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/** The part of a target before the query, as it was sent; of the absolute form (`GET http://host/path`) its path. */
export function rawPathOf(target: string): string {
  const end = target.search(/[?#]/);
  const path = (end < 0 ? target : target.slice(0, end)).replace(SCHEME, '');
  return path === '' ? '/' : path;
}

/** From the question mark on, or ''. */
export function queryOf(target: string): string {
  const start = target.indexOf('?');
  if (start < 0) return '';
  const end = target.indexOf('#', start);
  return end < 0 ? target.slice(start) : target.slice(start, end);
}

/**
 * node:http gives the bytes of a target as Latin-1. Those above 127, which should have been percent-encoded, are taken as
 * the bytes they are.
 */
function encodeRawBytes(path: string): string {
  if (!/[^ -~]/.test(path)) return path;
  // A JavaScript string of the caller's own, not the bytes of a request.
  if (/[^ -\u00ff]/.test(path)) return path.replace(/[^ -~]+/g, encodeURIComponent);
  return path.replace(/[^ -~]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/**
 * @returns the path; 400 if it has a NUL, a `%` that begins no byte, or is not UTF-8; 404 if it has `.` or `..`, which a
 * client resolves before it asks, or a name that no file has (on Windows: with `\` or `:`).
 */
export function decodePath(rawPath: string): TargetPath | 400 | 404 {
  let decoded: string;
  try {
    decoded = decodeURIComponent(encodeRawBytes(rawPath));
  } catch {
    return 400; // URIError
  }
  return normalizePath(decoded);
}

/** {@link decodePath} of what is decoded already. */
export function normalizePath(decoded: string): TargetPath | 400 | 404 {
  if (decoded.includes('\0')) return 400;
  const directory = decoded === '' || decoded.endsWith('/');
  // As a rule there is nothing to do but to take off the first slash.
  const path = /^\/[^/.\\:]+(?:[/.][^/.\\:]+)*$/.test(decoded) ? decoded.slice(1) : normalized(decoded);
  return path === undefined ? 404 : { path, directory };
}

function normalized(decoded: string): string | undefined {
  const names = decoded.split('/').filter((name) => name !== '');
  for (const name of names) {
    if (name === '.' || name === '..') return undefined;
    if (process.platform === 'win32' && /[\\:]/.test(name)) return undefined;
  }
  return names.join('/');
}

const HIDDEN = /^\.(?!well-known(?:\/|$))|\/\./;

/** Whether a name on the way begins with a dot. `.well-known` at the top is not hidden (RFC 8615). */
export function isHidden(path: string): boolean {
  return HIDDEN.test(path);
}

/** Whether the last name has an extension: then it is a file that is asked for, and not a page of an application. */
export function hasExtension(path: string): boolean {
  return path.slice(path.lastIndexOf('/') + 1).includes('.');
}

/**
 * The location of a directory, from the target of the request that lacked the slash: with its query, and never one that
 * begins with two slashes, which would name a host (browsers take `\` for a slash).
 */
export function directoryLocation(target: string): string {
  const path = encodeRawBytes(rawPathOf(target))
    .replace(/\\/g, '%5C')
    .replace(/^\/+/, '/')
    .replace(/[^\w\-.~!$&'()*+,;=:@%/]/g, encodeURIComponent);
  return `${path}/${queryOf(target).replace(/[^\x21-\x7e]/g, encodeURIComponent)}`;
}
