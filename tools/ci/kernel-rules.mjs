/**
 * The rules of docs/kernel-rules.md, and who cites them.
 *
 * `node tools/ci/kernel-rules.mjs --write` writes the lines "Followed by" of the document anew, from the citations in
 * packages/ and tools/. Without `--write` it says what is wrong, and ends with status 1 if anything is.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { filesOf, headingsOf, root, textOf } from './repository-text.mjs';

export const DOCUMENT = 'docs/kernel-rules.md';

/** Packages that still cite by number: not looked at. To be emptied when they cite by name. */
export const PENDING = [];

/** These are about citations. */
const OWN = new Set(['tools/ci/kernel-rules.mjs', 'tools/ci/test/docs.test.mjs']);
const CITED = /\(([^()]*(?:\(\d\))?[^()]*)\bkernel-rules:([^)]*)\)/g;
const MENTIONED = /kernel-rules(?!\.md|\.mjs)/g;
const NUMBERED = /(?<!kernel-)\brules? \d/i;
const TITLE = /(['"`])((?:(?!\1).)*\(kernel-rules:(?:(?!\1).)*)\1/;

/** The names of the rules: the headings of the third level. */
export const namesIn = (markdown) => headingsOf(markdown).flatMap(({ level, text }) => (level === 3 ? [text] : []));

/** The files that cite rules. */
export function citingFiles(pending = PENDING) {
  return ['packages', 'tools']
    .flatMap((folder) => filesOf(folder, ['.ts', '.mts', '.mjs', '.c', '.S']))
    .filter((path) => !OWN.has(path) && !pending.some((name) => path.startsWith(`packages/${name}/`)));
}

/**
 * What a file cites, and what it cites wrongly.
 * @returns { citations: [{ name, title }], problems: [string] }; `title` is undefined outside of a test's title.
 */
export function citationsIn(path, text, names) {
  const citations = [];
  const problems = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (NUMBERED.test(line)) problems.push(`${path}:${index + 1} cites a rule by its number`);
  }
  const isTest = /\.test\.[cm]?[jt]s$/.test(path);
  let found = 0;
  for (const match of text.matchAll(CITED)) {
    found++;
    const list = match[2].split(';', 1)[0];
    const title = isTest ? titleAround(text, match.index) : undefined;
    for (const name of list.replaceAll(/\n\s*(?:\*|\/\/)?/g, ' ').split(',')) {
      if (names.includes(name.trim())) citations.push({ name: name.trim(), title });
      else problems.push(`${path} cites '${name.trim()}', which is no heading of ${DOCUMENT}`);
    }
  }
  if ([...text.matchAll(MENTIONED)].length > found) {
    problems.push(`${path} speaks of kernel-rules in another form than (kernel-rules: NAME, NAME)`);
  }
  return { citations, problems };
}

/** The title of the test in whose string literal a citation stands. */
function titleAround(text, index) {
  const start = text.lastIndexOf('\n', index) + 1;
  const end = text.indexOf('\n', index);
  const title = TITLE.exec(text.slice(start, end < 0 ? undefined : end))?.[2];
  return title?.replace(/ ?\(kernel-rules:[^)]*\)/, '').replaceAll('\\', '');
}

/** Everything that is cited: { citations: Map(name → [{ path, title }]), problems: [string] }. */
export function citations(names, pending = PENDING) {
  const byName = new Map(names.map((name) => [name, []]));
  const problems = [];
  for (const path of citingFiles(pending)) {
    const found = citationsIn(path, textOf(path), names);
    problems.push(...found.problems);
    for (const { name, title } of found.citations) byName.get(name).push({ path, title });
  }
  return { citations: byName, problems };
}

function followers(cited) {
  if (cited.length === 0) return 'Followed by: no code of this repository cites it.\n';
  const titles = new Map();
  for (const { path, title } of cited)
    titles.set(path, [...(titles.get(path) ?? []), ...(title === undefined ? [] : [title])]);
  const lines = [...titles].map(([path, of]) => {
    const quoted = of.length === 0 ? '' : `: ${of.map((title) => `“${title}”`).join(', ')}`;
    return `- [\`${path}\`](../${path})${quoted}`;
  });
  return `Followed by:\n\n${lines.join('\n')}\n`;
}

/** The document with its lines "Followed by" as they have to be. */
export function withFollowers(markdown, byName) {
  const sections = markdown.split(/^(?=#)/m); // each begins with its heading
  return sections
    .map((section, index) => {
      const name = /^### (.*)$/m.exec(section)?.[1];
      if (name === undefined) return section;
      const prose = section.split(/^Followed by:/m, 1)[0].trimEnd();
      const last = index === sections.length - 1;
      return `${prose}\n\n${followers(byName.get(name) ?? [])}${last ? '' : '\n'}`;
    })
    .join('');
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const markdown = textOf(DOCUMENT);
  const { citations: byName, problems } = citations(namesIn(markdown));
  const written = withFollowers(markdown, byName);
  if (argv.includes('--write')) writeFileSync(join(root, DOCUMENT), written);
  else if (written !== markdown) problems.push(`${DOCUMENT} is out of date: node tools/ci/kernel-rules.mjs --write`);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
