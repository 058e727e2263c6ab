/** Entity tags (RFC 9110, 8.8.3): strong ones, from everything by which the kernel tells one state of a file from the next. */
import type { FileStatus } from './file-status.js';

const TAG = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/;

/** @param encoding a content coding, by which one representation of a file is told from another; '' for the file itself. */
export function entityTagOf(status: FileStatus, encoding: string): string {
  return withEncoding(`"${status.digest}"`, encoding);
}

/** A tag of the caller's own: quoted if it is not; undefined if it cannot be one. */
export function entityTagFrom(text: string, encoding: string): string | undefined {
  const tag = /^(W\/)?"/.test(text) ? text : `"${text}"`;
  return TAG.test(tag) ? withEncoding(tag, encoding) : undefined;
}

const withEncoding = (tag: string, encoding: string): string =>
  encoding === '' ? tag : `${tag.slice(0, -1)}-${encoding}"`;

const isWeak = (tag: string): boolean => tag.startsWith('W/');
const opaque = (tag: string): string => (isWeak(tag) ? tag.slice(2) : tag);

/** Both strong, and equal. */
export const strongMatch = (a: string, b: string): boolean => a === b && !isWeak(a);

/** Equal but for the weakness of either. */
export const weakMatch = (a: string, b: string): boolean => opaque(a) === opaque(b);

/** A field value of If-Match or If-None-Match: '*', or the tags in it. What is no tag is passed over. */
export function parseEntityTags(value: string): '*' | readonly string[] {
  if (value.trim() === '*') return '*';
  return value.match(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g) ?? [];
}
