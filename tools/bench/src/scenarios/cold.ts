/** Many downloads at once of files that are not in memory: how late the loop is, how fast they come, and at what cost. */

import { join } from 'node:path';
import { GB, warmUp } from '../load/measure.js';
import { hashOfDownload } from '../load/polling-client.js';
import type { Case, Effort, Scenario } from '../race/scenario.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { everyHttpContestant, loadMeasured, SMALL, startHttp } from './http.js';
import { dropFromCache, KiB, MiB, type TestFile, writeTestFile } from './test-file.js';

interface ColdCase extends Case {
  readonly files: number;
  readonly size: number;
}

const CONTESTANTS = ['zerocopy', 'zerocopy-sendFile', 'zerocopy-disabled', 'node', 'send', 'nginx'];

const sizeOf = ({ name }: Effort): number => (name === 'quick' ? 2 : 8) * MiB;

export const cold: Scenario<ColdCase> = {
  name: 'cold',
  title: 'Cold files, and the event loop meanwhile',
  about:
    'Files that the page cache does not have (posix_fadvise, POSIX_FADV_DONTNEED before each turn), each downloaded once, all at the same time. The loop’s delay is the 99th percentile of monitorEventLoopDelay in the serving process.',
  metrics: [
    { key: 'delay', title: 'delay of the event loop, p99', unit: 'ms', better: 'less' },
    { key: 'cpu', title: 'CPU of the server', unit: 's/GB', better: 'less' },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more', tableOnly: true },
  ],
  baseline: 'node',
  contestants: everyHttpContestant.filter(({ name }) => CONTESTANTS.includes(name)),
  reasons: {
    nginx:
      'nginx without threads reads the disk in its loop: it spends less CPU, and nothing else is served meanwhile.',
  },
  cases(effort) {
    const size = sizeOf(effort);
    return [1, 64].map((files) => ({
      name: files === 1 ? `1 file of ${size / MiB} MiB` : `${files} files of ${size / MiB} MiB at once`,
      files,
      size,
    }));
  },
  turnEstimate: ({ files, size }, effort) => Math.max(effort.turn, (files * size) / 1e6),
  async open(cases, _effort, pin) {
    const directory = makeDirectory('cold');
    const files: TestFile[] = [];
    for (let n = 0; n < Math.max(...cases.map((one) => one.files)); n++) {
      files.push(writeTestFile(join(directory, String(n)), cases[0]?.size ?? MiB));
    }
    writeTestFile(join(directory, SMALL), 4 * KiB);
    const target = (n: number): string => `/${n}`;
    return {
      async enter(name) {
        const server = await startHttp(name, directory, pin);
        warmUp(server, SMALL);
        return {
          async check(one) {
            const last = one.files - 1;
            const { sha256 } = hashOfDownload(server.port, target(last));
            if (sha256 !== files[last]?.sha256) throw new Error('other bytes than the file’s arrived');
          },
          async turn(one) {
            for (const { path } of files.slice(0, one.files)) dropFromCache(path);
            await server.details(true); // starts the delay anew
            const { usage, result } = loadMeasured(server, { connections: one.files, duration: 0, target });
            const { loopDelayP99 } = await server.details(true);
            if (result.bytes !== one.files * one.size) throw new Error(`only ${result.bytes} bytes arrived`);
            return {
              ...(loopDelayP99 === undefined ? {} : { delay: loopDelayP99 }),
              cpu: usage.cpuSeconds / (result.bytes / GB),
              throughput: result.bytes / GB / result.seconds,
            };
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
