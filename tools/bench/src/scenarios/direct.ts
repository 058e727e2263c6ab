/** Direct I/O: cold files past the page cache, and copies that leave it as it was. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { syscalls } from '@zerocopy/core-syscalls';
import { GB } from '../load/measure.js';
import type { DirectTask } from '../processes/direct-process.js';
import type { Case, Contestant, Entrant, Scenario, Values } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { versionOf } from '../servers/program-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { dropFromCache, GiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

interface DirectCase extends Case {
  readonly size: number;
  /** As of {@link DirectTask}. */
  readonly depth: number;
  readonly reads: number;
}

interface CacheCase extends Case {
  readonly size: number;
}

const PAGE = 4096;
const { version } = process;

/** Bytes of a file in the page cache. */
function resident(path: string): number {
  const fd = openSync(path, 'r');
  const counts = new BigUint64Array(5);
  const told = syscalls.cachestat(fd, BigUint64Array.of(0n, 0n), counts);
  closeSync(fd);
  return told < 0 ? Number.NaN : Number(counts[0]) * PAGE;
}

const contestants: readonly Contestant[] = [
  { name: 'zerocopy', role: 'ours', description: 'createDirectReadStream, DirectFile.read', version },
  { name: 'zerocopy-release', role: 'ours', description: 'the same, each chunk released after use', version },
  { name: 'zerocopy-4-mib', role: 'ours', description: 'the same, highWaterMark 4 MiB', version },
  { name: 'node', role: 'peer', description: 'fs.createReadStream, FileHandle.read', version },
  { name: 'node-1-mib', role: 'peer', description: 'the same, highWaterMark 1 MiB', version },
  {
    name: 'dd',
    role: 'reference',
    description: 'dd iflag=direct bs=1M of=/dev/null, starting its process included',
    version: versionOf(['dd', '--version'], /\) ([\d.]+)/),
  },
];

