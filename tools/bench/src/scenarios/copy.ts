/** Copies of files, on a filesystem and across two. */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { GB } from '../load/measure.js';
import type { Case, Contestant, Entrant, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { versionOf } from '../servers/program-server.js';
import { pinned } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { GiB, KiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

interface CopyCase extends Case {
  readonly size: number;
  /** The directory to copy to. */
  readonly to: 'same' | 'memory';
}

const TMPFS = '/dev/shm';
/** Copies before the first that counts: whoever is compiled on the way is to be compiled before. */
const WARM_UPS = 300;
const cpVersion = versionOf(['cp', '--version'], /\) ([\d.]+)/);

const contestants: readonly Contestant[] = [
  { name: 'zerocopy', role: 'ours', description: 'copyFile(from, to) of file-copy', version: process.version },
  {
    name: 'zerocopy-never',
    role: 'ours',
    description: "copyFile(from, to, { reflink: 'never' })",
    version: process.version,
  },
  {
    name: 'zerocopy-disabled',
    role: 'fallback',
    description: 'copyFile(from, to) with ZEROCOPY_DISABLE=all',
    version: process.version,
  },
  { name: 'node', role: 'peer', description: 'fs.promises.copyFile(from, to)', version: process.version },
  { name: 'cp', role: 'peer', description: 'coreutils cp, starting its process included', version: cpVersion },
  {
    name: 'cp-never',
    role: 'peer',
    description: 'coreutils cp --reflink=never, starting its process included',
    version: cpVersion,
  },
  {
    name: 'floor',
    role: 'reference',
    onlyIfNamed: true,
    description: 'open, FICLONE, close: where the filesystem has reflinks',
    version: process.version,
  },
];

const hashOf = async (path: string): Promise<string> => {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
};

type Copy = (from: string, to: string) => Promise<number>;

function cpBy(options: readonly string[], pin: boolean): Copy {
  return async (from, to) => {
    const [program, ...args] = pinned(['cp', ...options, from, to], pin);
    const startedAt = performance.now();
    const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    if (status !== 0) throw error ?? new Error(stderr);
    return performance.now() - startedAt;
  };
}

export const copy: Scenario<CopyCase> = {
  name: 'copy',
  title: 'Copying a file',
  about:
    'A warm file, copied to a new one in the temporary directory (TMPDIR says where); the time until the call has returned. Nothing waits for the disk: that is the kernel’s to do later, for everybody alike.',
  metrics: [
    { key: 'milliseconds', title: 'time', unit: 'ms', better: 'less' },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more', tableOnly: true },
  ],
  baseline: 'node',
  contestants,
  reasons: {
    node: 'Node copies in one call on one pool thread. Ours looks at both files first, keeps holes, tells its progress and can be aborted, which takes several calls, each a hop to the pool of some 15 µs; across filesystems splice moves a pipe at a time.',
    cp: 'cp asks for everything at once and looks at nothing meanwhile; ours stops now and then for progress and abort.',
    'cp-never': 'cp reads and writes 256 KiB at a time, which is as good as splicing pages that must be copied anyway.',
  },
  cases({ name }) {
    const sizes = name === 'quick' ? [64 * MiB] : name === 'normal' ? [64 * KiB, 512 * MiB] : [64 * KiB, 16 * MiB, GiB];
    const places = existsSync(TMPFS) ? (['same', 'memory'] as const) : (['same'] as const);
    return places.flatMap((to) =>
      sizes.map((size) => ({
        name: `${sizeName(size)}, ${to === 'same' ? 'on one filesystem' : 'to a tmpfs'}`,
        size,
        to,
      })),
    );
  },
  turnEstimate: ({ size }) => size / 2e6 + 5,
  async open(cases, _effort, pin) {
    const directory = makeDirectory('copy');
    const memory = existsSync(TMPFS) ? makeDirectory('copy', TMPFS) : undefined;
    const files = new Map<number, TestFile>();
    for (const { size } of cases) {
      if (!files.has(size)) files.set(size, writeTestFile(join(directory, String(size)), size));
    }
    const entrant = (copyOne: Copy, server?: NodeServer): Entrant<CopyCase> => {
      const once = async ({ size, to }: CopyCase, use?: (path: string) => Promise<void>): Promise<number> => {
        const target = join(to === 'memory' && memory !== undefined ? memory : directory, 'copy');
        try {
          const milliseconds = await copyOne((files.get(size) as TestFile).path, target);
          await use?.(target);
          return milliseconds;
        } finally {
          rmSync(target, { force: true });
        }
      };
      return {
        async check(one) {
          await once(one, async (path) => {
            if ((await hashOf(path)) !== files.get(one.size)?.sha256) throw new Error('the copy has other bytes');
          });
        },
        async turn(one) {
          const times: number[] = [];
          // Small ones several times: a single small copy is all noise.
          for (let n = 0; n < (one.size < MiB ? 20 : 1); n++) times.push(await once(one));
          times.sort((a, b) => a - b);
          const milliseconds = times[times.length >> 1] as number;
          return { milliseconds, throughput: one.size / GB / (milliseconds / 1000) };
        },
        method: async () => (server === undefined ? 'its own' : (await server.details()).method),
        close: async () => server?.stop(),
      };
    };
    return {
      async enter(name) {
        if (name === 'cp') return entrant(cpBy([], pin));
        if (name === 'cp-never') return entrant(cpBy(['--reflink=never'], pin));
        const env: Record<string, string> = name === 'zerocopy-disabled' ? { ZEROCOPY_DISABLE: 'all' } : {};
        const server = await NodeServer.run('copy-process', [name], { pin, env });
        const small = writeTestFile(join(directory, 'small'), KiB);
        for (let n = 0; n < WARM_UPS; n++) await server.task('copy', { from: small.path, to: join(directory, 'warm') });
        return entrant(
          async (from, to) => (await server.task('copy', { from, to })).milliseconds ?? Number.NaN,
          server,
        );
      },
      async close() {
        for (const one of [directory, memory]) if (one !== undefined) removeDirectory(one);
      },
    };
  },
};
