/** A TCP proxy: bulk, messages to and fro, and pairs that do nothing. */
import { setTimeout as sleep } from 'node:timers/promises';
import { median, quantile } from 'simple-statistics';
import { GB } from '../load/measure.js';
import { checkPair, type PollingPair, pingPong, pump, Upstream } from '../load/polling-pair.js';
import type { Case, Contestant, Effort, Metric, Scenario, Stage, Values } from '../race/scenario.js';
import { NodeServer } from '../servers/node-server.js';
import { haproxy } from '../servers/program-server.js';
import type { Server } from '../servers/server.js';
import { KiB, MiB } from './test-file.js';

interface ProxyCase extends Case {
  readonly connections: number;
}

const MESSAGE = 64;

const HAPROXY_SETTINGS: Readonly<Record<string, { global: string; defaults: string }>> = {
  haproxy: { global: '', defaults: 'option splice-auto' },
  'haproxy-always': {
    global: `tune.pipesize ${MiB}`,
    defaults: 'option splice-request\n  option splice-response',
  },
};

const contestants: readonly Contestant[] = [
  { name: 'zerocopy', role: 'ours', description: 'proxy(client, upstream)', version: process.version },
  {
    name: 'zerocopy-disabled',
    role: 'fallback',
    description: 'proxy(client, upstream) with ZEROCOPY_DISABLE=all',
    version: process.version,
  },
  { name: 'node', role: 'peer', description: 'client.pipe(upstream).pipe(client)', version: process.version },
  { name: 'haproxy', role: 'peer', description: 'HAProxy, option splice-auto', version: haproxy.version() },
  {
    name: 'haproxy-always',
    role: 'peer',
    description: 'HAProxy forced to splice, with pipes of 1 MiB',
    version: haproxy.version(),
  },
];

function start(name: string, upstream: number, pin: boolean): Promise<Server> {
  const settings = HAPROXY_SETTINGS[name];
  if (settings !== undefined) return haproxy.start(upstream, settings, pin);
  const disabled = name === 'zerocopy-disabled';
  const env: Record<string, string> = disabled ? { ZEROCOPY_DISABLE: 'all' } : {};
  return NodeServer.run('proxy-process', [disabled ? 'zerocopy' : name, String(upstream)], { pin, env });
}

async function withPairs<T>(
  upstream: Upstream,
  server: Server,
  count: number,
  use: (pairs: readonly PollingPair[]) => T | Promise<T>,
): Promise<T> {
  const pairs: PollingPair[] = [];
  try {
    for (let n = 0; n < count; n++) pairs.push(await upstream.through(server.port));
    return await use(pairs);
  } finally {
    for (const pair of pairs) pair.close();
  }
}

async function open(
  effort: Effort,
  pin: boolean,
  turn: (upstream: Upstream, server: Server, one: ProxyCase, effort: Effort) => Promise<Values>,
): Promise<Stage<ProxyCase>> {
  const upstream = await Upstream.listen();
  return {
    async enter(name) {
      const server = await start(name, upstream.port, pin);
      await sleep(50);
      upstream.forget(); // whoever looked whether the proxy listens
      return {
        check: () => withPairs(upstream, server, 1, ([pair]) => checkPair(pair as PollingPair, 8 * MiB)),
        turn: (one) => turn(upstream, server, one, effort),
        method: async () => (await server.details()).method,
        close: () => server.stop(),
      };
    },
    async close() {
      upstream.close();
    },
  };
}

const REASONS = {
  node: 'Each of our pairs holds two transfers with what they need to go on at once: watchers, duplicates of descriptors, places in the write queues. Node’s pipes hold listeners.',
  haproxy: 'HAProxy does all in C and knows of every readiness by one epoll; a turn of Node’s loop costs more.',
  'haproxy-always':
    'Forced to splice, HAProxy splices as much as the pipe holds at each readiness and never copies a small rest; ours learns of readiness from libuv, which reads what came first.',
};

const CPU: Metric = { key: 'cpu', title: 'CPU of the proxy', unit: 's/GB', better: 'less' };

