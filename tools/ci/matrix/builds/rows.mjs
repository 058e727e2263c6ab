/** Rows about what other people's tools make of the packages; each runs a program of this folder for one of them. */
import { fileURLToPath } from 'node:url';

const program = (file, tool) => ({
  prepare: () => ({ program: [fileURLToPath(new URL(file, import.meta.url)), tool] }),
  projects: [],
});

export const buildRows = [
  ...['esbuild', 'rollup', 'webpack', 'ncc', 'vite', 'sea'].map((tool) => ({
    name: `bundlers: ${tool}`,
    time: '1 min',
    ...program('./bundlers.mjs', tool),
  })),
  ...[
    'resolvers',
    'jest',
    'vitest',
    'mocha',
    'node:test',
    'virtual files',
    'permission',
    'pnpm',
    'yarn pnp',
    'bun',
    'deno',
  ].map((tool) => ({ name: `runners: ${tool}`, time: '30 s', ...program('./runners.mjs', tool) })),
];
