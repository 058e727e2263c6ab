/**
 * Builds the current package's JavaScript into dist, next to the types, which are tsc's: twice, see manifest.mjs.
 *
 * Bundled, since a package of forty small modules costs 40 ms to import, most of it in resolving files; as one or two
 * files it costs a few. What several entries need is in chunks that they share, so that there is one copy of its state.
 *
 * Three kinds of files are special by their names:
 * - `NAME.lazy.ts`, loaded by `require('./NAME.lazy.js')`: a file of its own in the CommonJS build; in the other one a
 *   part of the file that loads it, run when it is first needed.
 * - `NAME.worker.ts`, imported as './NAME.worker.js?text': a string, with all that it needs except koffi, siblings
 *   included. So it needs no file, and travels with whatever a bundler makes of the module that has it.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { build, transform } from 'esbuild';
import { commandsOf, entriesOf, readManifest } from './manifest.mjs';

const manifest = readManifest('.');
const target = 'node20.19';
/** What a package may say of itself. */
const version = { PACKAGE_VERSION: JSON.stringify(manifest.version) };
const entries = [...entriesOf(manifest).values()];
const commands = commandsOf(manifest);
const lazy = readdirSync('src')
  .filter((file) => file.endsWith('.lazy.ts'))
  .map((file) => basename(file, '.ts'));

const source = (path) => join('src', `${path}.ts`);

/** Siblings by their sources, so that only what is used of them gets into a string. */
const siblings = {
  name: 'siblings',
  setup(build) {
    build.onResolve({ filter: /^@zerocopy\// }, ({ path }) => {
      const [, name, ...entry] = path.split('/');
      const folder = resolve('..', name);
      const file = entriesOf(readManifest(folder)).get(['.', ...entry].join('/'));
      return { path: join(folder, source(file)), sideEffects: false };
    });
  },
};

const asText = {
  name: 'text',
  setup(build) {
    build.onResolve({ filter: /\?text$/ }, ({ path, resolveDir }) => ({
      // Relative, since it is told in the file that is published.
      path: relative('.', join(resolveDir, path.replace(/\.js\?text$/, '.ts'))),
      namespace: 'text',
    }));
    build.onLoad({ filter: /.*/, namespace: 'text' }, async ({ path }) => ({
      contents: await textOf(path),
      loader: 'text',
    }));
  },
};

/** The program of a thread as text. The name is what its stack traces say. */
async function textOf(path) {
  const { outputFiles } = await build({
    entryPoints: [path],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target,
    minify: true,
    keepNames: true,
    external: ['koffi'],
    plugins: [siblings],
    define: { 'import.meta.url': 'undefined' },
  });
  return `${outputFiles[0].text}//# sourceURL=${manifest.name}/${basename(path, '.ts')}.js\n`;
}

const shared = {
  bundle: true,
  splitting: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target,
  // The sources are published, and the maps lead to them.
  sourcesContent: false,
  write: false,
  metafile: true,
  chunkNames: 'chunk-[hash]',
  plugins: [asText],
};

/** What an ES module that is made into CommonJS may not see before: esbuild would put a function in its place. */
const REQUIRE = '__zerocopy_require__';

/**
 * esbuild exports by getters, one behind another, since an export may be given another value later; and each use of an
 * import calls them. No module here exports a variable that changes: what it exports is a plain object, made when the module
 * has run. The lines stay where the source map has them.
 */
function withPlainExports(code, path) {
  const exports =
    /^var (\w+) = \{\};\n__export\(\1, (\{\n[\s\S]*?\n\})\);\nmodule\.exports = __toCommonJS\(\1\);\n/m.exec(code);
  if (exports === null) {
    if (code.includes('__export(')) throw new Error(`${path}: esbuild writes its exports in another way`);
    return code;
  }
  const [getters, , names] = exports;
  const lines = '\n'.repeat(getters.split('\n').length - 1);
  const values = names.replaceAll(': () => ', ': ').replaceAll('\n', '');
  // Before what esbuild tells those who look for names in the text.
  const plain = `module.exports = Object.defineProperty(${values}, '__esModule', { value: true });\n`;
  const at = code.lastIndexOf('\n0 && (module.exports = {') + 1;
  if (at === 0) throw new Error(`${path}: esbuild does not tell the names of its exports`);
  return `${code.slice(0, at).replace(getters, () => lines)}${plain}${code.slice(at)}`;
}

/**
 * The same for a module that is exported as an object (`export * as name`): made where the exports are, since esbuild
 * declares it before what is in it; frozen, since one can no more assign to it than to a namespace.
 */
