/** Transfers that leave the page cache as it was. */
import { closeSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fetchFile } from '../load/fetch-file.js';
import { GB } from '../load/measure.js';
import type { CopyTask } from '../processes/direct-process.js';
import type { Case, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { dropFromCache, GiB, MiB, residentBytes, sizeName, writeTestFile } from './test-file.js';

interface CacheCase extends Case {
  readonly size: number;
  readonly how: 'copied' | 'sent';
}

const { version } = process;
/** Longer than the last attempt to drop takes to come. */
const DROPPED_LATER_MS = 15_000;

export const cacheDrop: Scenario<CacheCase> = {
  name: 'cache-drop',
  title: 'Transfers that leave the page cache as it was',
  about:
    'A cold file is copied, or sent to a client that polls and discards it, while a working set of another file is resident. CPU of the process by its own clock: with drop its threads write the dirty pages of a copy back, otherwise the kernel’s do so later, unless the copy is made durable. What the page cache has afterwards of source and copy, and of the working set.',
  metrics: [
    { key: 'cpu', title: 'CPU', unit: 's/GB', better: 'less' },
    { key: 'cache', title: 'left in the page cache', unit: 'MiB', better: 'less' },
    { key: 'kept', title: 'working set resident', unit: '%', better: 'more', tableOnly: true },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more', tableOnly: true },
  ],
  baseline: 'keep',
  contestants: [
    { name: 'drop', role: 'ours', description: "copyFile, sendFile with cache: 'drop'", version },
    { name: 'keep', role: 'ours', description: 'copyFile, sendFile', version },
    { name: 'keep-durable', role: 'ours', description: 'copyFile, and fdatasync of the copy', version },
  ],
  cases({ name }) {
    const size = name === 'quick' ? 256 * MiB : name === 'normal' ? GiB : 10 * GiB;
    return (['copied', 'sent'] as const).map((how) => ({ name: `${sizeName(size)} ${how}`, size, how }));
  },
  turnEstimate: ({ size }) => size / 3e5,
  async open(cases, _effort, pin) {
    const directory = makeDirectory('cache-drop');
    const size = Math.max(...cases.map((one) => one.size));
    const source = writeTestFile(join(directory, 'source'), size);
    const working = writeTestFile(join(directory, 'working-set'), Math.min(GiB, size));
    const target = join(directory, 'copy');
    dropFromCache(working.path); // it is clean, so that nobody has to write it back in a turn
    return {
      async enter(name) {
        const server = await NodeServer.run('direct-process', [name], { pin });
        const copied = async (): Promise<number> => {
          const task: CopyTask = { from: source.path, to: target, cache: name === 'drop' ? 'drop' : 'keep' };
          const { seconds = 0 } = await server.task('copy', { ...task, durable: name === 'keep-durable' });
          return seconds;
        };
        const sent = (): number => {
          const startedAt = performance.now();
          const bytes = fetchFile(server.port, source.path);
          if (bytes !== source.size) throw new Error(`${bytes} of ${source.size} bytes came`);
          return (performance.now() - startedAt) / 1000;
        };
        return {
          async check() {},
          async turn({ how }) {
            if (how === 'sent' && name === 'keep-durable') return {};
            dropFromCache(source.path);
            readAll(working.path);
            try {
              server.meter.read();
              const seconds = how === 'sent' ? sent() : await copied();
              if (name === 'drop' && how === 'sent') await dropped(source.path);
              const left = how === 'sent' ? 0 : residentBytes(target);
              return {
                cpu: server.meter.read().cpuSeconds / (size / GB),
                throughput: size / GB / seconds,
                cache: (residentBytes(source.path) + left) / MiB,
                kept: (100 * residentBytes(working.path)) / working.size,
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

/** What a socket held at the end is dropped some time later, or not at all. */
async function dropped(path: string): Promise<void> {
  const deadline = performance.now() + DROPPED_LATER_MS;
  while (residentBytes(path) > 0 && performance.now() < deadline) await setTimeout(50);
}

function readAll(path: string): void {
  const fd = openSync(path, 'r');
  const buffer = Buffer.allocUnsafe(MiB);
  while (readSync(fd, buffer) > 0);
  closeSync(fd);
}
