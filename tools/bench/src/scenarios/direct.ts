/** Direct I/O: cold files past the page cache. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { GB } from '../load/measure.js';
import type { DirectTask } from '../processes/direct-process.js';
import type { Case, Contestant, Entrant, Scenario, Values } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { versionOf } from '../servers/program-server.js';
import { pinned } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { dropFromCache, GiB, MiB, residentBytes, sizeName, type TestFile, writeTestFile } from './test-file.js';

interface DirectCase extends Case {
  readonly size: number;
  /** As of {@link DirectTask}. */
  readonly depth: number;
  readonly reads: number;
}

const PAGE = 4096;
const { version } = process;

const contestants: readonly Contestant[] = [
  { name: 'zerocopy', role: 'ours', description: 'createDirectReadStream, DirectFile.read', version },
  { name: 'zerocopy-into', role: 'ours', description: 'DirectFile.readInto, into the same memory again', version },
  { name: 'zerocopy-release', role: 'ours', description: 'the same, each chunk released after use', version },
  { name: 'zerocopy-4-mib', role: 'ours', description: 'the same, highWaterMark 4 MiB', version },
  { name: 'zerocopy-disabled', role: 'fallback', description: 'the same with ZEROCOPY_DISABLE=direct-io', version },
  { name: 'node', role: 'peer', description: 'fs.createReadStream, FileHandle.read', version },
  { name: 'node-1-mib', role: 'peer', description: 'the same, highWaterMark 1 MiB', version },
  {
    name: 'dd',
    role: 'reference',
    description: 'dd iflag=direct bs=1M of=/dev/null, starting its process included',
    version: versionOf(['dd', '--version'], /\) ([\d.]+)/),
  },
  {
    name: 'fio',
    role: 'reference',
    description: 'fio --ioengine=io_uring --direct=1 --rw=randread: what the disk gives',
    version: versionOf(['fio', '--version'], /fio-([\d.]+)/),
  },
];

/** Of whom there are random reads, streams, or both. */
const READERS = ['zerocopy', 'zerocopy-into', 'zerocopy-disabled', 'node'];
const STREAMS = ['zerocopy', 'zerocopy-release', 'zerocopy-4-mib', 'zerocopy-disabled', 'node', 'node-1-mib'];

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
    dd: 'dd reads into one buffer again and again, and shows its bytes to nobody: its CPU is what the kernel takes for direct reads.',
    fio: 'fio reads into the same memory again and again, and shows its bytes to nobody.',
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
        if (name === 'dd') return byDd(file, cold, pin);
        if (name === 'fio') return byFio(file, cold, pin);
        const env = name === 'zerocopy-disabled' ? { ZEROCOPY_DISABLE: 'direct-io' } : {};
        const server = await NodeServer.run('direct-process', [name], { pin, env });
        return {
          async check() {
            if (!STREAMS.includes(name)) return;
            const { start } = await server.task('hash', { path: file.path });
            if (start !== Number.parseInt(file.sha256.slice(0, 8), 16)) throw new Error('it has read other bytes');
          },
          async turn(one) {
            if (!(one.depth > 0 ? READERS : STREAMS).includes(name)) return {};
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
  const values = { cpu: cpu / (bytes / GB), throughput: bytes / GB / seconds, cache: residentBytes(file.path) / MiB };
  return depth === 0 ? values : { ...values, rate: reads / seconds };
}

const TIMED_DD = 'dd if="$1" of=/dev/null bs=1M iflag=direct && times';

/** Seconds that the children of a shell took, as its `times` tells on the second line: user and system. */
function cpuOfChildren(times: string): number {
  const [, children = ''] = times.trim().split('\n');
  const parts = [...children.matchAll(/(\d+)m([\d.]+)s/g)];
  if (parts.length !== 2)
    throw new Error(`the shell's times were to be two lines of two, and are ${JSON.stringify(times)}`);
  return parts.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
}

function byDd(file: TestFile, cold: () => void, pin: boolean): Entrant<DirectCase> {
  return {
    async check() {},
    async turn({ depth }) {
      if (depth > 0) return {};
      cold();
      const startedAt = performance.now();
      const [program, ...args] = pinned(['sh', '-c', TIMED_DD, 'sh', file.path], pin);
      const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(stderr);
      const seconds = (performance.now() - startedAt) / 1000;
      const cpu = cpuOfChildren(stdout);
      return {
        cpu: cpu / (file.size / GB),
        throughput: file.size / GB / seconds,
        cache: residentBytes(file.path) / MiB,
      };
    },
    async close() {},
  };
}

interface FioReport {
  readonly jobs: readonly { readonly usr_cpu: number; readonly sys_cpu: number; readonly job_runtime: number }[];
}

function byFio(file: TestFile, cold: () => void, pin: boolean): Entrant<DirectCase> {
  return {
    async check() {},
    async turn(one) {
      const { depth, reads } = one;
      if (depth === 0) return {};
      cold();
      const options = ['name=fio', `filename=${file.path}`, 'readonly', 'rw=randread', `bs=${PAGE}`, 'direct=1'];
      const engine = ['ioengine=io_uring', `iodepth=${depth}`, `number_ios=${reads}`, 'output-format=json'];
      const [program, ...args] = pinned(['fio', ...[...options, ...engine].map((option) => `--${option}`)], pin);
      const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(stderr);
      const [job] = (JSON.parse(stdout) as FioReport).jobs;
      if (job === undefined) throw new Error('fio did not report');
      const seconds = job.job_runtime / 1000;
      return valuesOf(one, file, seconds, (seconds * (job.usr_cpu + job.sys_cpu)) / 100);
    },
    async close() {},
  };
}
