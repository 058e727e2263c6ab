/** What a proxy has done, of one process or of several together, and as Prometheus text. */
import cluster from 'node:cluster';
import http from 'node:http';
import type { Target } from './targets.js';

/** By names, each with its labels: 'zerocopy_proxy_bytes_total{target="…",direction="forward"}'. */
export type Counters = Readonly<Record<string, number>>;

const FAMILIES: readonly (readonly [name: string, type: 'counter' | 'gauge', help: string])[] = [
  ['zerocopy_proxy_connections_total', 'counter', 'Connections that reached a target.'],
  ['zerocopy_proxy_connections_active', 'gauge', 'Connections that are open now.'],
  ['zerocopy_proxy_bytes_total', 'counter', 'Bytes that were passed on.'],
  ['zerocopy_proxy_failures_total', 'counter', 'Connections that failed, and health checks, by the code of the error.'],
  [
    'zerocopy_proxy_transfers_total',
    'counter',
    'Directions of connections that have ended, by how their bytes were moved.',
  ],
  ['zerocopy_proxy_refused_total', 'counter', 'Clients that were turned away.'],
  ['zerocopy_proxy_target_up', 'gauge', 'Processes that can reach the target.'],
];

const escaped = (text: string): string => text.replaceAll(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`));

export const series = (name: string, labels: Readonly<Record<string, string>>): string => {
  const all = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value)}"`);
  return `zerocopy_proxy_${name}${all.length === 0 ? '' : `{${all.join(',')}}`}`;
};

/** The counters of a target. */
export function countersOf({ name: target, active, connections, forward, backward, isUp, failures }: Target): Counters {
  return {
    [series('connections_total', { target })]: connections,
    [series('connections_active', { target })]: active,
    [series('bytes_total', { target, direction: 'forward' })]: forward,
    [series('bytes_total', { target, direction: 'backward' })]: backward,
    [series('target_up', { target })]: Number(isUp),
    ...Object.fromEntries([...failures].map(([code, count]) => [series('failures_total', { target, code }), count])),
  };
}

export function sum(all: readonly Counters[]): Counters {
  const result: Record<string, number> = {};
  for (const counters of all) {
    for (const [name, value] of Object.entries(counters)) result[name] = (result[name] ?? 0) + value;
  }
  return result;
}

/** As https://prometheus.io/docs/instrumenting/exposition_formats/ has it. */
export function prometheusText(counters: Counters): string {
  const lines: string[] = [];
  for (const [family, type, help] of FAMILIES) {
    const members = Object.entries(counters).filter(([name]) => name === family || name.startsWith(`${family}{`));
    if (members.length === 0) continue;
    lines.push(`# HELP ${family} ${help}`, `# TYPE ${family} ${type}`);
    for (const [name, value] of members) lines.push(`${name} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}

/** A server that answers /metrics. */
export function adminServer(read: () => Promise<Counters>): http.Server {
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '').replace(/\?.*$/, '');
    if (path !== '/metrics') return void response.writeHead(404).end();
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return void response.writeHead(405, { allow: 'GET, HEAD' }).end();
    read().then(
      (counters) => {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
        response.end(prometheusText(counters));
      },
      () => response.writeHead(500).end(),
    );
  });
  server.on('listening', () => server.on('error', () => {})); // a connection could not be accepted: the next may be
  return server;
}

const ASK = 'zerocopy:counters?';
interface Answer {
  readonly zerocopyCounters: Counters;
}
const isAnswer = (message: unknown): message is Answer =>
  typeof message === 'object' && message !== null && 'zerocopyCounters' in message;

/** In a worker: answers the primary. */
export function answerPrimary(read: () => Counters): void {
  process.on('message', (message) => {
    if (message === ASK) process.send?.({ zerocopyCounters: read() } satisfies Answer);
  });
}

/** A worker that is busy, or about to end, is not waited for longer. */
const PATIENCE = 1000;

/** In the primary: the counters of all workers together. */
export async function askWorkers(): Promise<Counters> {
  const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker?.isConnected());
  const answers = workers.map(
    (worker) =>
      new Promise<Counters>((resolve) => {
        const onMessage = (message: unknown): void => {
          if (isAnswer(message)) end(message.zerocopyCounters);
        };
        const end = (counters: Counters): void => {
          clearTimeout(timer);
          worker?.off('message', onMessage);
          resolve(counters);
        };
        const timer = setTimeout(() => end({}), PATIENCE);
        worker?.on('message', onMessage);
        worker?.send(ASK, undefined, undefined, () => {});
      }),
  );
  return sum(await Promise.all(answers));
}
