/** What it takes to import a module, in a process that has imported nothing else. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { moduleVersion } from '../processes/http-contestants.js';
import type { ServerMessage } from '../processes/reporting.js';
import type { Case, Contestant, Role, Scenario } from '../race/scenario.js';

const entry = fileURLToPath(new URL('../processes/import-process.js', import.meta.url));

/** @param from the package that it is of. */
const module = (name: string, role: Role, from: string = name): Contestant => ({
  name,
  role,
  description: `import '${name}'`,
  version: moduleVersion(from),
});

async function importOnce(name: string): Promise<Readonly<Record<string, number>>> {
  const child = fork(entry, [name]);
  const [message] = (await Promise.race([once(child, 'message'), once(child, 'exit').then(() => [undefined])])) as [
    ServerMessage | undefined,
  ];
  if (child.exitCode === null) await once(child, 'exit');
  if (message === undefined || !('values' in message)) throw new Error('it cannot be imported');
  return message.values;
}

export const importTime: Scenario<Case> = {
  name: 'import',
  title: 'Importing',
  about:
    'A new process for each; the time, the CPU (of all its threads: V8 compiles and collects on some of its own) and the resident memory that importing takes it. libc is loaded on first use, not here; and by register nothing is, before a pipe that could matter.',
  metrics: [
    { key: 'milliseconds', title: 'time', unit: 'ms', better: 'less' },
    { key: 'cpu', title: 'CPU', unit: 'ms', better: 'less' },
    { key: 'memory', title: 'resident memory', unit: 'MiB', better: 'less' },
  ],
  baseline: 'send',
  contestants: [
    module('@zerocopy/core-syscalls', 'ours'),
    module('@zerocopy/sendfile-stream', 'ours'),
    module('@zerocopy/splice-pipe', 'ours'),
    module('@zerocopy/mmap-buffer', 'ours'),
    module('@zerocopy/lease-guard', 'ours'),
    module('@zerocopy/file-copy', 'ours'),
    module('@zerocopy/direct-io', 'ours'),
    module('@zerocopy/pipeline', 'ours'),
    module('@zerocopy/pipeline/register', 'ours', '@zerocopy/pipeline'),
    module('send', 'peer'),
    module('sirv', 'peer'),
    module('@fastify/static', 'peer'),
    module('@riaskov/mmap-io', 'peer'),
    module('koffi', 'reference'),
  ],
  reasons: { sirv: 'sirv is one small file with two small dependencies.' },
  cases: () => [{ name: 'one import' }],
  turnEstimate: () => 120,
  async open() {
    return {
      async enter(name) {
        return {
          async check() {
            await importOnce(name);
          },
          turn: () => importOnce(name),
          close: async () => {},
        };
      },
      close: async () => {},
    };
  },
};
