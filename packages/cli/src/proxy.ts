/** `zerocopy proxy`. */
import cluster from 'node:cluster';
import net, { type Socket } from 'node:net';
import { ProxyError, type ProxyOptions, type ProxyResult, proxy, proxyHeader } from '@zerocopy/splice-pipe';
import { type Call, UsageError } from './command.js';
import {
  ADDRESS,
  addressOf,
  checkListenable,
  formatAddress,
  leadsTo,
  listen,
  parseAddress,
  parseTarget,
  TARGET,
} from './server/address.js';
import { adminServer, answerPrimary, askWorkers, type Counters, countersOf, series, sum } from './server/counters.js';
import { connectionsOf, cutOff, drain, untilStopped } from './server/drain.js';
import { readProxyHeader } from './server/proxy-header.js';
import { type Balance, type Target, Targets } from './server/targets.js';
import { isPrimary, isSpokesman, runWorkers } from './server/workers.js';
import type { Terminal } from './terminal.js';
import { parseCount, parseDuration, summary } from './units.js';

const DEFAULT_DRAIN = 30_000;
const DEFAULT_CONNECT = 10_000;
const DEFAULT_HEALTH = 5000;
/** How long a header of the PROXY protocol may take. */
const HEADER_TIME = 5000;
const TIME = 'a time, such as 30s';

/** Passes connections on until it is stopped. @returns 0 after a drain. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const [where = '', ...names] = call.operands;
  const address = parseAddress(where);
  if (address === undefined) throw new UsageError(`LISTEN: expected ${ADDRESS}, got '${where}'`);
  const addresses = names.map((name) => {
    const target = parseTarget(name);
    if (target === undefined) throw new UsageError(`TARGET: expected ${TARGET}, got '${name}'`);
    return target;
  });
  const itself = addresses.find((target) => leadsTo(target, address));
  if (itself !== undefined) throw new UsageError(`TARGET: ${formatAddress(itself)} is where it listens itself`);
  const workers = call.read('workers', parseCount(1), 'a number from 1 on') ?? 1;
  const drainTime = call.read('drain', parseDuration, TIME) ?? DEFAULT_DRAIN;
  const connectTime = call.read('connect-timeout', parseDuration, TIME) || DEFAULT_CONNECT;
  const health = call.read('health', parseDuration, TIME) ?? (addresses.length > 1 ? DEFAULT_HEALTH : 0);
  const most = call.read('max-conn', parseCount(1), 'a number from 1 on');
  const admin = call.read('admin', parseAddress, ADDRESS);
  const note = (line: string): void => terminal.note(`zerocopy proxy: ${line}`);
  const targets = new Targets(addresses, (call.value('balance') ?? 'round-robin') as Balance, connectTime, note);
  const joining = new Joining(call, targets);
  const isMain = isPrimary(workers);
  if (cluster.isPrimary) for (const one of [address, admin]) if (one !== undefined) checkListenable(one);

  const metrics = admin && (isMain || workers === 1) ? adminServer(isMain ? askWorkers : joining.read) : undefined;
  if (metrics !== undefined && admin !== undefined) await listen(metrics, admin);
  try {
    if (isMain) return await runWorkers(workers, call, terminal);
    if (workers > 1) answerPrimary(joining.counters);
    return await serve();
  } finally {
    metrics?.close();
    metrics?.closeAllConnections();
  }

  async function serve(): Promise<number> {
    const startedAt = performance.now();
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, joining.accept);
    if (most !== undefined) server.maxConnections = Math.max(1, Math.floor(most / workers));
    server.on('drop', () => joining.refused++);
    const sockets = connectionsOf(server);
    if (address === undefined) return 2;
    await listen(server, address);
    if (isSpokesman())
      note(`${formatAddress(addressOf(server, address))} to ${addresses.map(formatAddress).join(', ')}`);
    const unwatch = health > 0 ? targets.watch(health) : undefined;
    await untilStopped(server, terminal.signal, note);
    unwatch?.();
    const cut = await drain(server, sockets, drainTime);
    if (cut > 0) note(`${cut} connections were cut off after ${drainTime / 1000} s`);
    const { connections, bytes, method, reason } = joining;
    note(summary(`${connections} connections`, bytes, performance.now() - startedAt, method, reason));
    return cut > 0 ? 1 : 0;
  }
}

/** Joins each client to a target, and counts. */
class Joining {
  readonly #targets: Targets;
  readonly #options: ProxyOptions;
  readonly #proxyOut: 'v1' | 'v2' | undefined;
  readonly #proxyIn: boolean;
  readonly #methods: Map<string, number> = new Map();
  refused = 0;
  reason: string | undefined;

