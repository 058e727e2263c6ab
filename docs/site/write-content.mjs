/** The pages, with links between files of the repository turned into links of the site, and tables drawn as charts. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { withCharts } from './charts.mjs';
import { pages, REPOSITORY, root } from './sources.mjs';

const content = join(import.meta.dirname, 'content');

/** Applies `change` outside of fenced code. */
const outsideOfCode = (markdown, change) =>
  markdown
    .split(/(^```[\s\S]*?^```$)/m)
    .map((part, index) => (index % 2 === 0 ? change(part) : part))
    .join('');

function siteLink(from, page, target) {
  if (/^([a-z]+:|#)/.test(target)) return target;
  const [path, anchor] = target.split('#', 2);
  const file = posix.normalize(posix.join(posix.dirname(from), path)).replace(/\/$/, '');
  const linked = pages.get(file) ?? pages.get(`${file}/README.md`);
  const hash = anchor === undefined ? '' : `#${anchor}`;
  if (linked === undefined) return `${REPOSITORY}/blob/main/${file}${hash}`;
  const relative = posix.relative(posix.dirname(page), linked);
  return `${relative.startsWith('.') ? relative : `./${relative}`}${hash}`;
}

/** `(kernel-rules: eintr, sigbus)` with each name a link to its rule. */
function withCitations(page, markdown) {
  const rules = posix.relative(posix.dirname(page), 'kernel-rules.md');
  return markdown.replaceAll(/\(kernel-rules:\s+([a-z\d-]+(?:,\s+[a-z\d-]+)*)\)/g, (_, names) => {
    const links = names.split(/,\s+/).map((name) => `[${name}](${rules.startsWith('.') ? '' : './'}${rules}#${name})`);
    return `(kernel rules: ${links.join(', ')})`;
  });
}

for (const [source, page] of pages) {
  const text = outsideOfCode(withCharts(readFileSync(join(root, source), 'utf8')), (part) =>
    withCitations(
      page,
      part.replaceAll(/\]\(([^)\s]+)\)/g, (_, target) => `](${siteLink(source, page, target)})`),
    ),
  );
  const file = join(content, page);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `---\nedit: ${REPOSITORY}/edit/main/${source}\n---\n\n${text}`);
}
