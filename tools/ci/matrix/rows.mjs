/** The rows of the matrix: what each runs, where, and about how long it takes on two cores that have nothing else to do. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildRows } from './builds/rows.mjs';
import { findArm64, findNode } from './nodes.mjs';

const NOBODY = 65534;
const preload = (name) => `--import=${new URL(`./preloads/${name}.mjs`, import.meta.url)}`;
const smoke = fileURLToPath(new URL('./smoke.mjs', import.meta.url));

export const packages = readdirSync('packages').filter((name) => existsSync(join('packages', name, 'package.json')));
const everything = [...packages.map((name) => join('packages', name)), join('tools', 'conformance')];

/** Features by name, as ZEROCOPY_DISABLE takes them. */
async function featureNames() {
  const built = join('packages', 'core-syscalls', 'dist', 'index.js');
  if (!existsSync(built)) return [];
  return (await import(pathToFileURL(resolve(built)).href)).featureNames;
}

/** The projects whose sources ask for a feature, and those that stand on lease-guard and mmap-buffer where it is theirs. */
export function concernedBy(feature) {
  const asks = (name) =>
    readdirSync(join('packages', name, 'src'), { recursive: true })
      .filter((file) => file.endsWith('.ts'))
      .some((file) => {
        const source = readFileSync(join('packages', name, 'src', file), 'utf8');
        return (
          source.includes(`feature('${feature}')`) || (name !== 'core-syscalls' && source.includes(`'${feature}'`))
        );
      });
  const asking = packages.filter((name) => name !== 'core-syscalls' && asks(name));
  return ['core-syscalls', ...asking].map((name) => join('packages', name));
}

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {string} time about how long
 * @property {readonly string[]} projects whose tests are run
 * @property {() => { reason: string } | RowSetting} prepare why it cannot run, or how it is run
 *
 * @typedef {object} RowSetting
 * @property {string} [node]
 * @property {readonly string[]} [nodeArguments] of the process that runs ava, or the program
 * @property {readonly string[]} [avaArguments]
 * @property {Record<string, string>} [env]
 * @property {number} [uid]
 * @property {readonly string[]} [program] run instead of the tests: prints a line of JSON for each check
 */

/** @returns {Promise<readonly Row[]>} */
export async function allRows() {
  const isRoot = process.getuid?.() === 0;
  const here = () => ({});
  const withNode = (major) => () => {
    const { path, reason } = findNode(major);
    return path === undefined ? { reason } : { node: path };
  };
  const foreign = (name) => ({
    name: `as on ${name}`,
    time: '10 s',
    projects: [],
    prepare: () => ({
      nodeArguments: [preload('foreign')],
      // Where Windows keeps what is temporary.
      env: { ZEROCOPY_FOREIGN: name, TEMP: process.env.TMPDIR ?? '/tmp' },
      program: [smoke, 'copy'],
    }),
  });
  return [
    ...[20, 22, 24, 26].map((major) => ({
      name: `Node ${major}`,
      time: '3 min',
      projects: everything,
      prepare: withNode(major),
    })),
    {
      name: 'a normal user',
      time: '3 min',
      projects: everything,
      prepare: isRoot ? () => ({ uid: NOBODY, env: { HOME: '/tmp' } }) : here,
    },
    {
      name: 'root',
      time: '3 min',
      projects: everything,
      prepare: isRoot ? here : () => ({ reason: 'this run is not root' }),
    },
    {
      name: 'worker threads',
      time: '3 min',
      projects: packages.map((name) => join('packages', name)),
      // One after the other: some count the descriptors and threads of the process.
      prepare: () => ({
        nodeArguments: ['--expose-gc'],
        avaArguments: ['--worker-threads', '--concurrency=1'],
      }),
    },
    {
      name: 'everything turned off',
      time: '2 min',
      projects: everything,
      prepare: () => ({ env: { ZEROCOPY_DISABLE: 'all' } }),
    },
    ...(await featureNames()).map((feature) => {
      const projects = concernedBy(feature);
      return {
        name: `without ${feature}`,
        time: `${projects.length * 20} s`,
        projects,
        prepare: () => ({ env: { ZEROCOPY_DISABLE: feature } }),
      };
    }),
    {
      name: 'jitless',
      time: '6 min',
      projects: packages.map((name) => join('packages', name)),
      // Not the children that tests start: V8 warns of WebAssembly on their stderr.
      prepare: () => ({ avaArguments: ['--node-arguments=--jitless --no-expose-wasm'] }),
    },
    {
      name: 'a heap of 64 MiB',
      time: '3 min',
      projects: packages.map((name) => join('packages', name)),
      prepare: () => ({ avaArguments: ['--node-arguments=--max-old-space-size=64'] }),
    },
    {
      name: 'koffi missing',
      time: '2 min',
      projects: packages.map((name) => join('packages', name)),
      prepare: () => ({ env: { NODE_OPTIONS: preload('no-koffi') } }),
    },
    {
      name: 'koffi missing: smoke',
      time: '10 s',
      projects: [],
      prepare: () => ({ nodeArguments: [preload('no-koffi')], program: [smoke, 'copy'] }),
    },
    ...['darwin', 'win32', 'riscv64'].map(foreign),
    {
      name: 'arm64: smoke',
      time: '1 min',
      projects: [],
      prepare: () => {
        const { path, reason } = findArm64();
        return path === undefined ? { reason } : { node: path, program: [smoke, 'kernel'] };
      },
    },
    {
      name: 'arm64: core-syscalls',
      time: '3 min',
      projects: [join('packages', 'core-syscalls')],
      prepare: () => {
        const { path, reason } = findArm64();
        if (path === undefined) return { reason };
        // Children, ava's own included, are started by the script that calls the emulator.
        const env = { ZEROCOPY_NODE: path, NODE_OPTIONS: preload('wrapped') };
        return { node: path, env, avaArguments: ['--timeout=5m'] };
      },
    },
    ...buildRows,
  ];
}
