/** `npm run bench:upload`: HTTP uploads to a disk and to memory: CPU and throughput, against fs.createWriteStream. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CLIENT_CORE, ContestantServer, canPin } from './contestant-server.js';
import { GB } from './measure.js';
import { PollingClient } from './polling-client.js';
import { Samples, tableOf } from './samples.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const CONTESTANTS = ['node', 'zerocopy'];
const TMPFS = '/dev/shm';
const entry = fileURLToPath(new URL('./upload-process.js', import.meta.url));

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    kibibytes: { type: 'string', multiple: true, default: ['64', '1024', '16384', '262144'] },
    mebibytes: { type: 'string', default: '512' },
    directory: { type: 'string', multiple: true, default: existsSync(TMPFS) ? [tmpdir(), TMPFS] : [tmpdir()] },
  },
});
const rounds = Number(values.rounds);
const sizes = values.kibibytes.map((text) => Number(text) * KiB);
/** At least one upload; no round sends more requests than this. */
const UPLOADS_MAX = 2000;

interface Contestant {
  readonly name: string;
  readonly server: ContestantServer;
  readonly samples: Samples;
}

/** One connection, one upload after the other, each a new file. */
async function upload({ server, samples }: Contestant, directory: string, size: number, counted: boolean) {
  const uploads = Math.min(UPLOADS_MAX, Math.max(1, Math.round((Number(values.mebibytes) * MiB) / size)));
  const path = join(directory, 'upload');
  const client = await PollingClient.connect(server.port);
  try {
    let seconds = 0;
    await server.report();
    for (let n = 0; n < uploads; n++) {
      const startedAt = performance.now();
      const { status } = client.put(path, size);
      seconds += (performance.now() - startedAt) / 1000;
      if (status !== 201) throw new Error(`the server answered ${status}`);
      const stored = statSync(path).size;
      if (stored !== size) throw new Error(`${stored} bytes of ${size} were stored`);
      rmSync(path);
    }
    const { cpuSeconds, method } = await server.report();
    if (!counted) return;
    const bytes = uploads * size;
    const what = `${directory.split('/zerocopy-')[0]}, ${size / KiB} KiB`;
    samples.add(`${what}: CPU s/GB`, cpuSeconds / (bytes / GB));
    samples.add(`${what}: CPU µs an upload`, (cpuSeconds * 1e6) / uploads);
    samples.add(`${what}: GB/s`, bytes / GB / seconds);
    methods.add(method);
  } finally {
    client.close();
  }
}

const pin = canPin();
if (pin) spawnSync('taskset', ['-cp', CLIENT_CORE, String(process.pid)]);
const methods = new Set<string>();
const directories = values.directory.map((directory) => mkdtempSync(join(directory, 'zerocopy-upload-')));
const contestants: Contestant[] = [];
try {
  for (const name of CONTESTANTS) {
    contestants.push({ name, server: await ContestantServer.run(entry, [name], pin), samples: new Samples() });
  }
  for (const directory of directories) {
    for (const size of sizes) {
      for (let round = 0; round <= rounds; round++) {
        // The first round is for everybody to get warm.
        for (const contestant of contestants) await upload(contestant, directory, size, round > 0);
      }
    }
  }
  console.log(tableOf(contestants));
  console.log(
    `Node ${process.version}. PUT over loopback, one kept-alive connection, polling client${pin ? ', the server alone on its core' : ''}; stored by ${[...methods].join(' and ')}. Medians (minimum–maximum) of ${rounds} interleaved rounds.`,
  );
} finally {
  for (const { server } of contestants) await server.stop();
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
}
