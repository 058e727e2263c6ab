/** The documents, the code and each other: whether they say the same. */
import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import test from 'ava';
import { packageFolders } from '../installed.mjs';
import { citations, citationsIn, DOCUMENT, namesIn, withFollowers } from '../kernel-rules.mjs';
import { differences } from '../manifest.mjs';
import { buildRows } from '../matrix/builds/rows.mjs';
import { publishedReasons } from '../reasons.mjs';
import { anchorOf, filesOf, headingsOf, root, textOf } from '../repository-text.mjs';

const rules = textOf(DOCUMENT);
const names = namesIn(rules);
const documents = filesOf('', ['.md']).filter((path) => !/(^|\/)CHANGELOG\.md$|^\.changeset\//.test(path));

test('the names of the kernel rules are unique, and can be cited', (t) => {
  t.deepEqual(names, [...new Set(names)]);
  t.deepEqual(
    names.filter((name) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)),
    [],
  );
});

test('every citation names a rule, and none a number', (t) => {
  t.deepEqual(citations(names).problems, []);
  const inDocuments = documents.flatMap((path) => citationsIn(path, textOf(path), names).problems);
  t.deepEqual(inDocuments, []);
});

test('docs/kernel-rules.md lists who follows each rule: node tools/ci/kernel-rules.mjs --write', (t) => {
  t.is(withFollowers(rules, citations(names).citations), rules);
});

test('a citation that is wrong is found', (t) => {
  const problems = (text) => citationsIn('packages/x/test/x.test.ts', text, ['eintr', 'sigbus']).problems.length;
  const cited = (text) => citationsIn('packages/x/test/x.test.ts', text, ['eintr', 'sigbus']).citations;
  t.is(problems('// again (rule 6)'), 1);
  t.is(problems("test('rules 3 and 6: again', …"), 1);
  t.is(problems('// again (kernel-rules: eintrr)'), 1);
  t.is(problems('// again (kernel-rules: eintr, no-such)'), 1);
  t.is(problems('// again, see kernel-rules 6'), 1);
  t.is(problems('// see docs/kernel-rules.md'), 0);
  t.deepEqual(cited('/**\n * again (signal(7); kernel-rules: eintr,\n * sigbus)\n */'), [
    { name: 'eintr', title: undefined },
    { name: 'sigbus', title: undefined },
  ]);
  t.deepEqual(cited("test('a call is made again (kernel-rules: eintr)', (t) => {"), [
    { name: 'eintr', title: 'a call is made again' },
  ]);
});

test('every package.json says of its builds what it should: node tools/ci/manifest.mjs --write', (t) => {
  t.deepEqual(
    [...packageFolders().values()].flatMap((folder) => differences(folder).map((file) => join(folder, file))),
    [],
  );
});

test('docs/builds.md speaks of every row of the matrix about bundlers and runners', (t) => {
  const told = textOf('docs/builds.md').toLowerCase();
  const names = { sea: 'single executable', 'virtual files': 'mock-fs', 'yarn pnp': 'plug', resolvers: 'node10' };
  const tools = buildRows.map(({ name }) => name.slice(name.indexOf(': ') + 2));
  t.deepEqual(
    tools.filter((tool) => !told.includes(names[tool] ?? tool)),
    [],
  );
});

/** The first cells of the rows of the tables below a heading: the codes, which stand in backquotes. */
function codesBelow(markdown, heading) {
  const section = markdown.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  return section.split('\n').flatMap((line) => /^\| `(ERR_[A-Z0-9_]+)` \|/.exec(line)?.[1] ?? []);
}

test('docs/errors.md has every code that the packages know, and no other', (t) => {
  const errors = textOf('docs/errors.md');
  const documented = [
    ...codesBelow(errors, 'Codes of these packages'),
    ...codesBelow(errors, 'Codes of Node that these packages use'),
  ];
  t.deepEqual(documented, [...new Set(documented)]);
  const known = new Set();
  for (const path of filesOf('packages', ['.ts']).filter((file) => /^packages\/[^/]+\/src\//.test(file))) {
    for (const [, , code] of textOf(path).matchAll(/(['"`])(ERR_[A-Z0-9_]*[A-Z0-9])\1/g)) known.add(code);
  }
  t.deepEqual(documented.sort(), [...known].sort());
});

/** The text without its blocks of code. */
const proseOf = (markdown) => markdown.replaceAll(/^```[\s\S]*?^```/gm, '');

test('every relative link of a document leads to a file of the repository, and to a heading of it', (t) => {
  const broken = [];
  for (const path of documents) {
    for (const [, target] of proseOf(textOf(path)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file, anchor] = target.split('#', 2);
      const linked = file === '' ? path : normalize(join(dirname(path), file));
      const known =
        existsSync(join(root, linked)) &&
        (anchor === undefined || headingsOf(textOf(linked)).some(({ text }) => anchorOf(text) === anchor));
      if (!known) broken.push(`${path}: ${target}`);
    }
  }
  t.deepEqual(broken, []);
});

test('every path of the repository that a document names is there', (t) => {
  const missing = [];
  for (const path of documents) {
    for (const [, named] of proseOf(textOf(path)).matchAll(/`((?:packages|tools|docs)\/[\w./-]+)`/g)) {
      if (!existsSync(join(root, named))) missing.push(`${path}: ${named}`);
    }
  }
  t.deepEqual(missing, []);
});

const published = publishedReasons();

/** The texts in backquotes of the first cell of each row. */
function documented() {
  const rows = textOf('docs/troubleshooting.md').matchAll(/^\| (`.*?`) \| (.*) \|$/gm);
  return [...rows].flatMap(([, cell]) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text));
}

test('docs/troubleshooting.md has a row for every reason that the packages publish, once', (t) => {
  const rows = documented();
  t.deepEqual(rows, [...new Set(rows)]);
  const missing = published.filter(({ text }) => !rows.includes(text));
  t.deepEqual(missing, []);
});

test('docs/troubleshooting.md has no reason that no package has any more', (t) => {
  const texts = published.map(({ text }) => text);
  t.deepEqual(
    documented().filter((row) => !texts.includes(row)),
    [],
  );
});
