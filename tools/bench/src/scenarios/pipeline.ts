/** Programs as they are, with their pipes moved by the kernel and without. */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { GB, warmUp } from '../load/measure.js';
import { hashOfDownload, PollingClient, uploadedHash } from '../load/polling-client.js';
import type { Case, Contestant, Effort, Entrant, Scenario, Values } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { loadMeasured } from './http.js';
import { KiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

type Mode = 'serve' | 'reverse' | 'tcp';

interface PipeCase extends Case {
  readonly mode: Mode;
  /** Of the request; undefined: an upload. */
  readonly target: string | undefined;
  readonly size: number;
}

const UPLOAD = '/upload';
const SMALL = 'small';

const contestants: readonly Contestant[] = [
  { name: 'node', role: 'peer', description: 'source.pipe(destination)', version: process.version },
  {
    name: 'register',
    role: 'ours',
    description: 'the same program, started with --import @zerocopy/pipeline/register',
    version: process.version,
  },
  {
    name: 'node-pipeline',
    role: 'peer',
    description: 'stream.pipeline(source, destination)',
    version: process.version,
  },
  {
    name: 'pipeline',
    role: 'ours',
    description: 'pipeline(source, destination) of @zerocopy/pipeline',
    version: process.version,
  },
];

const downloadOf = (mode: Mode, size: number, prefix = ''): PipeCase => ({
  name: `${{ serve: prefix === '' ? 'file' : 'Express', reverse: 'reverse proxy', tcp: 'TCP proxy' }[mode]}, ${sizeName(size)}`,
  mode,
  target: `${prefix}/${size}`,
  size,
});

const uploadOf = (size: number): PipeCase => ({
  name: `upload, ${sizeName(size)}`,
  mode: 'serve',
  target: undefined,
  size,
});

/** Each turn moves so many bytes at least, of a case with large ones. */
const TURN_BYTES = 64 * MiB;

class PipeEntrant implements Entrant<PipeCase> {
  readonly #servers: ReadonlyMap<Mode, NodeServer>;
  readonly #files: ReadonlyMap<number, TestFile>;
  readonly #directory: string;
  readonly #effort: Effort;

  constructor(
    servers: ReadonlyMap<Mode, NodeServer>,
    files: ReadonlyMap<number, TestFile>,
    directory: string,
    effort: Effort,
  ) {
    this.#servers = servers;
    this.#files = files;
    this.#directory = directory;
    this.#effort = effort;
  }

  #server({ mode }: PipeCase): NodeServer {
    return this.#servers.get(mode) as NodeServer;
  }

  async check(one: PipeCase): Promise<void> {
    const { port } = this.#server(one);
    if (one.target === undefined) {
      const client = new PollingClient(port);
      client.put(UPLOAD, one.size);
      client.close();
      const stored = createHash('sha256')
        .update(readFileSync(join(this.#directory, UPLOAD)))
        .digest('hex');
      if (stored !== uploadedHash(one.size)) throw new Error('other bytes than were sent are in the file');
      return;
    }
    const { sha256 } = hashOfDownload(port, one.target);
    if (sha256 !== this.#files.get(one.size)?.sha256) throw new Error('other bytes than the file’s arrived');
  }

  async turn(one: PipeCase): Promise<Values> {
    const { seconds, bytes, cpuSeconds, requests } = one.target === undefined ? this.#upload(one) : this.#download(one);
    return {
      cpu: cpuSeconds / (bytes / GB),
      throughput: bytes / GB / seconds,
      cpuOfRequest: (cpuSeconds * 1e6) / requests,
    };
  }

  #download(one: PipeCase): { seconds: number; bytes: number; cpuSeconds: number; requests: number } {
    const { usage, result } = loadMeasured(this.#server(one), {
      connections: 1,
      duration: this.#effort.turn,
      target: () => one.target as string,
    });
    const requests = result.latencies.length;
    if (result.bytes !== requests * one.size) throw new Error('other bytes than those asked for arrived');
    return { seconds: result.seconds, bytes: result.bytes, cpuSeconds: usage.cpuSeconds, requests };
  }

  #upload(one: PipeCase): { seconds: number; bytes: number; cpuSeconds: number; requests: number } {
    const server = this.#server(one);
    const client = new PollingClient(server.port);
    const requests = Math.max(1, Math.floor(TURN_BYTES / one.size));
    try {
      server.meter.read();
      const startedAt = performance.now();
      for (let n = 0; n < requests; n++) {
        const { status } = client.put(UPLOAD, one.size);
        if (status !== 201) throw new Error(`the server answered ${status}`);
        rmSync(join(this.#directory, UPLOAD));
      }
      const seconds = (performance.now() - startedAt) / 1000;
      return { seconds, bytes: requests * one.size, cpuSeconds: server.meter.read().cpuSeconds, requests };
    } finally {
      client.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#servers.values()].map((server) => server.stop()));
  }
}

export const pipes: Scenario<PipeCase> = {
  name: 'pipeline',
  title: 'Programs as they are',
  about:
    'The same program with its pipes moved by the kernel and without, over loopback, warmed up: a file by fs.createReadStream into a response, by Express, an upload into fs.createWriteStream on a disk, a reverse proxy of node:http, a TCP proxy. One kept-alive connection; the client polls its socket. CPU is user and system time of the serving process; the upstream of a proxy is another.',
  metrics: [
    { key: 'cpu', title: 'CPU of the server', unit: 's/GB', better: 'less' },
    { key: 'cpuOfRequest', title: 'CPU of a request', unit: 'µs', better: 'less', tableOnly: true },
    { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more', tableOnly: true },
  ],
  baseline: 'node',
  contestants,
  cases: ({ name: effort }) => [
    downloadOf('serve', KiB),
    ...(effort === 'quick' ? [] : [downloadOf('serve', 16 * KiB), downloadOf('serve', 64 * KiB)]),
    downloadOf('serve', MiB),
    downloadOf('serve', 16 * MiB),
    downloadOf('serve', 16 * MiB, '/express'),
    uploadOf(16 * MiB),
    downloadOf('reverse', 64 * MiB),
    downloadOf('tcp', 64 * MiB),
  ],
  turnEstimate: ({ size }, effort) => Math.max(effort.turn, size / 1e6),
  async open(cases, effort, pin) {
    const directory = makeDirectory('pipes');
    const files = new Map<number, TestFile>();
    for (const { size } of cases) {
      if (!files.has(size)) files.set(size, writeTestFile(join(directory, String(size)), size));
    }
    writeTestFile(join(directory, SMALL), 4 * KiB);
    const upstream = await NodeServer.run('pipe-process', ['node', 'serve', directory], { pin: false });
    const register = pathToFileURL(createRequire(import.meta.url).resolve('@zerocopy/pipeline/register')).href;
    return {
      async enter(name) {
        const env: Record<string, string> = name === 'register' ? { NODE_OPTIONS: `--import=${register}` } : {};
        const servers = new Map<Mode, NodeServer>();
        for (const mode of ['serve', 'reverse', 'tcp'] as const) {
          const parameters = [name, mode, directory, String(upstream.port)];
          const server = await NodeServer.run('pipe-process', parameters, { pin, env });
          warmUp(server, `/${SMALL}`);
          servers.set(mode, server);
        }
        return new PipeEntrant(servers, files, directory, effort);
      },
      async close() {
        await upstream.stop();
        removeDirectory(directory);
      },
    };
  },
};
