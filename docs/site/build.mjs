/**
 * `npm run docs`: installs what this folder needs, apart from the workspace, writes the pages into content/ and builds
 * them into .vitepress/dist. Fails for a link that leads nowhere.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '..', '..');
const shell = process.platform === 'win32';

function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: 'inherit', shell });
  if (status !== 0) process.exit(status ?? 1);
}

const installed = join(here, 'node_modules', '.lockfile');
const lock = join(here, 'package-lock.json');
if (!existsSync(installed) || !readFileSync(installed).equals(readFileSync(lock))) {
  run('npm', ['ci', '--workspaces=false'], here);
  copyFileSync(lock, installed);
}

// The API reference is made from the declarations.
run('npx', ['nx', 'run-many', '-t', 'build', '-p', 'packages/*', '--outputStyle=static'], root);

rmSync(join(here, 'content'), { recursive: true, force: true });
run('node', ['write-content.mjs'], here);
run('node', ['write-api.mjs'], here);
run('npx', ['vitepress', 'build', '.'], here);
run('node', ['check-links.mjs'], here);