export const proxy: Scenario<ProxyCase> = {
  name: 'proxy',
  title: 'A TCP proxy, bulk',
  about: 'Bytes from one side to the other as fast as they go; both peers are one process that polls.',
  metrics: [CPU, { key: 'throughput', title: 'throughput', unit: 'GB/s', better: 'more' }],
  baseline: 'node',
  axis: { title: 'connections', kind: 'count' },
  contestants,
  reasons: REASONS,
  cases: ({ name }) =>
    (name === 'quick' ? [1, 64] : name === 'normal' ? [1, 8, 64] : [1, 8, 64, 500]).map((connections) => ({
      name: connections === 1 ? '1 connection' : `${connections} connections`,
      group: 'one way',
      x: connections,
      connections,
    })),
  turnEstimate: (_one, effort) => 4 * effort.turn + 100,
  open: (_cases, effort, pin) =>
    open(effort, pin, async (upstream, server, { connections }, { turn }) => {
      // Enough that what fills buffers at first does not count: some 0.9 GiB in turns of 150 ms.
      const bytes = Math.max(connections * 4 * MiB, turn * 6 * MiB);
      return withPairs(upstream, server, connections, (pairs) => {
        pump(pairs, connections * 256 * KiB);
        server.meter.read();
        const startedAt = performance.now();
        const passed = pump(pairs, bytes);
        const seconds = (performance.now() - startedAt) / 1000;
        const { cpuSeconds } = server.meter.read();
        return { cpu: cpuSeconds / (passed / GB), throughput: passed / GB / seconds };
      });
    }),
};

export const pingPongs: Scenario<ProxyCase> = {
  name: 'ping-pong',
  title: 'A TCP proxy, small messages',
  about: `Messages of ${MESSAGE} bytes to and fro, one after the other, on one connection.`,
  metrics: [
    { key: 'median', title: 'there and back', unit: 'µs', better: 'less' },
    { key: 'p99', title: 'there and back, p99', unit: 'µs', better: 'less' },
    { key: 'cpu', title: 'CPU of a message and its answer', unit: 'µs', better: 'less' },
  ],
  baseline: 'node',
  contestants,
  reasons: REASONS,
  cases: () => [{ name: `${MESSAGE} bytes`, connections: 1 }],
  turnEstimate: (_one, effort) => 4 * effort.turn,
  open: (_cases, effort, pin) =>
    open(effort, pin, (upstream, server, _one, { turn }) =>
      withPairs(upstream, server, 1, ([pair]) => {
        const messages = turn * 40;
        pingPong(pair as PollingPair, MESSAGE, messages / 10);
        server.meter.read();
        const times = [...pingPong(pair as PollingPair, MESSAGE, messages)];
        const { cpuSeconds } = server.meter.read();
        return {
          median: median(times) * 1000,
          p99: quantile(times, 0.99) * 1000,
          cpu: (cpuSeconds * 1e6) / messages,
        };
      }),
    ),
};

/** Milliseconds until nothing is under way any more. */
const settling = ({ name }: Effort): number => (name === 'quick' ? 300 : 1000);

export const idlePairs: Scenario<ProxyCase> = {
  name: 'idle-pairs',
  title: 'A TCP proxy, idle connections',
  about: 'What a proxied connection holds on which something has passed, and nothing does now.',
  metrics: [
    { key: 'heap', title: 'heap for each pair', unit: 'KiB', better: 'less' },
    { key: 'descriptors', title: 'descriptors for each pair', unit: '', better: 'less', tableOnly: true },
  ],
  baseline: 'node',
  contestants: contestants.filter(({ name }) => !name.startsWith('haproxy')),
  cases: ({ name }) => {
    const connections = name === 'quick' ? 100 : 500;
    return [{ name: `${connections} pairs`, connections }];
  },
  turnEstimate: (_one, effort) => 2 * settling(effort) + 500,
  open: (_cases, effort, pin) =>
    open(effort, pin, async (upstream, server, { connections }) => {
      const held = async (): Promise<{ heap: number; descriptors: number }> => {
        await sleep(settling(effort));
        const { heap = Number.NaN } = await server.details(true);
        return { heap, descriptors: server.meter.read().descriptors };
      };
      const before = await held();
      return withPairs(upstream, server, connections, async (pairs) => {
        pump(pairs, connections * KiB);
        const after = await held();
        return {
          heap: (after.heap - before.heap) / connections / KiB,
          descriptors: (after.descriptors - before.descriptors) / connections,
        };
      });
    }),
};
