/** One of the two hosts: a process that has been started in a network of its own, and does what the laboratory asks. */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import net, { type Server, type Socket } from 'node:net';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import { activeTransfers } from '@zerocopy/transfer';
import { type CutOff, cutOffs, type Doomed, type Implementation } from './cut-off.js';
import type { Message, Question } from './hosts.js';
import { disableOffloads } from './offloads.js';
import { scenarios } from './scenarios/index.js';
import {
  type Activity,
  listen,
  type Passage,
  type Scenario,
  type ServingSite,
  type Site,
  send,
} from './scenarios/scenario.js';

/** What a host holds, when nothing should be under way. */
export interface Holdings {
  /** Without those of pipes that are kept for the next transfer. */
  readonly descriptors: number;
  readonly pipesInUse: number;
  readonly transfers: number;
  /** Resident, after garbage collection, in bytes. */
  readonly residentSet: number;
}

process.once('disconnect', () => process.exit());

const tell = (message: Message): void => {
  process.send?.(message);
};

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

const sysctl = (name: string, value: string): void => writeFileSync(`/proc/sys/net/${name}`, value);

/** What has been started and not yet been asked for, by scenario. */
const serving = new Map<string, Activity>();
const prepared = new Map<string, Activity>();
let goOn: (() => void)[] = [];

interface Cut {
  readonly name: string;
  readonly implementation: Implementation;
  readonly site: Site;
}

const doomed = new Map<string, Doomed>();
const held = new Set<Socket>();
let offering: Server | undefined;

function hold(socket: Socket): void {
  held.add(socket);
  socket.on('error', () => {}); // it is to be cut off
}

const cutOffOf = (name: string): CutOff => cutOffs.find((cutOff) => cutOff.name === name) as CutOff;

const middle = (): Promise<void> =>
  new Promise((resolve) => {
    goOn.push(resolve);
    tell({ event: 'middle' });
  });

const noMiddle = async (): Promise<void> => {};

function scenarioOf(name: unknown): Scenario {
  return scenarios.find((scenario) => scenario.name === name) as Scenario;
}

async function outcome(activities: Map<string, Activity>, name: string): Promise<readonly Passage[]> {
  const activity = activities.get(name);
  activities.delete(name);
  return (await activity?.done()) ?? [];
}

function holdings(): Holdings {
  for (let round = 0; round < 3; round++) gc?.();
  const { inUse, idle } = pipePoolStats();
  return {
    descriptors: readdirSync('/proc/self/fd').length - 2 * idle,
    pipesInUse: inUse,
    transfers: activeTransfers(),
    residentSet: process.memoryUsage.rss(),
  };
}

type Answers = Readonly<Record<string, (question: never) => unknown>>;

const answers: Answers = {
  greet: () => {},

  configure({ device, address, offloads }: { device: string; address: string; offloads: boolean }) {
    sysctl('ipv6/conf/all/disable_ipv6', '1');
    ip('link', 'set', 'lo', 'up');
    ip('address', 'add', address, 'dev', device);
    if (!offloads) disableOffloads(device);
    ip('link', 'set', device, 'up');
  },

  acquaint({ device, address, hardwareAddress }: { device: string; address: string; hardwareAddress: string }) {
    ip('neighbour', 'replace', address, 'lladdr', hardwareAddress, 'dev', device, 'nud', 'permanent');
  },

  impair({ device, netem }: { device: string; netem: string[] }) {
    execFileSync('tc', ['qdisc', 'replace', 'dev', device, 'root', 'netem', ...netem]);
  },

  setUp: ({ device, up }: { device: string; up: boolean }) => ip('link', 'set', device, up ? 'up' : 'down'),

  /** For the sockets that are made from now on: minimum, default and maximum. */
  setBuffers({ receive, send }: { receive: readonly number[]; send: readonly number[] }) {
    sysctl('ipv4/tcp_rmem', receive.join(' '));
    sysctl('ipv4/tcp_wmem', send.join(' '));
  },

  async prepare({ scenario, site, stops }: { scenario: string; site: Site; stops: boolean }) {
    const activity = await scenarioOf(scenario).prepare?.({ ...site, middle: stops ? middle : noMiddle });
    if (activity !== undefined) prepared.set(scenario, activity);
    return activity?.ports ?? [];
  },

  async serve({ scenario, site, ports }: { scenario: string; site: ServingSite; ports: number[] }) {
    const activity = await scenarioOf(scenario).serve(site, ports);
    serving.set(scenario, activity);
    return activity.ports;
  },

  async visit({ scenario, site, ports, stops }: { scenario: string; site: Site; ports: number[]; stops: boolean }) {
    const seen = await scenarioOf(scenario).visit({ ...site, middle: stops ? middle : noMiddle }, ports);
    return [...seen, ...(await outcome(prepared, scenario))];
  },

  served: ({ scenario }: { scenario: string }) => outcome(serving, scenario),

  goOn() {
    for (const resume of goOn) resume();
    goOn = [];
  },

  holdings,

  /** Whoever connects is sent more than can be on its way at a time. */
  async offer({ site }: { site: Site }) {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      hold(socket);
      socket.resume();
      send(socket, 'upstream', site).catch(() => {}); // it does not come to its end
    });
    offering = server;
    return listen(server, site.address);
  },

  async doom({ name, site, implementation, upstream }: Cut & { upstream: number }) {
    const begun = await cutOffOf(name).serve(site, implementation, upstream);
    doomed.set(`${name}, ${implementation}`, begun);
    return begun.port;
  },

  async visitDoomed({ name, site, port }: Cut & { port: number }) {
    hold(await cutOffOf(name).visit({ ...site, middle }, port));
  },

  async outcome({ name, implementation }: Cut) {
    const key = `${name}, ${implementation}`;
    const outcome = await doomed.get(key)?.outcome();
    doomed.delete(key);
    return outcome;
  },

  /** Ends what is left on the side without the packages. */
  async letGo() {
    offering?.close();
    for (const socket of held) socket.destroy();
    held.clear();
  },
};

process.on('message', async ({ id, ask, ...args }: Question) => {
  try {
    tell({ id, answer: await answers[ask]?.(args as never) });
  } catch (error) {
    tell({ id, error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) });
  }
});
