/**
 * `npm run release:rehearse`: a first release, but for its publishing. In a throwaway clone of what is committed:
 * `changeset version`, then everything is packed; in an empty folder the tarballs are installed, and the examples of all
 * READMEs run from there on each Node. Their tests are those of the packages, beside what npm has installed.
 *
 * Build first: `npm run build && npm run typecheck`. Arguments: the majors of Node; without, 20, 22, 24 and 26.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { argv, exit } from 'node:process';
import Table from 'cli-table3';
import { npmInstall, packAll, packageFolders, temporaryFolder } from './installed.mjs';
import { readManifest } from './manifest.mjs';
import { findNode } from './matrix/nodes.mjs';
import { root } from './repository-text.mjs';

/** What the recipes of the READMEs are for, which their install lines name as well. */
const FRAMEWORKS = ['express', 'fastify', 'koa', 'hono', '@hono/node-server'];
const ava = join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs');
const majors = argv.length > 2 ? argv.slice(2).map(Number) : [20, 22, 24, 26];
let failed = 0;

function fail(message) {
  console.log(`✖ ${message}`);
  failed++;
}

/** A clone, with the dependencies and builds of this checkout. @returns its folder. */
function clone() {
  const folder = join(temporaryFolder('release'), 'clone');
  execFileSync('git', ['clone', '--quiet', '--no-hardlinks', root, folder]);
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const [name, from] of packageFolders()) {
    const built = join(from, 'dist');
    const isTested = !existsSync(join(from, 'examples')) || existsSync(join(from, 'dist-test'));
    if (!existsSync(built) || !isTested) {
      console.error(`${name} is not built: npm run build && npm run typecheck`);
      exit(1);
    }
    cpSync(built, join(folder, 'packages', basename(from), 'dist'), { recursive: true });
  }
  return folder;
}

/** Versions as a release would have them. */
function version(folder) {
  const changeset = join(root, 'node_modules', '@changesets', 'cli', 'bin.js');
  execFileSync(process.execPath, [changeset, 'version'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  const packages = packageFolders(folder);
  const versions = new Map([...packages].map(([name, from]) => [name, readManifest(from).version]));
  for (const [name, from] of packages) {
    const { dependencies = {} } = readManifest(from);
    if (versions.get(name) === '0.0.0') fail(`${name} has no changeset: it stays 0.0.0`);
    for (const [sibling, range] of Object.entries(dependencies)) {
      if (versions.has(sibling) && range !== versions.get(sibling)) {
        fail(`${name} asks for ${sibling} ${range}, and not for exactly ${versions.get(sibling)}`);
      }
    }
    const log = join(from, 'CHANGELOG.md');
    if (!existsSync(log) || !readFileSync(log, 'utf8').includes(`## ${versions.get(name)}`)) {
      fail(`${name}: CHANGELOG.md does not speak of ${versions.get(name)}`);
    }
  }
  return versions;
}

/** What a user has after `npm install`, in a folder that was empty. */
function install(tarballs) {
  const app = temporaryFolder('app');
  writeFileSync(join(app, 'package.json'), '{ "name": "app", "private": true, "version": "1.0.0" }\n');
  const wanted = Object.assign({}, ...[...packageFolders().values()].map((from) => readManifest(from).devDependencies));
  npmInstall(app, [...tarballs.values(), ...FRAMEWORKS.map((name) => `${name}@${wanted[name]}`)]);
  return app;
}

/** The examples, as npm has installed them, in the folder of a user; with the tests of them beside. */
function stage(app) {
  const modules = join(app, 'node_modules');
  // What the tests are written with; no package needs either.
  for (const tool of ['ava', 'fast-check']) symlinkSync(join(root, 'node_modules', tool), join(modules, tool));
  symlinkSync(join(root, 'tools', 'testing'), join(modules, '@zerocopy', 'testing'));
  const staged = new Map();
  for (const [name, from] of packageFolders()) {
    const installed = join(modules, ...name.split('/'));
    if (!existsSync(join(installed, 'examples'))) continue;
    const folder = join(app, 'examples-of', basename(from));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
    for (const part of ['examples', 'README.md'])
      cpSync(join(installed, part), join(folder, part), { recursive: true });
    cpSync(join(from, 'dist-test'), join(folder, 'dist-test'), { recursive: true });
    if (existsSync(join(from, 'test/fixtures'))) {
      cpSync(join(from, 'test/fixtures'), join(folder, 'test/fixtures'), { recursive: true });
    }
    staged.set(name, folder);
  }
  return staged;
}

const folder = clone();
const versions = version(folder);
const tarballs = packAll(join(folder, 'tarballs'), folder);
const app = install(tarballs);
const staged = stage(app);
const table = new Table({ head: ['package', 'version', ...majors.map((major) => `Node ${major}`)] });
const nodes = majors.map(findNode);
for (const [name, number] of versions) {
  const cells = nodes.map(({ path, reason }) => {
    if (path === undefined) return `not run: ${reason}`;
    if (!staged.has(name)) {
      const load = `require('${name}'); import('${name}').catch((error) => { console.error(error); process.exitCode = 1; })`;
      const { status, stderr } = spawnSync(path, ['-e', load], { cwd: app, encoding: 'utf8' });
      if (status !== 0) fail(`${name} is not imported: ${stderr}`);
      return status === 0 ? 'imported' : 'FAILED';
    }
    const { status, stdout, stderr } = spawnSync(path, [ava, 'dist-test/examples.test.js', '--timeout=60s'], {
      cwd: staged.get(name),
      encoding: 'utf8',
    });
    if (status !== 0) fail(`${name}: ${stdout}${stderr}`);
    return status === 0 ? /\d+ tests? passed/.exec(stdout)?.[0] : 'FAILED';
  });
  table.push([name, number, ...cells]);
}
console.log(table.toString());
console.log(failed === 0 ? 'it could be released' : `${failed} failed`);
exit(failed === 0 ? 0 : 1);
