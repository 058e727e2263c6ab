/** Tools that rows of the matrix need, and nobody else: installed from npm when they are first asked for, and kept. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { npmInstall } from '../../installed.mjs';
import { root } from '../../repository-text.mjs';

const SETS = {
  bundlers: [
    'esbuild@0.25',
    'rollup@4',
    '@rollup/plugin-node-resolve@16',
    'webpack@5',
    '@vercel/ncc@0.38',
    'vite@7',
    'postject@1.0.0-alpha.6',
  ],
  managers: ['pnpm@9', '@yarnpkg/cli-dist@4'],
  runtimes: ['bun@1', 'deno@2'],
};

/** The folder whose node_modules has a set of tools. */
export function toolFolder(set) {
  const folder = join(root, 'node_modules', '.cache', 'matrix-tools', set);
  const installed = join(folder, 'installed.json');
  const wanted = JSON.stringify(SETS[set]);
  if (existsSync(installed) && readFileSync(installed, 'utf8') === wanted) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  npmInstall(folder, SETS[set]);
  writeFileSync(installed, wanted);
  return folder;
}
