/** Files over HTTP: the common ground of all scenarios in which a server answers GET requests. */

import { join } from 'node:path';
import { quantile } from 'simple-statistics';
import { GB, warmUp } from '../load/measure.js';
import { hashOfDownload, load } from '../load/polling-client.js';
import { httpContestant, httpContestants, moduleVersion } from '../processes/http-contestants.js';
import type { Case, Contestant, Effort, Entrant, Metric, Scenario, Stage, Values } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { bun, nginx } from '../servers/program-server.js';
import type { Server } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { GiB, KiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

export interface HttpCase extends Case {
  readonly size: number;
  readonly connections: number;
}

const OTHERS: readonly Contestant[] = [
  {
    name: 'bun',
    description: 'Bun.serve, new Response(Bun.file(path))',
    role: 'peer',
    version: bun.version(),
  },
  {
    name: 'nginx',
    description: 'nginx: sendfile on, tcp_nopush on, open_file_cache',
    role: 'peer',
    version: nginx.version(),
  },
];

export const everyHttpContestant: readonly Contestant[] = [
  ...httpContestants.map(({ name, description, role, module, onlyIfNamed = false }) => ({
    name,
    description,
    role,
    onlyIfNamed,
    version: module === undefined ? process.version : moduleVersion(module),
  })),
  ...OTHERS,
];

export function startHttp(name: string, directory: string, pin: boolean): Promise<Server> {
  if (name === 'nginx') return nginx.start(directory, pin);
  if (name === 'bun') return bun.start(directory, pin);
  return NodeServer.http(name, directory, { pin, env: httpContestant(name).env ?? {} });
}

/** Of a few KiB, for warming up. */
export const SMALL = '/small';

export const REASONS: Readonly<Record<string, string>> = {
  nginx:
    'nginx answers in C. node:http takes as much for each request as the floor shows, which is a bare loop behind it; from about 1 MiB on the file dominates. To many receivers nginx sends up to 2 MiB each before it turns to the next (sendfile_max_chunk), while ours gives every transfer a share of each turn of the loop. Of the memory, some 40 MiB are an empty Node process.',
  bun: 'Bun has an HTTP server in native code; node:http takes as much for each request as the floor shows, which is a bare loop behind it. From about 1 MiB on the file dominates.',
  send: 'For a small file send sets up less for each request than a pipeline does; sendFile is the answer to that.',
  sirv: 'sirv looks at its files once, and sets up less for each request than a pipeline does; sendFile is the answer to that.',
};

const METRICS: readonly Metric[] = [
  { key: 'cpu', title: 'CPU of the server', unit: 's/GB', better: 'less' },
  { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more' },
  { key: 'p99', title: 'latency of a request, p99', unit: 'ms', better: 'less', tableOnly: true },
  { key: 'requests', title: 'requests', unit: '1/s', better: 'more', tableOnly: true },
  { key: 'cpuOfRequest', title: 'CPU of a request', unit: 'µs', better: 'less', tableOnly: true },
  { key: 'memory', title: 'peak resident memory', unit: 'MiB', better: 'less', tableOnly: true },
  { key: 'descriptors', title: 'descriptors open', unit: '', better: 'less', tableOnly: true },
  { key: 'collections', title: 'garbage collections', unit: '1/GB', better: 'less', tableOnly: true },
];

class HttpEntrant implements Entrant<HttpCase> {
  readonly #server: Server;
  readonly #files: ReadonlyMap<number, TestFile>;
  readonly #effort: Effort;
  readonly #reconnect: boolean;

  constructor(server: Server, files: ReadonlyMap<number, TestFile>, effort: Effort, reconnect: boolean) {
    this.#server = server;
    this.#files = files;
    this.#effort = effort;
    this.#reconnect = reconnect;
  }

  async check({ size }: HttpCase): Promise<void> {
    const { bytes, sha256 } = hashOfDownload(this.#server.port, targetOf(size));
    if (bytes !== size) throw new Error(`${bytes} bytes arrived instead of ${size}`);
    if (sha256 !== this.#files.get(size)?.sha256) throw new Error('other bytes than the file’s arrived');
  }

  async turn({ size, connections }: HttpCase): Promise<Values> {
    const server = this.#server;
    await server.details(); // starts its counts anew
    const { usage, result } = loadMeasured(server, {
      connections,
      duration: this.#effort.turn,
      reconnect: this.#reconnect,
      target: () => targetOf(size),
    });
    const { collections } = await server.details();
    const { bytes, seconds, latencies } = result;
    const requests = latencies.length;
    if (bytes !== requests * size) throw new Error(`${bytes} bytes arrived for ${requests} requests of ${size}`);
    return {
      cpu: usage.cpuSeconds / (bytes / GB),
      throughput: bytes / GB / seconds,
      p99: quantile([...latencies], 0.99),
      requests: requests / seconds,
      cpuOfRequest: (usage.cpuSeconds * 1e6) / requests,
      memory: usage.peakMemory / MiB,
      descriptors: usage.descriptors,
      ...(collections === undefined ? {} : { collections: collections / (bytes / GB) }),
    };
  }

  async method(): Promise<string> {
    return (await this.#server.details()).method;
  }

  close(): Promise<void> {
    return this.#server.stop();
  }
}

const targetOf = (size: number): string => `/${size}`;

/** A load, and what it cost the server between the first request and the last byte. */
export function loadMeasured(
  server: Server,
  options: Parameters<typeof load>[1],
): { usage: ReturnType<Server['meter']['read']>; result: ReturnType<typeof load> } {
  let usage = { cpuSeconds: Number.NaN, peakMemory: Number.NaN, descriptors: Number.NaN };
  const result = load(server.port, {
    ...options,
    onConnected: () => void server.meter.read(),
    onReceived: () => {
      usage = server.meter.read();
    },
  });
  return { usage, result };
}

async function openHttp(
  cases: readonly HttpCase[],
  effort: Effort,
  pin: boolean,
  reconnect: boolean,
): Promise<Stage<HttpCase>> {
  const directory = makeDirectory('bench');
  const files = new Map<number, TestFile>();
  for (const { size } of cases) {
    if (!files.has(size)) files.set(size, writeTestFile(join(directory, String(size)), size));
  }
  writeTestFile(join(directory, SMALL), 4 * KiB);
  return {
    async enter(name) {
      const server = await startHttp(name, directory, pin);
      warmUp(server, SMALL);
      return new HttpEntrant(server, files, effort, reconnect);
    },
    async close() {
      removeDirectory(directory);
    },
  };
}

const SIZES = [KiB, 16 * KiB, 64 * KiB, MiB, 16 * MiB, 256 * MiB];
const CONNECTIONS = [1, 8, 64, 1000];
/** More than this is not asked for at once: a turn would take minutes. */
const AT_ONCE = 20 * GiB;

const inWords = (connections: number): string => (connections === 1 ? '1 connection' : `${connections} connections`);

function httpCase(size: number, connections: number): HttpCase {
  return {
    name: `${sizeName(size)}, ${inWords(connections)}`,
    group: inWords(connections),
    x: size,
    size,
    connections,
  };
}

function keptAlive({ name }: Effort): HttpCase[] {
  if (name === 'quick') return [httpCase(16 * KiB, 1), httpCase(MiB, 1), httpCase(16 * MiB, 1), httpCase(MiB, 64)];
  const all = CONNECTIONS.flatMap((connections) => SIZES.map((size) => httpCase(size, connections)));
  if (name === 'full') return all.filter(({ size, connections }) => size * connections <= AT_ONCE);
  return all.filter(
    ({ size, connections }) => connections === 1 || ([KiB, 64 * KiB, MiB].includes(size) && size * connections <= GiB),
  );
}

/** Three or four gigabytes a second are moved; every connection gets at least one response. */
const turnOf = ({ size, connections }: HttpCase, effort: Effort): number =>
  Math.max(effort.turn, (size * connections) / 3e6);

export const http: Scenario<HttpCase> = {
  name: 'http',
  title: 'A file over HTTP',
  about:
    'A warm file over loopback, connections kept alive, each asking again as soon as it has its response. The client polls its sockets and lets the kernel discard the payload. CPU is user and system time of the serving process.',
  metrics: METRICS,
  baseline: 'node',
  axis: { title: 'size of the file', kind: 'bytes' },
  contestants: everyHttpContestant,
  reasons: REASONS,
  cases: keptAlive,
  turnEstimate: turnOf,
  open: (cases, effort, pin) => openHttp(cases, effort, pin, false),
};

export const httpReconnect: Scenario<HttpCase> = {
  name: 'http-reconnect',
  title: 'A file over HTTP, a new connection for each',
  about: 'As before, but every request has a connection of its own, which the server closes after its response.',
  metrics: METRICS,
  baseline: 'node',
  axis: { title: 'size of the file', kind: 'bytes' },
  contestants: everyHttpContestant,
  reasons: REASONS,
  cases: ({ name }) =>
    (name === 'quick' ? [64 * KiB] : [KiB, 64 * KiB, MiB]).flatMap((size) =>
      (name === 'full' ? [1, 8, 64] : [8]).map((connections) => httpCase(size, connections)),
    ),
  turnEstimate: turnOf,
  open: (cases, effort, pin) => openHttp(cases, effort, pin, true),
};

const GROWING = ['zerocopy', 'zerocopy-sendFile', 'node', 'nginx'];
const growing = everyHttpContestant.filter(({ name }) => GROWING.includes(name));

export const growthOfSize: Scenario<HttpCase> = {
  name: 'growth-size',
  title: 'The cost of growth: larger files',
  about: 'One connection; files from 1 KiB to 1 GiB. What a request costs, and what the server holds meanwhile.',
  metrics: [
    { key: 'cpuOfRequest', title: 'CPU of a request', unit: 'µs', better: 'less' },
    { key: 'memory', title: 'peak resident memory', unit: 'MiB', better: 'less' },
  ],
  baseline: 'node',
  axis: { title: 'size of the file', kind: 'bytes' },
  growth: true,
  contestants: growing,
  reasons: REASONS,
  cases: ({ name }) =>
    (name === 'quick' ? [KiB, 256 * KiB, 64 * MiB] : [KiB, 32 * KiB, MiB, 32 * MiB, GiB]).map((size) => ({
      ...httpCase(size, 1),
      name: sizeName(size),
    })),
  turnEstimate: turnOf,
  open: (cases, effort, pin) => openHttp(cases, effort, pin, false),
};

export const growthOfConnections: Scenario<HttpCase> = {
  name: 'growth-connections',
  title: 'The cost of growth: more connections',
  about: 'Files of 256 KiB; from 1 to 1,000 connections, all asking all the time.',
  metrics: [
    { key: 'cpuOfRequest', title: 'CPU of a request', unit: 'µs', better: 'less' },
    { key: 'memory', title: 'peak resident memory', unit: 'MiB', better: 'less' },
    { key: 'descriptors', title: 'descriptors open', unit: '', better: 'less', tableOnly: true },
  ],
  baseline: 'node',
  axis: { title: 'connections', kind: 'count' },
  growth: true,
  contestants: growing,
  reasons: REASONS,
  cases: ({ name }) =>
    (name === 'quick' ? [1, 30, 300] : [1, 10, 100, 1000]).map((connections) => ({
      ...httpCase(256 * KiB, connections),
      name: inWords(connections),
      group: 'files of 256 KiB',
      x: connections,
    })),
  turnEstimate: turnOf,
  open: (cases, effort, pin) => openHttp(cases, effort, pin, false),
};
