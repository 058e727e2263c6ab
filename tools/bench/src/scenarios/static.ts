/** Static file servers, whole: validators, conditions, ranges and types as they come with each of them. */
import { join } from 'node:path';
import { quantile } from 'simple-statistics';
import { hashOfDownload, headOf, load } from '../load/polling-client.js';
import { moduleVersion } from '../processes/http-contestants.js';
import { staticContestants } from '../processes/static-contestants.js';
import type { Case, Contestant, Effort, Entrant, Scenario, Values } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { bun, nginx } from '../servers/program-server.js';
import type { Server } from '../servers/server.js';
import { makeDirectory, removeDirectory } from '../servers/temporary-directory.js';
import { loadMeasured } from './http.js';
import { KiB, MiB, sizeName, type TestFile, writeTestFile } from './test-file.js';

interface StaticCase extends Case {
  readonly size: number;
  /** Of the body. */
  readonly bytes: number;
  readonly status: number;
  /** Once the entity tag of the contestant's own is known. */
  fields(etag: string): readonly string[];
}

const whole = (size: number): StaticCase => ({
  name: sizeName(size),
  group: 'whole files',
  x: size,
  size,
  bytes: size,
  status: 200,
  fields: () => [],
});

const CASES: readonly StaticCase[] = [
  whole(KiB),
  whole(16 * KiB),
  whole(MiB),
  {
    name: '304',
    group: 'conditions and ranges',
    size: 16 * KiB,
    bytes: 0,
    status: 304,
    fields: (etag) => [`If-None-Match: ${etag}`],
  },
  {
    name: 'a range of 1 MiB',
    group: 'conditions and ranges',
    size: 16 * MiB,
    bytes: MiB,
    status: 206,
    fields: () => [`Range: bytes=${5 * MiB + 1}-${6 * MiB}`],
  },
];

/** Compiled code is what is measured; a cold start is a figure of its own (measuring). */
const WARM_UP_REQUESTS = 6000;
const WARM_UP_MS = 4000;

const OTHERS: readonly Contestant[] = [
  { name: 'bun', description: 'Bun.serve, new Response(Bun.file(path))', role: 'peer', version: bun.version() },
  { name: 'nginx', description: 'nginx: sendfile on, open_file_cache', role: 'peer', version: nginx.version() },
];

function start(name: string, directory: string, pin: boolean): Promise<Server> {
  if (name === 'nginx') return nginx.start(directory, pin);
  if (name === 'bun') return bun.start(directory, pin);
  return NodeServer.run('static-process', [name, directory], { pin });
}

class StaticEntrant implements Entrant<StaticCase> {
  readonly #server: Server;
  readonly #files: ReadonlyMap<number, TestFile>;
  readonly #effort: Effort;
  readonly #warm = new Set<string>();

  constructor(server: Server, files: ReadonlyMap<number, TestFile>, effort: Effort) {
    this.#server = server;
    this.#files = files;
    this.#effort = effort;
  }

  async check(one: StaticCase): Promise<void> {
    const { port } = this.#server;
    const { status } = headOf(port, `/${one.size}`, this.#fields(one));
    if (status !== one.status) throw new Error(`it answered ${status} instead of ${one.status}`);
    if (one.status !== 200) return;
    const { sha256 } = hashOfDownload(port, `/${one.size}`);
    if (sha256 !== this.#files.get(one.size)?.sha256) throw new Error('other bytes than the file’s arrived');
  }

  async turn(one: StaticCase): Promise<Values> {
    const options = {
      connections: 1,
      target: () => `/${one.size}`,
      fields: this.#fields(one),
      status: one.status,
    };
    this.#warmUp(one, options);
    const { usage, result } = loadMeasured(this.#server, { ...options, duration: this.#effort.turn });
    const requests = result.latencies.length;
    if (result.bytes !== requests * one.bytes) throw new Error('other bytes than those asked for arrived');
    return {
      requests: requests / result.seconds,
      cpuOfRequest: (usage.cpuSeconds * 1e6) / requests,
      p99: quantile([...result.latencies], 0.99),
      memory: usage.peakMemory / MiB,
    };
  }

  /** Before the first counted round of each case: 6,000 requests, or as many as there is time for. */
  #warmUp(one: StaticCase, options: Omit<Parameters<typeof load>[1], 'duration'>): void {
    if (this.#warm.has(one.name)) return;
    this.#warm.add(one.name);
    const startedAt = performance.now();
    for (let requests = 0; requests < WARM_UP_REQUESTS && performance.now() - startedAt < WARM_UP_MS; ) {
      requests += load(this.#server.port, { ...options, duration: 100 }).latencies.length;
    }
  }

  #fields(one: StaticCase): readonly string[] {
    const { head } = headOf(this.#server.port, `/${one.size}`);
    const etag = /^etag: *(.*)$/im.exec(head)?.[1]?.trim();
    if (etag === undefined && one.status === 304) throw new Error('it sends no entity tag');
    return one.fields(etag ?? '');
  }

  close(): Promise<void> {
    return this.#server.stop();
  }
}

export const staticFiles: Scenario<StaticCase> = {
  name: 'static',
  title: 'Static file servers',
  about:
    'A warm file over loopback on one connection that is kept alive, by handlers that look the file up, compare validators, parse ranges and set types. The client polls its socket. CPU is user and system time of the serving process.',
  metrics: [
    { key: 'cpuOfRequest', title: 'CPU of a request', unit: 'µs', better: 'less' },
    { key: 'requests', title: 'requests', unit: '1/s', better: 'more' },
    { key: 'p99', title: 'latency of a request, p99', unit: 'ms', better: 'less', tableOnly: true },
    { key: 'memory', title: 'peak resident memory', unit: 'MiB', better: 'less', tableOnly: true },
  ],
  baseline: 'send',
  contestants: [
    ...staticContestants.map(({ name, description, role, module }) => ({
      name,
      description,
      role,
      version: module === undefined ? process.version : moduleVersion(module),
    })),
    ...OTHERS,
  ],
  cases: ({ name }) => (name === 'quick' ? CASES.slice(0, 2) : CASES),
  async open(cases, effort, pin) {
    const directory = makeDirectory('static');
    const files = new Map<number, TestFile>();
    for (const { size } of cases) {
      if (!files.has(size)) files.set(size, writeTestFile(join(directory, String(size)), size));
    }
    return {
      enter: async (name) => new StaticEntrant(await start(name, directory, pin), files, effort),
      close: async () => removeDirectory(directory),
    };
  },
};
