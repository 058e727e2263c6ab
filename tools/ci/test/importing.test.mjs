/** What importing a package loads: nothing that only a first call needs. Counted, since time depends on the machine. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { entriesOf, readManifest } from '../manifest.mjs';
import { root } from '../repository-text.mjs';

/** Node's own modules that take milliseconds to load, and that a program which does not use them need not have. */
const HEAVY = [
  ...['crypto', 'http', 'http2', 'https', 'tls', 'zlib', 'dns', 'child_process', 'readline', 'inspector'],
  'worker_threads',
];
/** Files of JavaScript that importing an entry may load, its siblings' included: each is found, read and compiled. */
const FILES_MAX = 13;

const LOADED = `
import { createRequire } from 'node:module';
const before = new Set(process.moduleLoadList);
const { name, icu } = JSON.parse(process.argv[1]);
const constructed = [];
for (const key of icu) {
  Intl[key] = new Proxy(Intl[key], { construct(target, given) { constructed.push(key); return new target(...given); } });
}
await import(name);
console.log(JSON.stringify({
  builtin: process.moduleLoadList.filter((one) => !before.has(one)).map((one) => one.replace('NativeModule ', '')),
  files: Object.keys(createRequire(process.cwd() + '/').cache),
  constructed,
}));
`;

const loadedBy = (name, cwd) => {
  const icu = ['Collator', 'DateTimeFormat', 'NumberFormat', 'Segmenter'];
  const given = ['--input-type=module', '--eval', LOADED, JSON.stringify({ name, icu })];
  // What the packages are preloaded with, and what they are told, is not what is asked for here.
  const { NODE_OPTIONS: _, ...env } = process.env;
  return JSON.parse(execFileSync(process.execPath, given, { cwd, env, encoding: 'utf8' }));
};

const packages = readdirSync(join(root, 'packages')).map((folder) => join(root, 'packages', folder));

for (const folder of packages) {
  const manifest = readManifest(folder);
  for (const entry of entriesOf(manifest).keys()) {
    const name = join(manifest.name, entry);
    test(`importing ${name} loads neither koffi nor what only a first call needs`, (t) => {
      const { builtin, files, constructed } = loadedBy(name, folder);
      const own = files.filter((file) => !file.includes('/node_modules/') || file.includes('/@zerocopy/'));
      t.true(own.length > 0, 'the list of files is that of what was imported');
      t.deepEqual(
        files.filter((file) => /koffi/.test(file)),
        [],
      );
      t.deepEqual(
        builtin.filter((one) => HEAVY.includes(one)),
        [],
      );
      t.deepEqual(constructed, [], "what needs ICU's data");
      t.true(files.length <= FILES_MAX, `${files.length}: ${files.join(' ')}`);
    });
  }
}

test('the list of what is loaded has what a program loads', (t) => {
  const { builtin, files } = loadedBy('data:text/javascript,import "node:zlib";', root);
  t.true(builtin.includes('zlib'));
  t.deepEqual(files, []);
  const koffi = loadedBy('koffi', root);
  t.true(koffi.files.some((file) => file.includes('koffi')));
  const intl = loadedBy('data:text/javascript,new Intl.Collator("en");', root);
  t.deepEqual(intl.constructed, ['Collator']);
});

test('a file that is published has no getters in front of what it imports and exports', (t) => {
  for (const folder of packages) {
    const files = readdirSync(join(folder, 'dist'), { recursive: true });
    for (const file of files.filter((one) => one.endsWith('.js') && !one.startsWith('esm'))) {
      const code = readFileSync(join(folder, 'dist', file), 'utf8');
      t.notRegex(code, /__toESM\(require\("node:|\b__export\)?\(/, join(folder, file));
    }
  }
});

test('a file that is published asks for each package once', (t) => {
  for (const folder of packages) {
    const files = readdirSync(join(folder, 'dist'), { recursive: true });
    for (const file of files.filter((one) => one.endsWith('.js') && !one.startsWith('esm'))) {
      // What stands at the top, not what is loaded by a call, or in the text of a thread.
      const code = readFileSync(join(folder, 'dist', file), 'utf8');
      const loads = [...code.matchAll(/^var \w+ = (.*\brequire\("[^"]+"\).*);$/gm)].map(([, load]) => load);
      t.deepEqual(loads, [...new Set(loads)], join(folder, file));
    }
  }
});
