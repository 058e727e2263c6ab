/** A listing as a page: readable on a phone, in the dark, and without a script. */
import type { Sorting, SortKey } from './listing.js';

/** An entry as it is shown. */
export interface ListedEntry {
  readonly name: string;
  readonly type: 'directory' | 'file';
  /** Bytes; of files only. */
  readonly size?: number;
  /** ISO 8601, UTC. */
  readonly modified: string;
}

export interface Listing {
  /** Relative to the root; '' is the root itself. */
  readonly path: string;
  readonly entries: readonly ListedEntry[];
  /** Whether there are more. */
  readonly truncated: boolean;
  readonly sorting: Sorting;
  /** In which numbers and dates are written, by preference. */
  readonly languages: readonly string[];
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => ESCAPES[character] as string);

const STYLE = `
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #62676e; --line: #e3e5e8; --paper: #fff; --hover: #f4f6f8; --link: #0b57c2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa1a9; --line: #33373d; --paper: #16181b; --hover: #202429; --link: #86b7ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 1rem; font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 2px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { padding: .4rem .5rem; text-align: start; font-size: .875rem; font-weight: 500; border-bottom: 1px solid var(--line); white-space: nowrap; }
th a, th { color: var(--soft); }
th[aria-sort] a { color: var(--ink); }
td { padding: 0 .5rem; border-bottom: 1px solid var(--line); color: var(--soft); white-space: nowrap; }
td.name { padding: 0; white-space: normal; overflow-wrap: anywhere; }
td.name a { display: flex; gap: .75rem; padding: .55rem .5rem; }
tr:hover td { background: var(--hover); }
.size, .modified { text-align: end; }
.kind { flex: none; width: 2.9rem; color: var(--soft); font: .75rem/2 ui-monospace, monospace; text-align: center; overflow: hidden; }
.note { color: var(--soft); font-size: .875rem; }
@media (max-width: 36rem) {
  thead tr { display: flex; gap: .5rem; border-bottom: 1px solid var(--line); }
  thead th { border: 0; }
  tbody tr { display: grid; grid-template-columns: auto 1fr; border-bottom: 1px solid var(--line); }
  tbody td { border: 0; padding: 0 .5rem .55rem; font-size: .8125rem; }
  tbody td.name { grid-column: 1 / -1; font-size: 1rem; padding: 0; }
  tbody td.name a { padding-bottom: .1rem; }
  tbody td.size { text-align: start; padding-inline-start: 4.15rem; }
  tbody tr.parent td:not(.name) { display: none; }
}
`;

const COLUMNS: readonly (readonly [key: SortKey, title: string])[] = [
  ['name', 'Name'],
  ['size', 'Size'],
  ['modified', 'Modified (UTC)'],
];

/** Numbers and dates in the reader's language. */
class Formats {
  readonly #languages: string[];
  readonly #date: Intl.DateTimeFormat;
  readonly #sizes = new Map<string, Intl.NumberFormat>();

  constructor(languages: readonly string[]) {
    this.#languages = [...languages];
    this.#date = new Intl.DateTimeFormat(this.#languages, { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' });
  }

  date(iso: string): string {
    return this.#date.format(new Date(iso));
  }

  size(bytes: number): string {
    const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const;
    const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
    const unit = units[power] as string;
    let format = this.#sizes.get(unit);
    if (format === undefined) {
      format = new Intl.NumberFormat(this.#languages, {
        style: 'unit',
        unit,
        unitDisplay: power === 0 ? 'long' : 'short',
        maximumFractionDigits: power === 0 ? 0 : 1,
      });
      this.#sizes.set(unit, format);
    }
    return format.format(bytes / 1000 ** power);
  }
}

function headCell(key: SortKey, title: string, { key: sorted, descending }: Sorting): string {
  const current = key === sorted;
  const order = current && !descending ? 'desc' : 'asc';
  const arrow = current ? (descending ? ' ↓' : ' ↑') : '';
  const sort = current ? ` aria-sort="${descending ? 'descending' : 'ascending'}"` : '';
  return `<th scope="col" class="${key}"${sort}><a href="?sort=${key}&amp;order=${order}">${title}${arrow}</a></th>`;
}

/** The icon is text: the extension, as far as it is short. */
function kindOf({ name, type }: ListedEntry): string {
  if (type === 'directory') return 'dir';
  const extension = name.includes('.') ? name.slice(name.lastIndexOf('.') + 1) : '';
  return /^[A-Za-z0-9]{1,5}$/.test(extension) ? extension.toLowerCase() : '·';
}

function row(entry: ListedEntry, formats: Formats): string {
  const { name, type, size, modified } = entry;
  const slash = type === 'directory' ? '/' : '';
  // Relative, and begun with a dot: no name can be taken for a scheme or a host.
  const link = `./${encodeURIComponent(name)}${slash}`;
  const label = `<span class="kind">${escapeHtml(kindOf(entry))}</span><span>${escapeHtml(name)}${slash}</span>`;
  const time = `<time datetime="${modified}">${escapeHtml(formats.date(modified))}</time>`;
  const bytes = size === undefined ? '' : `<data value="${size}">${escapeHtml(formats.size(size))}</data>`;
  return `<tr><td class="name"><a href="${escapeHtml(link)}">${label}</a></td><td class="size">${bytes}</td><td class="modified">${time}</td></tr>`;
}

const PARENT =
  '<tr class="parent"><td class="name"><a href="../"><span class="kind">dir</span><span>../</span></a></td><td class="size"></td><td class="modified"></td></tr>';

/** The page, as HTML. */
export function renderListing({ path, entries, truncated, sorting, languages }: Listing): string {
  const formats = new Formats(languages);
  const title = escapeHtml(path === '' ? '/' : `/${path}/`);
  const notes: string[] = [];
  if (entries.length === 0) notes.push('This directory is empty.');
  if (truncated) notes.push(`Only ${entries.length} entries are shown; there are more.`);
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${title}</title><style>${STYLE}</style></head><body><main>`,
    `<h1>${title}</h1>`,
    `<table><thead><tr>${COLUMNS.map(([key, text]) => headCell(key, text, sorting)).join('')}</tr></thead>`,
    `<tbody>${path === '' ? '' : PARENT}`,
    ...entries.map((entry) => row(entry, formats)),
    '</tbody></table>',
    ...notes.map((note) => `<p class="note">${note}</p>`),
    '</main></body></html>\n',
  ].join('\n');
}
