/** What a stranger looks for: the packages' metadata, and the workflows' limits and pins. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parse } from 'yaml';
import { filesOf, root, textOf } from '../repository-text.mjs';

const REPOSITORY = 'https://github.com/zerocopy-node/zerocopy';
const packages = readdirSync(join(root, 'packages'));

test('each package says where it comes from, where its faults go, and what it needs', (t) => {
  for (const folder of packages) {
    const manifest = JSON.parse(textOf(`packages/${folder}/package.json`));
    t.like(
      manifest,
      {
        license: 'MIT',
        repository: { type: 'git', url: `git+${REPOSITORY}.git`, directory: `packages/${folder}` },
        homepage: `${REPOSITORY}/tree/main/packages/${folder}#readme`,
        bugs: `${REPOSITORY}/issues`,
        engines: { node: '>=20.19' },
        publishConfig: { access: 'public', provenance: true },
      },
      folder,
    );
    t.true(manifest.description.length > 20 && manifest.keywords.length > 2, folder);
  }
});

test('each package is in the tables of the README and of docs/packages.md, and its README has an install line', (t) => {
  for (const folder of packages) {
    t.true(textOf('README.md').includes(`](packages/${folder})`), folder);
    t.true(textOf('docs/packages.md').includes(`](../packages/${folder})`), folder);
    if (folder === 'transfer') continue; // not to be installed by itself
    const { name } = JSON.parse(textOf(`packages/${folder}/package.json`));
    t.regex(textOf(`packages/${folder}/README.md`), new RegExp(`^(npm install|npx) .*${name}\\b`, 'm'), folder);
  }
});

test('the declarations that each package exports are among those that the API reference is made from', (t) => {
  const { include } = JSON.parse(textOf('docs/site/tsconfig.json'));
  for (const folder of packages) {
    const { types } = JSON.parse(textOf(`packages/${folder}/package.json`)).exports['.'].import;
    const declarations = `packages/${folder}/${types.replace('./', '')}`;
    const isIncluded = (glob) => declarations.endsWith(glob.slice(glob.lastIndexOf('*') + 1));
    t.true(include.some(isIncluded), declarations);
  }
});

test("the README's first screen has what a user installs, then the repository's own two commands", (t) => {
  const [install, start, cit] = ['npm install @zerocopy/', 'npm start', 'npm cit'].map((text) =>
    textOf('README.md')
      .split('\n')
      .findIndex((line) => line.startsWith(text)),
  );
  t.true(0 < install && install < start && start < cit && cit < 40);
});

for (const path of filesOf('.github/workflows', ['.yml'])) {
  test(`${path}: every job has a limit of time, every action a commit`, (t) => {
    const { jobs, permissions } = parse(textOf(path));
    t.truthy(permissions);
    for (const [name, job] of Object.entries(jobs)) t.truthy(job['timeout-minutes'], name);
    for (const [, action] of textOf(path).matchAll(/uses: (.*)$/gm)) t.regex(action, /^[\w./-]+@[0-9a-f]{40} # v\d/);
  });
}

test('the forms of issues and the settings of updates are YAML', (t) => {
  for (const path of filesOf('.github', ['.yml'])) t.notThrows(() => parse(textOf(path)), path);
  for (const path of ['SUPPORT.md', 'CODE_OF_CONDUCT.md', 'SECURITY.md', 'CONTRIBUTING.md'])
    t.true(textOf(path).length > 0);
});

test('no lockfile says where a package was downloaded from', (t) => {
  for (const path of ['package-lock.json', 'docs/site/package-lock.json'])
    t.false(/"resolved": "http/.test(textOf(path)), path);
});
