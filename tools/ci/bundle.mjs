/**
 * Bundles the current package's entry points, its programs among them, into dist. A package of forty small modules costs
 * 40 ms to import, most of it in resolving files; as one or two files it costs a few. The types next to them are tsc's.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const { exports, bin = {} } = JSON.parse(readFileSync('package.json', 'utf8'));
const entryPoints = [...Object.values(exports).map((entry) => entry.default), ...Object.values(bin)]
  .filter((file) => file !== undefined)
  .map((file) => file.replace('./dist/', 'src/').replace(/\.js$/, '.ts'));
// What runs in a thread of its own, or is loaded when it is first needed, is a file of its own, next to the one that does so.
for (const file of readdirSync('src')) if (/\.(worker|lazy)\.ts$/.test(file)) entryPoints.push(join('src', file));

// Chunks are named by their content: those of an earlier build would stay, and be published.
for (const file of readdirSync('dist', { recursive: true })) {
  if (/\.js(\.map)?$/.test(file)) rmSync(join('dist', file));
}

await build({
  entryPoints,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  sourcemap: true,
  chunkNames: 'chunk-[hash]',
});