function withPlainNamespaces(code, path) {
  const made = [];
  const without = code.replace(
    /^var (\w+) = \{\};\n(?:__export|\(0, \w+\.__export\))\(\1, (\{\n[\s\S]*?\n\})\);$/gm,
    (declared, name, names) => {
      made.push(`${name} = Object.freeze(${names.replaceAll(': () => ', ': ').replaceAll('\n', '')});\n`);
      return `var ${name};${'\n'.repeat(declared.split('\n').length - 1)}`;
    },
  );
  if (/\b__export\)?\(/.test(without)) throw new Error(`${path}: esbuild writes its namespaces in another way`);
  const at = without.lastIndexOf('\nmodule.exports = ') + 1;
  return `${without.slice(0, at)}${made.join('')}${without.slice(at)}`;
}

/**
 * esbuild makes an object with a getter for each name of a module that is imported by its default export. Of a module of
 * Node the default export is the module, so it is used as it is: 0.3 ms less at the import of node:fs.
 */
function withBareBuiltins(code) {
  const found = [...code.matchAll(/^var (\w+) = __toESM\((require\("node:[^"]+"\))\);$/gm)];
  return found.reduce(
    (bare, [declared, name, load]) =>
      bare.replace(declared, `var ${name} = ${load};`).replace(new RegExp(`\\b${name}\\.default\\b`, 'g'), name),
    code,
  );
}

/**
 * esbuild writes a `require` for each of the modules that a file was made of; and Node looks a package that another file
 * has loaded already up anew each time, by its `exports`, which takes 0.1 ms or more: 6 ms of importing mmap-buffer. Here
 * each is asked for once. The lines stay where the source map has them.
 */
function withSingleRequires(code) {
  const first = new Map();
  return code.replace(/^var (\w+) = (.*\brequire\("[^"]+"\).*);$/gm, (line, name, loaded) => {
    const known = first.get(loaded);
    if (known !== undefined) return `var ${name} = ${known};`;
    first.set(loaded, name);
    return line;
  });
}

/**
 * CommonJS with chunks, which esbuild makes of ES modules only: so they are made first, and each file is made into
 * CommonJS by itself.
 */
async function commonJs() {
  const { outputFiles, metafile } = await build({
    ...shared,
    entryPoints: [...entries, ...commands, ...lazy].map(source),
    outdir: 'dist',
    sourcemap: 'inline',
    external: lazy.map((path) => `./${path}.js`),
    define: { ...version, require: REQUIRE, 'import.meta.url': 'undefined' },
  });
  for (const file of Object.keys(metafile.inputs)) {
    if (!file.startsWith('src/')) continue; // what is text
    if (/^export (let|var) /m.test(readFileSync(file, 'utf8')))
      throw new Error(`${file}: exports a variable that changes`);
  }
  for (const { path, text } of outputFiles) {
    const { code, map } = await transform(text, {
      format: 'cjs',
      platform: 'node',
      target,
      sourcemap: 'external',
      sourcesContent: false,
      sourcefile: basename(path),
      define: { [REQUIRE]: 'require' },
    });
    const plain = withBareBuiltins(withPlainNamespaces(withPlainExports(code, path), path));
    put(path, `${withSingleRequires(plain)}//# sourceMappingURL=${basename(path)}.map\n`);
    put(`${path}.map`, map);
  }
  return metafile.outputs;
}

/**
 * For `import`: the same module, under the names that it exports. By require, since an import of CommonJS has its names
 * looked for in its text, which costs as much as all the rest.
 */
function wrapper(path, names) {
  const file = `./${basename(path)}.js`;
  const exported = names.length === 0 ? '' : `export const { ${names.join(', ')} } = `;
  // In the form that those who trace files look for.
  const load = "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);\n";
  put(join('dist', `${path}.mjs`), `${load}${exported}require('${file}');\n`);
  put(join('dist', `${path}.d.mts`), `export * from '${file}';\n`);
}

async function esModules() {
  const { outputFiles } = await build({
    ...shared,
    entryPoints: entries.map(source),
    outdir: 'dist/esm',
    define: version,
    sourcemap: 'linked',
  });
  for (const { path, text } of outputFiles) put(path, text);
}

function put(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** What kind of modules are in a folder of dist, and which of them do something when they are loaded. */
function kind(folder, type) {
  const { sideEffects } = manifest;
  const here = Array.isArray(sideEffects)
    ? sideEffects
        .map((file) => relative(folder, file))
        .filter((file) => !file.startsWith('.') && (folder !== 'dist' || !file.startsWith('esm')))
        .map((file) => `./${file}`)
    : sideEffects;
  put(join(folder, 'package.json'), `${JSON.stringify({ type, sideEffects: here })}\n`);
}

// Chunks are named by their content: those of an earlier build would stay, and be published.
for (const file of readdirSync('dist', { recursive: true })) {
  if (/\.m?js(\.map)?$/.test(file)) rmSync(join('dist', file));
}
const [outputs] = await Promise.all([commonJs(), esModules()]);
for (const path of entries) wrapper(path, outputs[`dist/${path}.js`].exports);
kind('dist', 'commonjs');
kind('dist/esm', 'module');
