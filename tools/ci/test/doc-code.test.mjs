/** The code in the documents: it compiles against the packages' declarations, and its commands exist. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parseAllDocuments } from 'yaml';
import { DOCUMENTED_CODE, filesOf, root, textOf } from '../repository-text.mjs';

const documents = filesOf('', ['.md']).filter((path) => !/(^|\/)CHANGELOG\.md$|^\.changeset\//.test(path));
const LANGUAGES = ['js', 'ts', 'sh', 'diff', 'mermaid', 'yaml', 'json', 'dockerfile', ''];

/** The blocks of code: { path, line, language, code }, where `line` is that of the opening fence, from 1. */
const blocks = documents.flatMap((path) => {
  const text = textOf(path);
  return [...text.matchAll(/^```(\S*)\n([\s\S]*?)^```$/gm)].map(({ index, 1: language, 2: code }) => ({
    path,
    line: text.slice(0, index).split('\n').length,
    language,
    code,
  }));
});
const examples = new Set(
  filesOf('packages', ['.mjs'])
    .filter((path) => path.includes('/examples/'))
    .map(textOf),
);
/** Run as they stand by the tests of their packages, and by observability.test.mjs. */
const isRun = ({ path, code }) => examples.has(code) || path === 'docs/observability.md';
const where = ({ path, line }) => `${path}:${line}`;
const inLanguage = (...languages) => blocks.filter(({ language }) => languages.includes(language));

/** What a fragment takes for granted. A program of its own that declares one of these hides it. */
const GIVEN = `
declare global {
  const socket: import('node:net').Socket;
  const child: import('node:child_process').ChildProcessByStdio<import('node:stream').Writable, import('node:stream').Readable, null>;
  const request: import('node:http').IncomingMessage;
  const fileHandle: import('node:fs/promises').FileHandle;
  const signal: AbortSignal;
  const path: string;
  const host: string;
  const port: number;
}
export {};
`;

test('every block of code is in a language that is checked here or drawn', (t) => {
  t.deepEqual(blocks.filter(({ language }) => !LANGUAGES.includes(language)).map(where), []);
});

test('JavaScript compiles against the declarations of the packages', (t) => {
  const place = join(root, 'tools', 'ci', DOCUMENTED_CODE);
  mkdirSync(place, { recursive: true });
  const folder = mkdtempSync(`${place}/`);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const names = new Map();
  const folders = new Map();
  for (const block of inLanguage('js', 'ts').filter((one) => !isRun(one))) {
    // Blocks that name themselves import each other.
    const [, own] = /^\/\/ (\S+)\.mjs\n/.exec(block.code) ?? [];
    const document = folders.get(block.path) ?? `${folders.size}`;
    folders.set(block.path, document);
    const name = `${document}/${own ?? `line-${block.line}`}.mts`;
    names.set(name, block);
    mkdirSync(join(folder, document), { recursive: true });
    writeFileSync(join(folder, name), `${block.code}\nexport {};\n`);
  }
  writeFileSync(join(folder, 'given.d.mts'), GIVEN);
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable'],
        strict: true,
        noImplicitAny: false,
        strictNullChecks: false,
        useUnknownInCatchVariables: false,
        noEmit: true,
        skipLibCheck: true,
        types: ['node'],
      },
      include: ['**/*.mts'],
    }),
  );
  const compiler = join(root, 'tools', 'ci', 'tsc.mjs');
  const { stdout, stderr } = spawnSync(process.execPath, [compiler, '-p', folder, '--pretty', 'false'], {
    encoding: 'utf8',
    cwd: folder,
  });
  const problems = `${stdout}${stderr}`
    .split('\n')
    // A subscriber of a channel is declared to get `unknown`, which JavaScript takes apart all the same.
    .filter((line) => /^\S/.test(line) && !line.includes("'ChannelListener'"))
    .map((line) =>
      line.replace(/^(\d+\/[^(]+)\((\d+),/, (_, name, row) => {
        const block = names.get(name);
        return block === undefined ? `${name}(${row},` : `${block.path}:${block.line + Number(row)}(`;
      }),
    );
  t.deepEqual(problems, []);
  t.true(names.size >= 10);
});

test('a line of a diff that is added or removed is JavaScript that parses', (t) => {
  for (const block of inLanguage('diff')) {
    for (const line of block.code.split('\n').filter((text) => /^[+-] /.test(text))) {
      const statement = line.slice(2).replace('…', 'done');
      t.notThrows(() => new Function(`return async () => { ${statement.replace(/^import .*$/, '')} }`), where(block));
    }
  }
});

test('what a shell block runs by npm is a script of the repository, or a package that is ours', (t) => {
  const { scripts } = JSON.parse(textOf('package.json'));
  const ours = new Set(filesOf('packages', ['package.json']).map((path) => JSON.parse(textOf(path)).name));
  const wrong = [];
  for (const block of inLanguage('sh')) {
    for (const [, script] of block.code.matchAll(/\bnpm run ([\w:-]+)/g)) {
      if (!Object.hasOwn(scripts, script)) wrong.push(`${where(block)}: npm run ${script}`);
    }
    for (const [, names] of block.code.matchAll(/\bnpm install ((?:@?[\w./-]+ ?)+)/g)) {
      for (const name of names
        .trim()
        .split(' ')
        .filter((one) => one.startsWith('@zerocopy/'))) {
        if (!ours.has(name)) wrong.push(`${where(block)}: ${name}`);
      }
    }
  }
  t.deepEqual(wrong, []);
});

test('a README whose code imports packages names all of them in an install line', (t) => {
  const missing = [];
  for (const { path, code } of inLanguage('js').filter(({ path: file }) => file.startsWith('packages/'))) {
    const installed = inLanguage('sh')
      .filter((block) => block.path === path)
      .flatMap((block) => [...block.code.matchAll(/\bnpm install (.*)$/gm)])
      .flatMap(([, names]) => names.split(' '));
    for (const [, name] of code.matchAll(/^import .*'(@[\w-]+\/[\w-]+|[a-z][\w-]*)(?:\/[\w-]+)?';$/gm)) {
      if (!installed.includes(name)) missing.push(`${path}: ${name}`);
    }
  }
  t.deepEqual([...new Set(missing)], []);
});

test('YAML and JSON of the documents parse', (t) => {
  for (const block of inLanguage('yaml')) {
    t.deepEqual(
      parseAllDocuments(block.code).flatMap(({ errors }) => errors),
      [],
      where(block),
    );
  }
  for (const block of inLanguage('json')) t.notThrows(() => JSON.parse(block.code), where(block));
});
