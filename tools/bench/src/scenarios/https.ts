/** Files over HTTPS: what the copying beneath an encrypted connection costs. */
import { join } from 'node:path';
import { GB } from '../load/measure.js';
import type { EncryptedLoad } from '../processes/encrypted-client-process.js';
import type { Case, Contestant, Effort, Entrant, Scenario, Stage, Values } from '../race/scenario.js';
import { certificateIn, makeCertificate, opensslVersion } from '../servers/certificate.js';
import { NodeServer } from '../servers/node-server.js';
import { nginx } from '../servers/program-server.js';
import type { Server } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { everyHttpContestant } from './http.js';
import { KiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

interface HttpsCase extends Case {
  readonly size: number;
  readonly connections: number;
}

const NAMES: ReadonlySet<string> = new Set(['node', 'zerocopy', 'zerocopy-sendFile', 'memory', 'zerocopy-disabled']);

const isPossible = opensslVersion() !== undefined;

const contestants: readonly Contestant[] = [
  ...everyHttpContestant.filter(({ name }) => NAMES.has(name)),
  {
    name: 'register',
    description: "Node's pipeline(fs.createReadStream(path), res), started with --import @zerocopy/pipeline/register",
    role: 'ours' as const,
    version: process.version,
  },
  { name: 'nginx', description: 'nginx: ssl, open_file_cache', role: 'peer' as const, version: nginx.version() },
].map((contestant) => (isPossible ? contestant : { ...contestant, version: undefined }));

/** Of each size that is measured, since small files and large ones go by different code: so many, or so many bytes. */
const WARM_UP_REQUESTS = 3000;
const WARM_UP_BYTES = 256 * MiB;

function start(name: string, directory: string, pin: boolean): Promise<Server> {
  const certificate = certificateIn(directory);
  if (name === 'nginx') return nginx.start(directory, pin, certificate);
  return NodeServer.https(name, directory, certificate, pin);
}

class HttpsEntrant implements Entrant<HttpsCase> {
  readonly #server: Server;
  readonly #client: NodeServer;
  readonly #files: ReadonlyMap<number, TestFile>;
  readonly #effort: Effort;

  constructor(server: Server, client: NodeServer, files: ReadonlyMap<number, TestFile>, effort: Effort) {
    this.#server = server;
    this.#client = client;
    this.#files = files;
    this.#effort = effort;
  }

  async check({ size }: HttpsCase): Promise<void> {
    const { port } = this.#server;
    await this.#client.task('check', { port, target: `/${size}`, size, sha256: this.#files.get(size)?.sha256 });
  }

  async turn({ size, connections }: HttpsCase): Promise<Values> {
    const { port, meter } = this.#server;
    const asked: EncryptedLoad = {
      port,
      target: `/${size}`,
      size,
      connections,
      duration: this.#effort.turn,
      requests: 0,
    };
    await this.#client.task('connect', asked);
    await this.#server.details();
    meter.read();
    const { requests = 0, seconds = 0 } = await this.#client.task('load', asked);
    const { cpuSeconds, peakMemory } = meter.read();
    const { collections } = await this.#server.details();
    await this.#client.task('disconnect');
    const gigabytes = (requests * size) / GB;
    return {
      cpu: cpuSeconds / gigabytes,
      throughput: gigabytes / seconds,
      cpuOfRequest: (cpuSeconds * 1e6) / requests,
      memory: peakMemory / MiB,
      ...(collections === undefined ? {} : { collections: collections / gigabytes }),
    };
  }

  async method(): Promise<string> {
    return (await this.#server.details()).method;
  }

  close(): Promise<void> {
    return this.#server.stop();
  }
}

async function open(cases: readonly HttpsCase[], effort: Effort, pin: boolean): Promise<Stage<HttpsCase>> {
  const directory = makeDirectory('https');
  makeCertificate(directory);
  const files = new Map<number, TestFile>();
  for (const { size } of cases) {
    if (!files.has(size)) files.set(size, writeTestFile(join(directory, String(size)), size));
  }
  const client = await NodeServer.run('encrypted-client-process', [], { pin: false });
  return {
    async enter(name) {
      const server = await start(name, directory, pin);
      const { port } = server;
      for (const size of files.keys()) {
        const requests = Math.min(WARM_UP_REQUESTS, Math.ceil(WARM_UP_BYTES / size));
        const warm: EncryptedLoad = { port, target: `/${size}`, size, connections: 1, duration: 0, requests };
        for (const task of ['connect', 'load', 'disconnect']) await client.task(task, warm);
      }
      return new HttpsEntrant(server, client, files, effort);
    },
    async close() {
      await client.stop();
      removeDirectory(directory);
    },
  };
}

const httpsCase = (size: number, connections: number): HttpsCase => {
  const group = connections === 1 ? '1 connection' : `${connections} connections`;
  return { name: `${sizeName(size)}, ${group}`, group, x: size, size, connections };
};

export const https: Scenario<HttpsCase> = {
  name: 'https',
  title: 'A file over HTTPS',
  about:
    'A warm file over loopback by TLS 1.3, connections kept alive, each asking again as soon as it has its response. The client is a process of its own, which decrypts. CPU is user and system time of the serving process.',
  metrics: [
    { key: 'cpu', title: 'CPU of the server', unit: 's/GB', better: 'less' },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more', tableOnly: true },
    { key: 'cpuOfRequest', title: 'CPU of a request', unit: 'µs', better: 'less', tableOnly: true },
    { key: 'memory', title: 'peak resident memory', unit: 'MiB', better: 'less', tableOnly: true },
    { key: 'collections', title: 'garbage collections', unit: '1/GB', better: 'less', tableOnly: true },
  ],
  baseline: 'node',
  axis: { title: 'size of the file', kind: 'bytes' },
  contestants,
  reasons: {
    nginx:
      'For a small file node:http takes more for each request than nginx does. With many connections it is the encryption by node:tls that costs more than that of nginx: a body from memory takes as much.',
  },
  cases: ({ name }) =>
    (name === 'full' ? [1, 8, 64] : [1]).flatMap((connections) =>
      (name === 'quick' ? [MiB] : [64 * KiB, MiB, 16 * MiB]).map((size) => httpsCase(size, connections)),
    ),
  turnEstimate: ({ size, connections }, effort) => Math.max(effort.turn, (size * connections) / 5e5),
  open,
};
