/** What a stranger looks for: the packages' metadata, and the workflows' limits and pins. */
import { existsSync, readdirSync } from 'node:fs';
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

/** What of a command in a workflow does not exist; undefined: it does. */
function missingOf(command) {
  const words = command.trim().split(/\s+/);
  while (/^[A-Z_]+=/.test(words[0])) words.shift();
  const [program, first, second] = words;
  const { scripts } = JSON.parse(textOf('package.json'));
  if (program === 'sudo' && first === 'apt-get') return undefined;
  if (program === 'npm' && first === 'ci') return undefined;
  if (program === 'npm' && (first === 'cit' || first === 'test'))
    return scripts.test === undefined ? 'test' : undefined;
  if (program === 'npm' && first === 'run') return Object.hasOwn(scripts, second) ? undefined : second;
  if (program === 'node' || program === 'bash') return existsSync(join(root, first)) ? undefined : first;
  return command;
}

/** The commands of a job: of its steps, of its matrix, and those that the action of changesets is given. */
function commandsOf({ steps, strategy }) {
  return steps
    .flatMap(({ run, uses = '', with: given = {} }) => {
      if (run?.includes('{ matrix.run }')) return strategy.matrix.include.map((one) => one.run);
      return uses.startsWith('changesets/action') ? [given.version, given.publish] : [run];
    })
    .filter((run) => run !== undefined)
    .flatMap((run) => run.split(/&&|\n/))
    .filter((command) => command.trim() !== '');
}

for (const path of filesOf('.github/workflows', ['.yml', '.yaml'])) {
  test(`${path}: every job has a limit of time, every action a commit, and every command exists`, (t) => {
    const source = textOf(path);
    const { jobs, permissions } = parse(source);
    t.truthy(permissions);
    for (const [name, job] of Object.entries(jobs)) {
      t.truthy(job['timeout-minutes'], name);
      const missing = commandsOf(job).map(missingOf);
      t.deepEqual(missing, Array(missing.length).fill(undefined), name);
      // The comment with the version is not in what is parsed.
      for (const { uses } of job.steps.filter((step) => step.uses !== undefined)) {
        t.regex(uses, /^[\w./-]+@[0-9a-f]{40}$/);
        t.regex(source.slice(source.indexOf(uses) + uses.length), /^ # v\d/, uses);
      }
    }
  });
}

test('a command of a workflow that does not exist is found', (t) => {
  const steps = [
    { run: 'npm ci && npm run nothing' },
    { run: 'A=1 node tools/none.mjs\nbash .ci/run' },
    { run: ['$', '{{ matrix.run }}'].join('') },
    { uses: 'changesets/action@1', with: { publish: 'make' } },
  ];
  const commands = commandsOf({ steps, strategy: { matrix: { include: [{ run: 'npm test' }] } } });
  t.deepEqual(commands.map(missingOf), [undefined, 'nothing', 'tools/none.mjs', undefined, undefined, 'make']);
});

test('a job runs the whole suite where libc is musl', (t) => {
  const { jobs } = parse(textOf('.github/workflows/ci.yml'));
  t.regex(jobs.musl.container, /^node:\d+-alpine$/);
  t.deepEqual(commandsOf(jobs.musl), ['npm cit']);
});

test('the forms of issues and the settings of updates are YAML', (t) => {
  for (const path of filesOf('.github', ['.yml'])) t.notThrows(() => parse(textOf(path)), path);
  for (const path of ['SUPPORT.md', 'CODE_OF_CONDUCT.md', 'SECURITY.md', 'CONTRIBUTING.md'])
    t.true(textOf(path).length > 0);
});

test('no lockfile says where a package was downloaded from', (t) => {
  for (const path of ['package-lock.json', 'docs/site/package-lock.json'])
    t.false(/"resolved": "http/.test(textOf(path)), path);
});
