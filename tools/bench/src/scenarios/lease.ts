/** What leases and guards cost: no race, there is nobody else. */

import { join } from 'node:path';
import type { Case, Scenario } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';

interface LeaseCase extends Case {
  readonly task: string;
}

export const lease: Scenario<LeaseCase> = {
  name: 'lease',
  title: 'Leases and guards',
  about:
    'Operations of lease-guard, one after the other, while the process holds another lease. There is nobody to race.',
  metrics: [
    { key: 'median', title: 'time', unit: 'µs', better: 'less' },
    { key: 'p99', title: 'time, p99', unit: 'µs', better: 'less', tableOnly: true },
  ],
  baseline: 'zerocopy',
  contestants: [{ name: 'zerocopy', role: 'ours', description: 'lease-guard', version: process.version }],
  cases: () => [
    { name: 'acquire and release a lease, by path', task: 'path' },
    { name: 'acquire and release a lease, by descriptor', task: 'descriptor' },
    { name: 'a break, until the other side has the file open (nobody listens)', task: 'break' },
    { name: 'guardMapping and release', task: 'guard' },
    { name: 'installSigbusTrap, installed already', task: 'install' },
    { name: 'a trap: a load from a page that is gone', task: 'trap' },
  ],
  async open(_cases, effort, pin) {
    const directory = makeDirectory('lease');
    return {
      async enter() {
        const server = await NodeServer.run('lease-process', [join(directory, 'file')], { pin });
        return {
          check: async () => {}, // every task throws if what it times has not happened
          turn: ({ task }) => server.task(task, effort.turn * 2),
          close: () => server.stop(),
        };
      },
      async close() {
        removeDirectory(directory);
      },
    };
  },
};
