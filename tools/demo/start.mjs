/** `npm start`: installs what is missing, builds what has changed, and runs the demo with the arguments given. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
process.chdir(root);

function run(what, command, args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) {
    console.error(stdout);
    console.error(`${what} failed`);
    process.exit(1);
  }
}

// npm writes this file at the end of every install.
const installed = join('node_modules', '.package-lock.json');
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync('package-lock.json').mtimeMs) {
  console.log('Installing what is missing …');
  run('npm ci', 'npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error']);
}
console.log('Building what has changed …');
process.env.NX_DAEMON = 'false';
run('the build', 'npx', ['--no-install', 'nx', 'run', '@zerocopy/demo:build', '--outputStyle=static']);

const demo = spawn(process.execPath, [join('tools', 'demo', 'dist', 'main.js'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
// Ctrl-C reaches the whole group from a terminal; a signal sent to this process alone is passed on.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => demo.kill(signal));
demo.on('exit', (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 128 + constants.signals[signal];
});
