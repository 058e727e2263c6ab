/** The answer for a directory without an index: what is in it, as a page or as JSON. */
import { preferredType } from './accept.js';
import { addPresets, type Fields } from './header-fields.js';
import { type ListedEntry, renderListing } from './listing-page.js';
import { type Steps, settled } from './maybe.js';
import { negotiatorOf } from './negotiator.js';
import { Plan, plainPlan, type Question, type Site } from './plan.js';
import { isHidden, queryOf } from './request-target.js';
import { type Entry, join } from './root.js';

/** Entries that are read and shown, at most. */
export const ENTRIES_MAX = 2000;

/** The page has no script, and needs nothing but its style. */
const PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

export type SortKey = 'name' | 'size' | 'modified';

/** How a listing is sorted: `?sort=name|size|modified&order=asc|desc`. */
export interface Sorting {
  readonly key: SortKey;
  readonly descending: boolean;
}

export function* planListing(path: string, question: Question, site: Site): Steps<Plan | undefined> {
  const { root, settings } = site;
  const wanted = (name: string): boolean => {
    // A name that is not UTF-8 cannot be asked for.
    if (name.includes('\ufffd')) return false;
    return !settings.hidesDotfiles || !isHidden(join(path, name));
  };
  const entries = yield* settled(root.list(path, wanted, ENTRIES_MAX + 1));
  if (entries === undefined) return undefined;
  const type = preferredType(question.field('accept'), ['text/html', 'application/json']);
  if (type === undefined) return plainPlan(406, question);
  const sorting = sortingOf(queryOf(question.target));
  const listed = entries.slice(0, ENTRIES_MAX).map(listedEntry).sort(comparing(sorting));
  const truncated = entries.length > ENTRIES_MAX;
  const text =
    type === 'text/html'
      ? renderListing({
          path,
          entries: listed,
          truncated,
          sorting,
          languages: languagesOf(question.field('accept-language')),
        })
      : JSON.stringify({ path: `/${path}`, entries: listed, truncated });
  const body = Buffer.from(text);
  const headers: Fields = {
    'content-type': `${type}; charset=utf-8`,
    'content-length': String(body.length),
    'cache-control': 'no-cache',
    vary: 'Accept, Accept-Language',
  };
  if (type === 'text/html') headers['content-security-policy'] = PAGE_POLICY;
  addPresets(headers, settings);
  return new Plan({
    status: 200,
    headers,
    parts: question.method === 'HEAD' ? [] : [body],
    path: path === '' ? '/' : `/${path}/`,
  });
}

function listedEntry({ name, status }: Entry): ListedEntry {
  const modified = new Date(Math.floor(status.mtimeMs)).toISOString();
  return status.isDirectory
    ? { name, type: 'directory', modified }
    : { name, type: 'file', size: status.size, modified };
}

function sortingOf(query: string): Sorting {
  const parameters = new URLSearchParams(query);
  const key = parameters.get('sort');
  return {
    key: key === 'size' || key === 'modified' ? key : 'name',
    descending: parameters.get('order') === 'desc',
  };
}

/** Made by the first listing: it takes 9 ms, half of what importing this package may. */
let byName: Intl.Collator | undefined;

/** Directories first; then by the key, and by name between equals. */
function comparing({ key, descending }: Sorting): (a: ListedEntry, b: ListedEntry) => number {
  const direction = descending ? -1 : 1;
  return (a, b) => {
    if (a.type !== b.type) return a.type === 'directory' ? -1 : 1;
    byName ??= new Intl.Collator('en', { numeric: true });
    const names = byName.compare(a.name, b.name);
    if (key === 'size') return direction * ((a.size ?? 0) - (b.size ?? 0)) || names;
    if (key === 'modified')
      return direction * (a.modified < b.modified ? -1 : a.modified > b.modified ? 1 : 0) || names;
    return direction * names;
  };
}

/** Those the reader prefers, as far as Intl takes them for languages. */
function languagesOf(acceptLanguage: string | undefined): readonly string[] {
  if (acceptLanguage === undefined) return ['en'];
  const accepted = negotiatorOf({ 'accept-language': acceptLanguage }).languages();
  const languages = accepted.filter((language) => {
    try {
      return Intl.DateTimeFormat.supportedLocalesOf(language).length > 0;
    } catch {
      return false; // RangeError: no language tag
    }
  });
  return languages.length === 0 ? ['en'] : languages;
}
