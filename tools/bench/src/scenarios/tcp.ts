/** A file to a plain TCP socket. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { fetchFile } from '../load/fetch-file.js';
import { GB } from '../load/measure.js';
import type { Case, Contestant, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { KiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

interface TcpCase extends Case {
  readonly size: number;
}

const way = (name: string, role: Contestant['role'], description: string): Contestant => ({
  name,
  role,
  description,
  version: process.version,
});

export const tcp: Scenario<TcpCase> = {
  name: 'tcp',
  title: 'A file over plain TCP',
  about: 'A connection for each file; the server sends it and ends the connection. Polling client, payload discarded.',
  metrics: [
    { key: 'cpu', title: 'CPU of the server', unit: 's/GB', better: 'less' },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more' },
    { key: 'files', title: 'files', unit: '1/s', better: 'more', tableOnly: true },
  ],
  baseline: 'node',
  axis: { title: 'size of the file', kind: 'bytes' },
  contestants: [
    way('zerocopy', 'ours', 'pipeline(createSendfileStream(path), socket)'),
    way('zerocopy-sendFile', 'ours', 'sendFile(socket, path)'),
    way('zerocopy-mmap', 'ours', 'pipeline(createMmapReadStream(path), socket)'),
    way('zerocopy-disabled', 'fallback', 'pipeline(createSendfileStream(path), socket) with ZEROCOPY_DISABLE=all'),
    way('node', 'peer', 'pipeline(fs.createReadStream(path), socket)'),
    way('floor', 'reference', 'a bare koffi sendfile loop'),
  ],
  cases: ({ name }) =>
    (name === 'quick' ? [64 * KiB, 16 * MiB] : [KiB, 16 * KiB, 64 * KiB, MiB, 16 * MiB, 256 * MiB]).map((size) => ({
      name: sizeName(size),
      group: '1 connection for each',
      x: size,
      size,
    })),
  turnEstimate: ({ size }, effort) => Math.max(effort.turn, size / 2e6),
  async open(cases, effort, pin) {
    const directory = makeDirectory('tcp');
    const files = new Map<number, TestFile>();
    for (const { size } of cases) files.set(size, writeTestFile(join(directory, String(size)), size));
    return {
      async enter(name) {
        const env: Record<string, string> = name === 'zerocopy-disabled' ? { ZEROCOPY_DISABLE: 'all' } : {};
        const server = await NodeServer.run('tcp-process', [name, directory], { pin, env });
        return {
          async check({ size }) {
            const hash = createHash('sha256');
            const bytes = fetchFile(server.port, String(size), (part) => hash.update(part));
            if (bytes !== size || hash.digest('hex') !== files.get(size)?.sha256) {
              throw new Error(`${bytes} bytes of ${size} arrived, or others`);
            }
          },
          async turn({ size }) {
            server.meter.read();
            const startedAt = performance.now();
            let bytes = 0;
            let sent = 0;
            do {
              bytes += fetchFile(server.port, String(size));
              sent++;
            } while (performance.now() - startedAt < effort.turn);
            const seconds = (performance.now() - startedAt) / 1000;
            const { cpuSeconds } = server.meter.read();
            if (bytes !== sent * size) throw new Error(`${bytes} bytes arrived for ${sent} files of ${size}`);
            return { cpu: cpuSeconds / (bytes / GB), throughput: bytes / GB / seconds, files: sent / seconds };
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
