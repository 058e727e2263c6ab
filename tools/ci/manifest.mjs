/**
 * What a package's package.json says of its builds, derived from the names in its `exports`:
 *
 * - `require`, and `import` by a wrapper that re-exports it: the CommonJS build in dist. Node loads no other, so that
 *   there is one copy of a package's state however it is loaded.
 * - `module`: the ES modules in dist/esm, which only bundlers ask for. A bundle of CommonJS as an ES module could not
 *   require what Node has.
 * - `production`, for ncc, which does not ask for `module`, and sees through no wrapper: CommonJS.
 * - `main`, `types`, and a folder for each further entry: for those who know no `exports`.
 *
 * `node tools/ci/manifest.mjs` says where a package differs; `--write` puts it right. For a new package, `exports` with
 * `{ "default": "./dist/NAME.js" }` is enough.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { root } from './repository-text.mjs';

export const readManifest = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** The CommonJS file that a target of `exports` or `bin` leads to: './dist/NAME.js'. */
function builtFile(target) {
  if (typeof target === 'string') return target.startsWith('./dist/') ? target : undefined;
  return target.require?.default ?? target.default;
}

/** Entries by the name in `exports`: the path below src and dist, without extension. */
export function entriesOf({ exports }) {
  const entries = new Map();
  for (const [name, target] of Object.entries(exports ?? {})) {
    const file = builtFile(target);
    if (file !== undefined) entries.set(name, file.replace('./dist/', '').replace(/\.js$/, ''));
  }
  return entries;
}

/** Commands, in the same form: CommonJS as well. */
export function commandsOf({ bin = {} }) {
  return (typeof bin === 'string' ? [bin] : Object.values(bin)).map((file) =>
    file.replace(/^(\.\/)?dist\//, '').replace(/\.js$/, ''),
  );
}

const forBuilds = (path) => ({
  module: `./dist/esm/${path}.js`,
  production: `./dist/${path}.js`,
  import: { types: `./dist/${path}.d.mts`, default: `./dist/${path}.mjs` },
  require: { types: `./dist/${path}.d.ts`, default: `./dist/${path}.js` },
});

/** Files that do something when they are loaded, in each build. */
function inAllBuilds(sideEffects) {
  if (!Array.isArray(sideEffects)) return sideEffects;
  const paths = new Set(sideEffects.map((file) => /^\.\/dist\/(?:esm\/)?(.*)\.m?js$/.exec(file)[1]));
  return [...paths].flatMap((path) => [`./dist/${path}.js`, `./dist/${path}.mjs`, `./dist/esm/${path}.js`]);
}

/** The manifest as it should be. */
export function completed(manifest) {
  const entries = entriesOf(manifest);
  const exports = {};
  for (const [name, target] of Object.entries(manifest.exports)) {
    exports[name] = entries.has(name) ? forBuilds(entries.get(name)) : target;
  }
  const folders = [...entries.keys()].filter((name) => name !== '.').map((name) => name.slice(2));
  const { main: _, types: __, ...rest } = manifest;
  const whole = {};
  for (const [key, value] of Object.entries(rest)) {
    if (key === 'exports' && entries.has('.')) {
      whole.main = `./dist/${entries.get('.')}.js`;
      whole.types = `./dist/${entries.get('.')}.d.ts`;
    }
    whole[key] = value;
  }
  whole.exports = exports;
  if (manifest.sideEffects !== undefined) whole.sideEffects = inAllBuilds(manifest.sideEffects);
  whole.files = [...new Set([...folders, ...(manifest.files ?? [])])].sort(
    (a, b) => Number(/\.md$/.test(a)) - Number(/\.md$/.test(b)) || (a < b ? -1 : 1),
  );
  return whole;
}

/** The package.json of the folder of an entry other than the first, for those who know no `exports`: by its path. */
export function foldersOf(manifest) {
  const folders = new Map();
  for (const [name, path] of entriesOf(manifest)) {
    if (name === '.') continue;
    const up = relative(name, '.');
    folders.set(join(name, 'package.json'), {
      type: 'commonjs',
      main: `${up}/dist/${path}.js`,
      types: `${up}/dist/${path}.d.ts`,
    });
  }
  return folders;
}

/** What is not as it should be in the package in `folder`; with `write`, it is afterwards. */
export function differences(folder, write = false) {
  const manifest = readManifest(folder);
  const wanted = new Map([['package.json', completed(manifest)], ...foldersOf(manifest)]);
  const different = [];
  for (const [file, content] of wanted) {
    const path = join(folder, file);
    const found = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
    if (isDeepStrictEqual(found, content) && isDeepStrictEqual(Object.keys(found), Object.keys(content))) continue;
    different.push(file);
    if (!write) continue;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
  }
  return different;
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const write = argv.includes('--write');
  for (const name of readdirSync(join(root, 'packages'))) {
    for (const file of differences(join(root, 'packages', name), write)) {
      console.log(
        `packages/${name}/${file} ${write ? 'written' : 'is not what `node tools/ci/manifest.mjs --write` makes'}`,
      );
      if (!write) process.exitCode = 1;
    }
  }
}
