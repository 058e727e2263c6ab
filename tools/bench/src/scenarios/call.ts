/** What one system call costs before it does anything. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Case, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';

interface CallCase extends Case {
  readonly task: 'sync' | 'async';
}

export const call: Scenario<CallCase> = {
  name: 'call',
  title: 'One system call',
  about:
    'At once: pread(2) of one byte that is in the page cache. On the thread pool, 16 at a time: lseek(2) for us and the bare function; Node has no lseek and reads a byte.',
  metrics: [{ key: 'nanoseconds', title: 'time of a call', unit: 'ns', better: 'less' }],
  baseline: 'node',
  contestants: [
    { name: 'zerocopy', role: 'ours', description: 'syscalls.pread, lseekAsync', version: process.version },
    { name: 'node', role: 'peer', description: 'fs.readSync, FileHandle.read', version: process.version },
    { name: 'floor', role: 'reference', description: 'the bare koffi function', version: process.version },
  ],
  reasons: {
    node: 'fs.readSync is a binding written for this one call; koffi translates each argument by its prototype.',
  },
  cases: () => [
    { name: 'at once', task: 'sync' },
    { name: 'on the thread pool', task: 'async' },
  ],
  async open(_cases, effort, pin) {
    const directory = makeDirectory('call');
    const path = join(directory, 'file');
    writeFileSync(path, 'z');
    return {
      async enter(name) {
        const server = await NodeServer.run('call-process', [name, path], { pin });
        return {
          async check() {
            await server.task('check');
          },
          turn: ({ task }) => server.task(task, effort.turn),
          close: () => server.stop(),
        };
      },
      async close() {
        removeDirectory(directory);
      },
    };
  },
};
