/**
 * Bundles program.mjs with one bundler, in each way that is said to work, and runs what comes of it in a folder that has
 * nothing else. Prints a line of JSON for each: `{ name, passed, reason }`. Argument: the bundler.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { installedFolder, temporaryFolder } from '../../installed.mjs';
import { DEGRADED, KERNEL, runs, told } from './outcome.mjs';
import { toolFolder } from './tools.mjs';

const app = installedFolder('bundled');
const entry = join(app, 'program.mjs');
copyFileSync(fileURLToPath(new URL('./program.mjs', import.meta.url)), entry);
const koffiAddon = (from) =>
  join(from, 'node_modules', '@koromix', `koffi-linux-${process.arch}`, `linux_${process.arch}`, 'koffi.node');

/** Where koffi is put, beside the bundle. */
const places = {
  'in node_modules': (out, from) => {
    for (const name of ['koffi', '@koromix'])
      cpSync(join(from, 'node_modules', name), join(out, 'node_modules', name), { recursive: true });
  },
  'as koffi.node': (out, from) => copyFileSync(koffiAddon(from), join(out, 'koffi.node')),
  nowhere: () => {},
};

const tools = () => toolFolder('bundlers');
const load = async (name) => {
  const require = createRequire(join(tools(), 'package.json'));
  const module = await import(pathToFileURL(require.resolve(name)).href);
  return module.default?.build ?? module.default?.rollup ?? module.build ?? module.rollup ?? module.default ?? module;
};

const extension = { esm: 'mjs', cjs: 'cjs' };

/** Each puts a bundle into `out` and returns the command that runs it. */
const bundlers = {
  async esbuild(out, format) {
    const build = await load('esbuild');
    const outfile = join(out, `bundle.${extension[format]}`);
    await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format, logLevel: 'error' });
    return [process.execPath, outfile];
  },
  async rollup(out, format) {
    const rollup = await load('rollup');
    const resolve = await load('@rollup/plugin-node-resolve');
    const file = join(out, `bundle.${extension[format]}`);
    const warnings = [];
    const bundle = await rollup({
      input: entry,
      plugins: [resolve({ preferBuiltins: true })],
      onwarn: (warning) => warnings.push(warning),
    });
    await bundle.write({ file, format, inlineDynamicImports: true });
    await bundle.close();
    const serious = warnings.filter(({ code }) => code !== 'CIRCULAR_DEPENDENCY' && code !== 'THIS_IS_UNDEFINED');
    if (serious.length > 0) throw new Error(serious.map(({ message }) => message).join('\n'));
    return [process.execPath, file];
  },
  async webpack(out, format) {
    const webpack = await load('webpack');
    const filename = `bundle.${extension[format]}`;
    const configuration = {
      mode: 'production',
      target: 'node20',
      context: app,
      entry,
      output: { path: out, filename, ...(format === 'esm' ? { module: true, chunkFormat: 'module' } : {}) },
      experiments: { outputModule: format === 'esm' },
    };
    const stats = await new Promise((resolve, reject) => {
      webpack(configuration, (error, result) => (error ? reject(error) : resolve(result)));
    });
    if (stats.hasErrors()) throw new Error(stats.toString('errors-only'));
    return [process.execPath, join(out, filename)];
  },
  async ncc(out, format) {
    const cli = createRequire(join(tools(), 'package.json')).resolve('@vercel/ncc/dist/ncc/cli.js');
    const target = format === 'esm' ? entry : join(app, 'bundled.cjs');
    // ncc makes CommonJS of CommonJS, and ES modules of ES modules.
    if (format === 'cjs') {
      const build = await load('esbuild');
      await build({
        entryPoints: [entry],
        outfile: target,
        format,
        platform: 'node',
        packages: 'external',
        bundle: true,
      });
    }
    execFileSync(process.execPath, [cli, 'build', target, '-o', out, '--no-cache', '-q'], { cwd: app });
    const files = ['index.mjs', 'index.cjs', 'index.js'].map((name) => join(out, name));
    return [process.execPath, files.find((path) => existsSync(path))];
  },
  async vite(out, format) {
    const build = await load('vite');
    await build({
      root: app,
      logLevel: 'error',
      build: {
        ssr: entry,
        outDir: out,
        emptyOutDir: false,
        rollupOptions: { output: { format, entryFileNames: `bundle.${extension[format]}` } },
      },
      ssr: { noExternal: true },
    });
    return [process.execPath, join(out, `bundle.${extension[format]}`)];
  },
  /** A single executable application, by Node itself, of what esbuild makes. */
  async sea(out) {
    const build = await load('esbuild');
    const work = temporaryFolder('sea');
    const main = join(work, 'main.cjs');
    await build({
      entryPoints: [entry],
      outfile: main,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      logLevel: 'error',
    });
    const blob = join(work, 'blob');
    const configuration = {
      main,
      output: blob,
      disableExperimentalSEAWarning: true,
      assets: { 'koffi.node': koffiAddon(app) },
    };
    writeFileSync(join(work, 'sea.json'), JSON.stringify(configuration));
    execFileSync(process.execPath, ['--experimental-sea-config', join(work, 'sea.json')], { stdio: 'ignore' });
    const executable = join(out, 'app');
    copyFileSync(process.execPath, executable);
    chmodSync(executable, 0o755);
    const postject = createRequire(join(tools(), 'package.json'))('postject');
    await postject.inject(executable, 'NODE_SEA_BLOB', readFileSync(blob), {
      sentinelFuse: 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
    });
    return [executable];
  },
};

const [bundler] = process.argv.slice(2);
for (const format of bundler === 'sea' ? ['cjs'] : ['esm', 'cjs']) {
  const out = temporaryFolder('out');
  let command;
  try {
    command = await bundlers[bundler](out, format);
  } catch (error) {
    told(`${bundler}, ${format}`, false, error.stack);
    continue;
  }
  // As on another machine: what was installed is no longer where it was.
  renameSync(app, `${app}-away`);
  for (const [place, put] of Object.entries(places)) {
    const there = temporaryFolder('there');
    cpSync(out, there, { recursive: true });
    put(there, `${app}-away`);
    const isEmbedded = bundler === 'sea' && place === 'nowhere';
    const name = `${bundler}, ${format}, koffi ${isEmbedded ? 'as an asset' : place}`;
    runs(
      name,
      command.map((part) => part.replace(out, there)),
      place === 'nowhere' && !isEmbedded ? DEGRADED : KERNEL,
    );
    if (bundler === 'sea') runs(`${name}, called by a relative path`, ['./app'], KERNEL, { cwd: there });
  }
  renameSync(`${app}-away`, app);
}
