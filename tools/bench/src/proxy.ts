/** `npm run bench:proxy`: a TCP proxy's CPU, throughput, latency and memory, against Node's pipes and HAProxy. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, quantile } from 'simple-statistics';
import { CLIENT_CORE, ContestantServer, canPin, SERVER_CORE, type Server } from './contestant-server.js';
import { GB } from './measure.js';
import { freePort, PeerServer } from './peers.js';
import { type PollingPair, pingPong, pump, Upstream } from './polling-pair.js';
import { Samples, tableOf } from './samples.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const MESSAGE = 64;
const IDLE_PAIRS = 500;
const entry = fileURLToPath(new URL('./proxy-process.js', import.meta.url));

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    connections: { type: 'string', multiple: true, default: ['1', '8', '64'] },
    mebibytes: { type: 'string', default: '2048' },
    messages: { type: 'string', default: '20000' },
  },
});
const rounds = Number(values.rounds);

interface Contestant {
  readonly name: string;
  readonly version: string | undefined;
  start(upstreamPort: number, pin: boolean): Promise<Server>;
}

const ours = (name: string): Contestant => ({
  name,
  version: process.version,
  start: (upstreamPort, pin) => ContestantServer.run(entry, [name, String(upstreamPort)], pin),
});

/** @param settings of splicing: left to its judgement, or always and with large pipes. */
const haproxy = (name: string, settings: { global: string; defaults: string }): Contestant => ({
  name,
  version: /version ([\d.]+)/.exec(spawnSync('haproxy', ['-v'], { encoding: 'utf8' }).stdout ?? '')?.[1],
  async start(upstreamPort, pin) {
    const directory = mkdtempSync(join(tmpdir(), 'zerocopy-haproxy-'));
    const port = await freePort();
    writeFileSync(
      join(directory, 'haproxy.cfg'),
      `global
  nbthread 1
  maxconn 4096
  maxpipes 1024
  ${settings.global}
defaults
  mode tcp
  ${settings.defaults}
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen proxy
  bind 127.0.0.1:${port}
  server upstream 127.0.0.1:${upstreamPort}
`,
    );
    const command = ['haproxy', '-db', '-f', join(directory, 'haproxy.cfg')];
    const [program = '', ...args] = pin ? ['taskset', '-c', SERVER_CORE, ...command] : command;
    const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    await new Promise((resolve) => setTimeout(resolve, 500));
    if (child.exitCode !== null) throw new Error(`haproxy ended with status ${child.exitCode}`);
    return new PeerServer(child, port, directory, 'splice');
  },
});

const all = [
  ours('node'),
  ours('zerocopy'),
  haproxy('haproxy', { global: '', defaults: 'option splice-auto' }),
  haproxy('haproxy-always', {
    global: `tune.pipesize ${MiB}`,
    defaults: 'option splice-request\n  option splice-response',
  }),
];
const contestants = all.filter(({ version }) => version !== undefined);

interface Running {
  readonly name: string;
  readonly server: Server;
  readonly samples: Samples;
}

const pin = canPin();
if (pin) spawnSync('taskset', ['-cp', CLIENT_CORE, String(process.pid)]);
const upstream = await Upstream.listen();
const running: Running[] = [];
try {
  for (const { name, start } of contestants) {
    running.push({ name, server: await start(upstream.port, pin), samples: new Samples() });
  }
  for (const one of running) await idle(one);
  for (let round = 0; round <= rounds; round++) {
    for (const one of running) {
      // The first round is for everybody to get warm.
      const counted = round > 0;
      for (const connections of values.connections.map(Number)) await throughput(one, connections, counted);
      await latency(one, counted);
    }
  }
  report();
} finally {
  for (const { server } of running) await server.stop();
  upstream.close();
}

async function withPairs(server: Server, count: number, use: (pairs: readonly PollingPair[]) => void): Promise<void> {
  const pairs: PollingPair[] = [];
  for (let n = 0; n < count; n++) pairs.push(await upstream.through(server.port));
  try {
    use(pairs);
  } finally {
    for (const pair of pairs) pair.close();
  }
}

async function throughput(one: Running, connections: number, counted: boolean): Promise<void> {
  const bytes = Number(values.mebibytes) * MiB;
  const { server } = one;
  await withPairs(server, connections, (pairs) => pump(pairs, connections * MiB));
  let seconds = 0;
  await server.report();
  await withPairs(server, connections, (pairs) => {
    const startedAt = performance.now();
    pump(pairs, bytes);
    seconds = (performance.now() - startedAt) / 1000;
  });
  const { cpuSeconds } = await server.report();
  if (!counted) return;
  one.samples.add(`CPU s/GB, ${connections}`, cpuSeconds / (bytes / GB));
  one.samples.add(`GB/s, ${connections}`, bytes / GB / seconds);
}

async function latency(one: Running, counted: boolean): Promise<void> {
  const { server } = one;
  const messages = Number(values.messages);
  let times: Float64Array = new Float64Array(0);
  await withPairs(server, 1, ([pair]) => {
    pingPong(pair as PollingPair, MESSAGE, messages / 10);
  });
  await server.report();
  await withPairs(server, 1, ([pair]) => {
    times = pingPong(pair as PollingPair, MESSAGE, messages);
  });
  const { cpuSeconds } = await server.report();
  if (!counted) return;
  one.samples.add('µs a message', median([...times]) * 1000);
  one.samples.add('p99', quantile([...times], 0.99) * 1000);
  one.samples.add('CPU µs a message', (cpuSeconds * 1e6) / messages);
}

/** Memory of a connection on which something has passed, and nothing does now. */
async function idle(one: Running): Promise<void> {
  if (!(one.server instanceof ContestantServer)) return;
  await idleHeap(one.server); // the first connections make what all share
  const { used, unused } = await idleHeap(one.server);
  one.samples.add('KiB an idle pair', (used - unused) / IDLE_PAIRS / KiB);
}

async function idleHeap(server: ContestantServer): Promise<{ unused: number; used: number }> {
  const heap = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return (await server.report(true)).heap ?? Number.NaN;
  };
  const unused = await heap();
  const pairs: PollingPair[] = [];
  for (let n = 0; n < IDLE_PAIRS; n++) pairs.push(await upstream.through(server.port));
  pump(pairs, IDLE_PAIRS * KiB);
  const used = await heap();
  for (const pair of pairs) pair.close();
  return { unused, used };
}

function report(): void {
  for (const { name, version } of all) {
    if (version === undefined) console.log(`${name}: not installed`);
    else console.log(`${name}: ${version}`);
  }
  console.log(tableOf(running));
  console.log(
    `TCP over loopback, polling peers${pin ? ', the proxy alone on its core' : ''}; 1 to ${values.connections.at(-1)} connections, ${values.mebibytes} MiB in all; messages of ${MESSAGE} bytes to and fro. Medians (minimum–maximum) of ${rounds} interleaved rounds.`,
  );
}
