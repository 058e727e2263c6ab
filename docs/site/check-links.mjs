/** Every link inside the built site leads to a page, and to an element of it. VitePress itself checks the pages only. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parse } from 'node-html-parser';

const site = join(import.meta.dirname, '.vitepress', 'dist');
const base = '/zerocopy/';

const html = readdirSync(site, { recursive: true })
  .map((path) => String(path).replaceAll('\\', '/'))
  .filter((path) => path.endsWith('.html'));
const documents = new Map(html.map((path) => [path, parse(readFileSync(join(site, path), 'utf8'))]));
const identifiers = new Map(
  [...documents].map(([path, document]) => [path, new Set(document.querySelectorAll('[id]').map(({ id }) => id))]),
);

function pageOf(path) {
  const candidates = [path, `${path}.html`, posix.join(path, 'index.html')];
  return candidates.find((one) => existsSync(join(site, one)) && statSync(join(site, one)).isFile());
}

const broken = [];
let count = 0;
for (const [path, document] of documents) {
  for (const link of document.querySelectorAll('a[href]')) {
    const href = link.getAttribute('href');
    if (/^[a-z]+:/i.test(href)) continue;
    count++;
    const [target, hash] = decodeURI(href).split('#', 2);
    const inSite = target.startsWith(base) ? target.slice(base.length) : posix.join(posix.dirname(path), target);
    const page = target === '' ? path : pageOf(inSite.replace(/^\.\//, '') || 'index.html');
    const known =
      page !== undefined && (hash === undefined || hash === '' || identifiers.get(page)?.has(hash) !== false);
    if (!known) broken.push(`${path}: ${href}`);
  }
}
console.log(`${documents.size} pages, ${count} links within the site, ${broken.length} broken`);
for (const line of broken) console.error(line);
if (broken.length > 0) process.exitCode = 1;
