/** The texts of the repository that checks read: sources, tests and documents, without what is built or installed. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Where doc-code.test.mjs writes the code of the documents, beside other tests that read the repository. */
export const DOCUMENTED_CODE = '.documented-code';

const NOT_OURS = new Set([
  DOCUMENTED_CODE,
  ...['node_modules', 'dist', 'dist-test', 'coverage', 'test-results', '.git', '.nx', 'fixtures'],
  ...['content', '.vitepress'], // of docs/site: written by npm run docs
]);

/**
 * The files below `folder` (relative to the root, as are the answers, with '/') that end in one of `extensions`.
 * Directories named `fixtures` are left out only where they hold whole projects, in tools/ci.
 */
export function filesOf(folder, extensions) {
  const found = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (!NOT_OURS.has(entry.name) || (entry.name === 'fixtures' && !path.startsWith('tools/ci/'))) {
        found.push(...filesOf(path, extensions));
      }
    } else if (extensions.some((extension) => entry.name.endsWith(extension))) found.push(path);
  }
  return found.sort();
}

export const textOf = (path) => readFileSync(join(root, path), 'utf8');

/** The anchor that GitHub gives a heading. */
export function anchorOf(heading) {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

/** The headings of a Markdown text, outside of code blocks: [{ level, text }]. */
export function headingsOf(markdown) {
  const headings = [];
  let fenced = false;
  for (const line of markdown.split('\n')) {
    if (line.startsWith('```')) fenced = !fenced;
    const heading = fenced ? null : /^(#+) (.*)$/.exec(line);
    if (heading !== null) headings.push({ level: heading[1].length, text: heading[2].trim() });
  }
  return headings;
}
