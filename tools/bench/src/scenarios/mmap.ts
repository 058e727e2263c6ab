/** A file as memory, against reading it. */

import { join } from 'node:path';
import { moduleVersion } from '../processes/http-contestants.js';
import type { Case, Contestant, Metric, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { MiB, writeTestFile } from './test-file.js';

/** What mmap-process.ts looks for. */
const SEARCHED_BYTE = 10;

interface MmapCase extends Case {
  readonly task: 'random' | 'search' | 'open' | 'stream';
}

const contestants: readonly Contestant[] = [
  { name: 'zerocopy', role: 'ours', description: 'mapFile, createMmapReadStream', version: process.version },
  { name: 'zerocopy-trap', role: 'ours', description: "mapFile with guard 'trap': no lease", version: process.version },
  {
    name: 'zerocopy-disabled',
    role: 'fallback',
    description: 'the same with ZEROCOPY_DISABLE=all',
    version: process.version,
  },
  { name: 'node', role: 'peer', description: 'fs.readSync, readFileSync, createReadStream', version: process.version },
  {
    name: 'mmap-io',
    role: 'peer',
    description: '@riaskov/mmap-io: no guard, closed by the collector',
    version: moduleVersion('@riaskov/mmap-io'),
  },
];

const TIME: Metric = { key: 'microseconds', title: 'time', unit: 'µs', better: 'less' };

const reasons = {
  'mmap-io':
    'mmap-io maps and does nothing else: no SIGBUS trap, no lease, no watch for truncation, and the mapping stays until the Buffer is collected. A file that shrinks under it ends the process.',
  node: 'Opening through the thread pool and mapping, guarding and unmapping take a few system calls more than open and close.',
};

function mmapScenario(
  name: string,
  title: string,
  about: string,
  tasks: readonly MmapCase[],
  metrics: readonly Metric[],
  who: readonly Contestant[],
): Scenario<MmapCase> {
  return {
    name,
    title,
    about,
    metrics,
    baseline: 'node',
    contestants: who,
    reasons,
    cases: () => tasks,
    turnEstimate: ({ task }, effort) =>
      Math.max(effort.turn, { random: 300, search: 150, open: 50, stream: 400 }[task]),
    async open(_cases, effort, pin) {
      const directory = makeDirectory('mmap');
      const size = (effort.name === 'quick' ? 64 : 256) * MiB;
      const { path, sha256 } = writeTestFile(join(directory, 'file'), size, SEARCHED_BYTE);
      return {
        async enter(contestant) {
          const env: Record<string, string> = contestant === 'zerocopy-disabled' ? { ZEROCOPY_DISABLE: 'all' } : {};
          const server = await NodeServer.run('mmap-process', [contestant, path], { pin, env });
          return {
            async check() {
              await server.task('check', sha256);
            },
            turn: ({ task }) => server.task(task, effort.turn),
            method: async () => (await server.details()).method,
            close: () => server.stop(),
          };
        },
        async close() {
          removeDirectory(directory);
        },
      };
    },
  };
}

const size = 'of 256 MiB (64 in a quick run)';

export const mmapScenarios: readonly Scenario<MmapCase>[] = [
  mmapScenario(
    'mmap-random',
    'Random reads',
    `4 KiB from random places of a warm file ${size} into a Buffer. The disabled packages read the whole file when it is opened.`,
    [{ name: 'one read of 4 KiB', task: 'random' }],
    [TIME],
    contestants.filter(({ name }) => name !== 'zerocopy-trap'),
  ),
  mmapScenario(
    'mmap-scan',
    'A whole file searched',
    `A warm file ${size} opened, searched for a byte that it does not have, and closed.`,
    [{ name: 'open, search, close', task: 'search' }],
    [TIME],
    contestants.filter(({ name }) => name !== 'zerocopy-trap'),
  ),
  mmapScenario(
    'mmap-open',
    'Opening and closing',
    `A warm file ${size} opened (mapped) and closed (unmapped), and nothing else: what a mapping costs before it is of any use.`,
    [{ name: 'open and close', task: 'open' }],
    [TIME],
    contestants.filter(({ name }) => name !== 'zerocopy-disabled'),
  ),
  mmapScenario(
    'mmap-stream',
    'A file streamed and searched',
    `A warm file ${size} through a stream, every chunk searched. Memory is what belongs to the process and to no file, more than before.`,
    [{ name: 'the whole file', task: 'stream' }],
    [TIME, { key: 'anonymous', title: 'peak of anonymous memory', unit: 'bytes', better: 'less', tableOnly: true }],
    contestants.filter(({ name }) => name !== 'mmap-io' && name !== 'zerocopy-trap'),
  ),
];