export const direct: Scenario<DirectCase> = {
  name: 'direct',
  title: 'Past the page cache',
  about:
    'A cold file in the temporary directory (TMPDIR says where) is read from its start to its end, or in random blocks of 4 KiB with several requests under way. CPU of the process by its own clock; what the page cache has of the file afterwards.',
  metrics: [
    { key: 'cpu', title: 'CPU', unit: 's/GB', better: 'less' },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more' },
    { key: 'rate', title: 'requests', unit: '1/s', better: 'more', tableOnly: true },
    { key: 'cache', title: 'page cache', unit: 'MiB', better: 'less', tableOnly: true },
  ],
  baseline: 'node',
  contestants,
  reasons: {
    'node-1-mib':
      'With as large requests Node reads ahead by itself; what it leaves is the page cache full of the file.',
    dd: 'dd reads into one buffer again and again, and shows its bytes to nobody.',
  },
  cases({ name }) {
    const size = name === 'quick' ? 256 * MiB : name === 'normal' ? GiB : 2 * GiB;
    const reads = name === 'quick' ? 2000 : 20_000;
    return [
      { name: `${sizeName(size)}, from start to end`, size, depth: 0, reads: 0 },
      ...[1, 8, 32].map((depth) => ({ name: `4 KiB at random, ${depth} at once`, size, depth, reads })),
    ];
  },
  turnEstimate: ({ depth, size, reads }) => (depth === 0 ? size / 5e5 : reads / 8),
  async open(cases, _effort, pin) {
    const directory = makeDirectory('direct');
    const file = writeTestFile(join(directory, 'file'), Math.max(...cases.map(({ size }) => size)));
    const cold = (): void => dropFromCache(file.path);
    const taskOf = ({ depth, reads }: DirectCase): DirectTask => ({ path: file.path, depth, reads, size: file.size });
    return {
      async enter(name) {
        if (name === 'dd') return byDd(file, cold);
        const server = await NodeServer.run('direct-process', [name], { pin });
        return {
          async check() {
            const { start } = await server.task('hash', { path: file.path });
            if (start !== Number.parseInt(file.sha256.slice(0, 8), 16)) throw new Error('it has read other bytes');
          },
          async turn(one) {
            if (one.depth > 0 && name !== 'zerocopy' && name !== 'node') return {};
            cold();
            const { seconds = 0, cpu = 0 } = await server.task('read', taskOf(one));
            return valuesOf(one, file, seconds, cpu);
          },
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

function valuesOf({ depth, reads }: DirectCase, file: TestFile, seconds: number, cpu: number): Values {
  const bytes = depth === 0 ? file.size : reads * PAGE;
  const values = { cpu: cpu / (bytes / GB), throughput: bytes / GB / seconds, cache: resident(file.path) / MiB };
  return depth === 0 ? values : { ...values, rate: reads / seconds };
}

function byDd(file: TestFile, cold: () => void): Entrant<DirectCase> {
  return {
    async check() {},
    async turn({ depth }) {
      if (depth > 0) return {};
      cold();
      const startedAt = performance.now();
      const { status, stderr } = spawnSync('dd', [`if=${file.path}`, 'of=/dev/null', 'bs=1M', 'iflag=direct']);
      if (status !== 0) throw new Error(String(stderr));
      const seconds = (performance.now() - startedAt) / 1000;
      return { throughput: file.size / GB / seconds, cache: resident(file.path) / MiB };
    },
    async close() {},
  };
}

export const cacheDrop: Scenario<CacheCase> = {
  name: 'cache-drop',
  title: 'A copy that leaves the page cache as it was',
  about:
    'A cold file is copied while a working set of another file is resident. CPU of the process by its own clock: with drop the dirty pages are written back by its threads, and otherwise later by the kernel’s. What the page cache has afterwards of source and copy, and of the working set.',
  metrics: [
    { key: 'cpu', title: 'CPU', unit: 's/GB', better: 'less' },
    { key: 'cache', title: 'left in the page cache', unit: 'MiB', better: 'less' },
    { key: 'kept', title: 'working set resident', unit: '%', better: 'more', tableOnly: true },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more', tableOnly: true },
  ],
  baseline: 'keep',
  contestants: [
    { name: 'drop', role: 'ours', description: "copyFile(from, to, { cache: 'drop' })", version },
    { name: 'keep', role: 'ours', description: 'copyFile(from, to)', version },
  ],
  cases({ name }) {
    const size = name === 'quick' ? 256 * MiB : name === 'normal' ? GiB : 10 * GiB;
    return [{ name: sizeName(size), size }];
  },
  turnEstimate: ({ size }) => size / 3e5,
  async open(cases, _effort, pin) {
    const directory = makeDirectory('cache-drop');
    const size = Math.max(...cases.map((one) => one.size));
    const source = writeTestFile(join(directory, 'source'), size);
    const working = writeTestFile(join(directory, 'working-set'), Math.min(GiB, size));
    const target = join(directory, 'copy');
    return {
      async enter(name) {
        const server = await NodeServer.run('direct-process', [name], { pin });
        return {
          async check() {},
          async turn() {
            dropFromCache(source.path);
            readAll(working.path);
            try {
              const task = { from: source.path, to: target, cache: name };
              const { seconds = 0, cpu = 0 } = await server.task('copy', task);
              return {
                cpu: cpu / (size / GB),
                throughput: size / GB / seconds,
                cache: (resident(source.path) + resident(target)) / MiB,
                kept: (100 * resident(working.path)) / working.size,
              };
            } finally {
              rmSync(target, { force: true });
            }
          },
          close: () => server.stop(),
        };
      },
      async close() {
        removeDirectory(directory);
      },
    };
  },
};

function readAll(path: string): void {
  const fd = openSync(path, 'r');
  const buffer = Buffer.allocUnsafe(MiB);
  while (readSync(fd, buffer) > 0);
  closeSync(fd);
}
