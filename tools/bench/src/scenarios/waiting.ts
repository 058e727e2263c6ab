/** What a transfer holds while its receiver does not read. */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getRequest, HttpConnection } from '../load/http-connection.js';
import { warmUp } from '../load/measure.js';
import { hashOfDownload } from '../load/polling-client.js';
import type { Case, Effort, Scenario } from '../race/scenario.js';
import type { Server } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { everyHttpContestant, SMALL, startHttp } from './http.js';
import { KiB, MiB, writeTestFile } from './test-file.js';

interface WaitingCase extends Case {
  readonly receivers: number;
}

const CONTESTANTS = [
  'zerocopy',
  'zerocopy-sendFile',
  'zerocopy-disabled',
  'node',
  'send',
  'sirv',
  'bun',
  'nginx',
  'silent',
];
const TARGET = '/file';
const FILE_SIZE = 16 * MiB;
/** Milliseconds until all of them wait. */
const settling = ({ name }: Effort): number => (name === 'quick' ? 400 : 1500);

interface Held {
  readonly heap: number | undefined;
  readonly resident: number;
}

export const waiting: Scenario<WaitingCase> = {
  name: 'waiting',
  title: 'Memory with slow clients',
  about:
    'Receivers that ask for a file of 16 MiB and then do not read: what the server holds for each, more than before they came, the connection included (‘silent’ shows what it takes by itself). The heap is JavaScript’s and what it keeps outside, after a collection; resident memory is the whole process’s peak.',
  metrics: [
    { key: 'heap', title: 'heap for each response', unit: 'KiB', better: 'less' },
    { key: 'resident', title: 'resident memory for each response', unit: 'KiB', better: 'less' },
  ],
  baseline: 'node',
  contestants: everyHttpContestant
    .filter(({ name }) => CONTESTANTS.includes(name))
    .map((one) => ({ ...one, onlyIfNamed: false })),
  reasons: {
    nginx: 'nginx keeps a few hundred bytes for a connection; a Node socket and its response alone take more.',
    bun: 'Bun keeps a connection in native memory; a Node socket and its response alone take more.',
  },
  cases: ({ name }) => {
    const receivers = name === 'quick' ? 200 : 1000;
    return [{ name: `${receivers} receivers`, receivers }];
  },
  turnEstimate: (_one, effort) => settling(effort) + 500,
  async open(_cases, effort, pin) {
    const directory = makeDirectory('waiting');
    const { sha256 } = writeTestFile(join(directory, TARGET), FILE_SIZE);
    writeTestFile(join(directory, SMALL), 4 * KiB);
    async function held(server: Server): Promise<Held> {
      const { heap } = await server.details(true);
      return { heap, resident: server.meter.read().peakMemory };
    }
    return {
      async enter(name) {
        const server = await startHttp(name, directory, pin);
        if (name !== 'silent') warmUp(server, SMALL);
        return {
          async check() {
            if (name === 'silent') return; // it never answers
            if (hashOfDownload(server.port, TARGET).sha256 !== sha256) throw new Error('other bytes arrived');
          },
          async turn({ receivers }) {
            server.meter.read();
            const before = await held(server);
            const connections: HttpConnection[] = [];
            try {
              for (let n = 0; n < receivers; n++) {
                const connection = new HttpConnection(server.port);
                connection.request(getRequest(TARGET));
                connections.push(connection);
              }
              await sleep(settling(effort));
              const after = await held(server);
              const each = (bytes: number): number => bytes / receivers / KiB;
              return {
                ...(after.heap === undefined ? {} : { heap: each(after.heap - (before.heap ?? Number.NaN)) }),
                resident: each(Math.max(0, after.resident - before.resident)),
              };
            } finally {
              for (const connection of connections) connection.close();
              await sleep(100);
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