  constructor(call: Call, targets: Targets) {
    this.#targets = targets;
    const idleTimeout = call.read('idle', parseDuration, TIME);
    const halfCloseTimeout = call.read('half-close', parseDuration, TIME);
    this.#options = {
      ...(idleTimeout !== undefined && { idleTimeout }),
      ...(halfCloseTimeout !== undefined && { halfCloseTimeout }),
    };
    this.#proxyOut = call.value('proxy-out') as 'v1' | 'v2' | undefined;
    this.#proxyIn = call.has('proxy-in');
  }

  get connections(): number {
    return this.#targets.all.reduce((total, { connections }) => total + connections, 0);
  }

  get bytes(): number {
    return this.#targets.all.reduce((total, { forward, backward }) => total + forward + backward, 0);
  }

  /** How the bytes were moved. */
  get method(): string | undefined {
    return this.#methods.size === 0 ? undefined : [...this.#methods.keys()].join(', ');
  }

  readonly counters = (): Counters => ({
    ...sum(this.#targets.all.map(countersOf)),
    [series('refused_total', {})]: this.refused,
    ...Object.fromEntries([...this.#methods].map(([method, count]) => [series('transfers_total', { method }), count])),
  });

  readonly read = (): Promise<Counters> => Promise.resolve(this.counters());

  readonly accept = (client: Socket): void => {
    client.on('error', () => {}); // it is told by the promise, or the client has gone away before there was one
    this.#join(client).catch(() => {
      this.refused++;
      cutOff(client);
    });
  };

  async #join(client: Socket): Promise<void> {
    let head: Buffer | undefined;
    if (this.#proxyIn) {
      const { addresses, rest } = await readProxyHeader(client, HEADER_TIME);
      const header = this.#proxyOut === undefined ? undefined : proxyHeader(this.#proxyOut, addresses);
      head = header === undefined ? rest : Buffer.concat([header, rest]);
    }
    const [target, upstream] = await this.#targets.connect();
    upstream.on('error', () => {});
    if (client.destroyed) {
      upstream.destroy();
      return;
    }
    const proxyProtocol = this.#proxyIn ? undefined : this.#proxyOut;
    await this.#pass(client, upstream, target, {
      ...this.#options,
      ...(head !== undefined && head.length > 0 && { head }),
      ...(proxyProtocol !== undefined && { proxyProtocol }),
    });
  }

  async #pass(client: Socket, upstream: Socket, target: Target, options: ProxyOptions): Promise<void> {
    let counted: [number, number] = [0, 0];
    const count = (up: number, down: number): void => {
      target.forward += up - counted[0];
      target.backward += down - counted[1];
      counted = [up, down];
    };
    target.connections++;
    target.active++;
    let result: ProxyResult | undefined;
    try {
      result = await proxy(client, upstream, { ...options, onProgress: count });
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      target.countFailure(error.code);
      result = error;
    } finally {
      target.active--;
      if (result !== undefined) count(result.forward.bytes, result.backward.bytes);
    }
    for (const { method, fallbackReason } of [result.forward, result.backward]) {
      this.#methods.set(method, (this.#methods.get(method) ?? 0) + 1);
      this.reason = fallbackReason ?? this.reason;
    }
  }
}
