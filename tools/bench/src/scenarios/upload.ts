/** HTTP uploads to files. */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GB } from '../load/measure.js';
import { PollingClient, uploadedHash } from '../load/polling-client.js';
import type { Case, Contestant, Effort, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { bun, nginx } from '../servers/program-server.js';
import type { Server } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { KiB, MiB, sizeName } from './test-file.js';

interface UploadCase extends Case {
  readonly size: number;
}

const contestants: readonly Contestant[] = [
  {
    name: 'zerocopy',
    role: 'ours',
    description: 'pipeline(request, createSpliceWriteStream(path))',
    version: process.version,
  },
  {
    name: 'zerocopy-receive',
    role: 'ours',
    description: 'receiveFile(request, path)',
    version: process.version,
  },
  {
    name: 'zerocopy-disabled',
    role: 'fallback',
    description: 'pipeline(request, createSpliceWriteStream(path)) with ZEROCOPY_DISABLE=all',
    version: process.version,
  },
  {
    name: 'node',
    role: 'peer',
    description: 'pipeline(request, fs.createWriteStream(path))',
    version: process.version,
  },
  {
    name: 'bun',
    role: 'peer',
    description: 'Bun.serve, Bun.write(path, new Response(request.body))',
    version: bun.version(),
  },
  { name: 'nginx', role: 'peer', description: 'nginx, dav_methods PUT', version: nginx.version() },
];

function start(name: string, directory: string, pin: boolean): Promise<Server> {
  if (name === 'nginx') return nginx.start(directory, pin);
  if (name === 'bun') return bun.start(directory, pin);
  const disabled = name === 'zerocopy-disabled';
  const env: Record<string, string> = disabled ? { ZEROCOPY_DISABLE: 'all' } : {};
  return NodeServer.run('upload-process', [disabled ? 'zerocopy' : name, directory], { pin, env });
}

const TARGET = '/upload';
/** As for downloads: whoever is compiled on the way is to be compiled before. */
const WARM_UP_SIZES = [64 * KiB, MiB];
const WARM_UPS = 2000;
const WARM_UP_MS = 2000;

function warmUpWithUploads(server: Server, path: string): void {
  const client = new PollingClient(server.port);
  try {
    const startedAt = performance.now();
    for (let n = 0; n < WARM_UPS && performance.now() - startedAt < WARM_UP_MS; n++) {
      client.put(TARGET, WARM_UP_SIZES[n % WARM_UP_SIZES.length] as number);
      rmSync(path);
    }
  } finally {
    client.close();
  }
}

/** Files are written by the kernel's own threads for a while after a turn; these are the bytes of one turn at most. */
const turnSize = ({ turn }: Effort): number => turn * 400 * KiB;

const uploadTo = (name: string, title: string, about: string, parent: string): Scenario<UploadCase> => ({
  name,
  title,
  about: `${about} One kept-alive connection, one PUT after the other, each a new file; the client does not sleep.`,
  metrics: [
    { key: 'cpu', title: 'CPU of the server', unit: 's/GB', better: 'less' },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more' },
    { key: 'cpuOfUpload', title: 'CPU of an upload', unit: 'µs', better: 'less', tableOnly: true },
  ],
  baseline: 'node',
  axis: { title: 'size of the upload', kind: 'bytes' },
  contestants,
  reasons: {
    nginx:
      'nginx reads the request in C, and the body in pieces of up to 1 MiB into memory that it writes from at once, in its loop; a disk that is behind stops everybody. Ours writes on the thread pool, a hop for each MiB, and has node:http for each request.',
    bun: 'Bun parses the request in native code and writes from its own memory; a request costs node:http more than a small file does.',
  },
  cases: ({ name: effort }) =>
    (effort === 'quick' ? [64 * KiB, 256 * KiB, 16 * MiB] : [64 * KiB, 256 * KiB, MiB, 16 * MiB, 256 * MiB]).map(
      (size) => ({
        name: sizeName(size),
        group: '1 connection',
        x: size,
        size,
      }),
    ),
  turnEstimate: ({ size }, effort) => Math.max(size, turnSize(effort)) / 1e6,
  async open(_cases, effort, pin) {
    const directory = makeDirectory('upload', parent);
    const path = join(directory, TARGET);
    return {
      async enter(contestant) {
        const server = await start(contestant, directory, pin);
        warmUpWithUploads(server, path);
        return {
          async check({ size }) {
            const client = new PollingClient(server.port);
            try {
              client.put(TARGET, size);
              const stored = createHash('sha256').update(readFileSync(path)).digest('hex');
              if (stored !== uploadedHash(size)) throw new Error('other bytes than were sent are in the file');
            } finally {
              client.close();
              rmSync(path, { force: true });
            }
          },
          async turn({ size }) {
            const uploads = Math.max(1, Math.floor(turnSize(effort) / size));
            const client = new PollingClient(server.port);
            try {
              let seconds = 0;
              server.meter.read();
              for (let n = 0; n < uploads; n++) {
                const startedAt = performance.now();
                const { status } = client.put(TARGET, size);
                seconds += (performance.now() - startedAt) / 1000;
                if (status !== 201) throw new Error(`the server answered ${status}`);
                const stored = statSync(path).size;
                if (stored !== size) throw new Error(`${stored} bytes of ${size} were stored`);
                rmSync(path);
              }
              const { cpuSeconds } = server.meter.read();
              const bytes = uploads * size;
              return {
                cpu: cpuSeconds / (bytes / GB),
                throughput: bytes / GB / seconds,
                cpuOfUpload: (cpuSeconds * 1e6) / uploads,
              };
            } finally {
              client.close();
            }
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
});

const TMPFS = '/dev/shm';

export const uploads: readonly Scenario<UploadCase>[] = [
  uploadTo('upload', 'An upload to a disk', 'Bodies of HTTP requests into files of the temporary directory.', tmpdir()),
  ...(existsSync(TMPFS)
    ? [uploadTo('upload-memory', 'An upload to memory', 'Bodies of HTTP requests into files of a tmpfs.', TMPFS)]
    : []),
];
