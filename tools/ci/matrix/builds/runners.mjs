/**
 * The packages under one test runner, package manager or runtime. Prints a line of JSON for each check:
 * `{ name, passed, reason }`. Argument: which.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installedFolder, packAll, temporaryFolder } from '../../installed.mjs';
import { DEGRADED, KERNEL, runs, told } from './outcome.mjs';
import { toolFolder } from './tools.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const node = process.execPath;

/** A folder in which the packages are installed, and those of `more`, with the tests and the program. */
function appFolder(more = []) {
  const app = installedFolder('runner', more);
  cpSync(here('./in-runners'), app, { recursive: true });
  cpSync(here('./program.mjs'), join(app, 'program.mjs'));
  return app;
}

/** A folder that another package manager is to install. */
function foreignFolder() {
  const app = temporaryFolder('manager');
  const files = Object.fromEntries([...packAll(join(app, 'tarballs'))].map(([name, file]) => [name, `file:${file}`]));
  const manifest = { name: 'app', private: true, version: '1.0.0', dependencies: files };
  const siblings = { resolutions: files, pnpm: { overrides: files } };
  writeFileSync(join(app, 'package.json'), `${JSON.stringify({ ...manifest, ...siblings })}\n`);
  cpSync(here('./program.mjs'), join(app, 'program.mjs'));
  return app;
}

const JEST = { testEnvironment: 'node', transform: {}, moduleFileExtensions: ['js', 'mjs', 'cjs', 'json', 'node'] };
const jest = (app, file) => [
  node,
  join(app, 'node_modules/jest/bin/jest.js'),
  `--rootDir=${app}`,
  `--config=${JSON.stringify({ ...JEST, testMatch: [`**/${file}`] })}`,
];

const runners = {
  resolvers() {
    const app = appFolder(['typescript@5.9', '@types/node@20']);
    const tsc = [node, join(app, 'node_modules/typescript/lib/tsc.js'), '--noEmit', '--strict', '--target', 'es2022'];
    const compiled = { 'node16, CommonJS': 'cts', 'node16, ES modules': 'mts', nodenext: 'mts' };
    for (const [name, extension] of Object.entries(compiled)) {
      cpSync(join(app, 'typed.ts'), join(app, `typed.${extension}`));
      const [module] = name.split(',');
      runs(`types: ${name}`, [...tsc, '--module', module, `typed.${extension}`], undefined, { cwd: app });
    }
    const others = { node10: 'commonjs', bundler: 'esnext' };
    for (const [name, module] of Object.entries(others)) {
      const args = [...tsc, '--module', module, '--moduleResolution', name, 'typed.ts'];
      runs(`types: ${name}`, args, undefined, { cwd: app });
    }
    // A path of a folder is looked up without `exports`, as everything was once.
    for (const entry of ['core-syscalls/native', 'pipeline', 'pipeline/promises', 'pipeline/register', 'serve-files']) {
      const folder = join(app, 'node_modules/@zerocopy', entry);
      runs(`no exports: ${entry}`, [node, '-e', `require(${JSON.stringify(folder)})`]);
    }
    for (const flag of ['--import', '--require']) {
      const tell = "process.exitCode = process[Symbol.for('zerocopy.pipelineRegistered.1')] ? 0 : 1";
      runs(`register by ${flag}`, [node, flag, '@zerocopy/pipeline/register', '-e', tell], undefined, { cwd: app });
    }
  },
  jest() {
    const app = appFolder(['jest@30']);
    runs('jest, CommonJS', jest(app, 'jest.cjs'), undefined, { cwd: app });
    const env = { NODE_OPTIONS: '--experimental-vm-modules' };
    runs('jest, ES modules', jest(app, 'jest.mjs'), undefined, { cwd: app, env });
  },
  vitest() {
    const app = appFolder(['vitest@3']);
    writeFileSync(join(app, 'vitest.config.mjs'), "export default { test: { include: ['vitest.mjs'] } };\n");
    const vitest = [node, join(app, 'node_modules/vitest/vitest.mjs'), 'run', '--root', app];
    for (const pool of ['forks', 'threads'])
      runs(`vitest, ${pool}`, [...vitest, '--pool', pool], undefined, { cwd: app });
  },
  mocha() {
    const app = appFolder(['mocha@11']);
    for (const file of ['mocha.cjs', 'mocha.mjs'])
      runs(file, [node, join(app, 'node_modules/mocha/bin/mocha.js'), file], undefined, { cwd: app });
  },
  'node:test'() {
    runs('mocked timers', [node, '--test', join(appFolder(), 'node-test.mjs')]);
  },
  'virtual files'() {
    const app = appFolder(['mock-fs@5', 'memfs@4']);
    const path = join(app, 'real-and-virtual');
    writeFileSync(path, 'what is on the disk');
    for (const library of ['mock-fs', 'memfs'])
      runs(library, [node, join(app, 'virtual-files.cjs'), library, path], undefined, {
        env: { ZEROCOPY_DISABLE: 'all' },
      });
  },
  permission() {
    const app = appFolder();
    const flag = Number.parseInt(process.versions.node, 10) >= 24 ? '--permission' : '--experimental-permission';
    const files = [
      '--allow-fs-read=*',
      '--allow-fs-write=*',
      ...(process.allowedNodeEnvironmentFlags.has('--allow-net') ? ['--allow-net'] : []),
    ];
    const program = join(app, 'program.mjs');
    runs(
      'all that is needed',
      [node, '--no-warnings', flag, '--allow-addons', '--allow-worker', ...files, program],
      KERNEL,
    );
    runs('no addons', [node, '--no-warnings', flag, ...files, program], DEGRADED);
  },
  pnpm() {
    const app = foreignFolder();
    const pnpm = join(toolFolder('managers'), 'node_modules/pnpm/bin/pnpm.cjs');
    execFileSync(node, [pnpm, 'install', '--ignore-scripts'], { cwd: app, stdio: 'ignore' });
    runs('pnpm', [node, join(app, 'program.mjs')], KERNEL);
  },
  'yarn pnp'() {
    const app = foreignFolder();
    const yarn = join(toolFolder('managers'), 'node_modules/@yarnpkg/cli-dist/bin/yarn.js');
    const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
    const settings = ['nodeLinker: pnp', 'enableTelemetry: false', 'enableScripts: false', 'enableGlobalCache: false'];
    writeFileSync(join(app, '.yarnrc.yml'), `${[...settings, `npmRegistryServer: '${registry}'`].join('\n')}\n`);
    writeFileSync(join(app, 'yarn.lock'), '');
    execFileSync(node, [yarn, 'install'], { cwd: app, stdio: 'ignore', env: { ...process.env, CI: '' } });
    runs("Yarn Plug'n'Play", [node, yarn, 'node', 'program.mjs'], KERNEL, { cwd: app });
  },
  bun() {
    const app = appFolder();
    // Sockets of Bun have no descriptor to be had.
    const wanted = { ...KERNEL, sendFile: 'copy', sendFileUnderLease: 'copy', splice: 'copy' };
    runs('bun', [join(toolFolder('runtimes'), 'node_modules/.bin/bun'), join(app, 'program.mjs')], wanted);
  },
  deno() {
    const app = appFolder();
    const deno = join(toolFolder('runtimes'), 'node_modules/.bin/deno');
    runs('deno', [deno, 'run', '--allow-all', join(app, 'program.mjs')], { ...DEGRADED, warnings: [] }, { cwd: app });
  },
};

const [runner] = process.argv.slice(2);
try {
  runners[runner]();
} catch (error) {
  told(runner, false, error.stack);
}
