/**
 * `npm run test:matrix`: the built tests under every supported Node, as root and as a normal user, and with every
 * feature turned off. Prints what ran, what was skipped and why. Node comes from the npm package `node`.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const cache = resolve('node_modules', '.cache', 'node-versions');
const packages = readdirSync('packages').filter((name) => existsSync(join('packages', name, 'package.json')));
const NOBODY = 65534;
const rows = [];

/** The path of a Node of that major version, or why there is none. */
function findNode(major) {
  if (Number(process.versions.node.split('.')[0]) === major) return { path: process.execPath };
  const prefix = join(cache, String(major));
  mkdirSync(prefix, { recursive: true });
  // The package `node` fetches this one in an install script; taken by itself it needs none.
  const name = `node-${process.platform}-${process.arch}`;
  const path = join(prefix, 'node_modules', name, 'bin', 'node');
  if (!existsSync(path)) {
    const install = ['install', '--prefix', prefix, '--no-save', '--ignore-scripts', `${name}@${major}`];
    spawnSync('npm', install, { stdio: 'ignore' });
  }
  if (existsSync(path)) return { path };
  return { reason: `the npm package ${name}@${major} brought no binary` };
}

function runTests(label, node, options = {}) {
  for (const name of packages) {
    const cwd = join('packages', name);
    const { status } = spawnSync(node, [resolve('tools/ci/run-ava.mjs')], {
      cwd,
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, ...options.env },
      uid: options.uid,
      gid: options.uid,
    });
    const file = join(cwd, 'test-results', 'summary.json');
    const summary = existsSync(file)
      ? JSON.parse(readFileSync(file, 'utf8'))
      : { passed: 0, failed: 1, skipped: 0, failures: ['no results'] };
    rows.push({ run: label, package: name, passed: summary.passed, failed: summary.failed, skipped: summary.skipped });
    for (const failure of summary.failures) console.log(`${label}, ${name}: ✖ ${failure}`);
    if (status !== 0 || summary.failed > 0) process.exitCode = 1;
  }
}

for (const major of [20, 22, 24, 26]) {
  const found = findNode(major);
  if (found.path === undefined) {
    rows.push({ run: `Node ${major}`, package: `skipped: ${found.reason}` });
    continue;
  }
  runTests(`Node ${major}`, found.path);
}
runTests('ZEROCOPY_DISABLE=all', process.execPath, { env: { ZEROCOPY_DISABLE: 'all' } });
if (process.getuid?.() === 0) {
  // The results are written into the packages; a normal user may not do that in a checkout of root's.
  for (const name of packages) {
    const results = join('packages', name, 'test-results');
    mkdirSync(results, { recursive: true });
    chmodSync(results, 0o777);
  }
  runTests('a normal user', process.execPath, { uid: NOBODY, env: { HOME: '/tmp' } });
} else rows.push({ run: 'root', package: 'skipped: this run is not root' });
console.table(rows);
