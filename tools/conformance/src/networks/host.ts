/** One of the two hosts: a process that has been started in a network of its own, and does what the laboratory asks. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import net, { type Server, type Socket } from 'node:net';
import { pipePoolStats } from '@zerocopy/splice-pipe';
import { bytesOf } from '@zerocopy/testing/bytes';
import { openDescriptors } from '@zerocopy/testing/holdings';
import { activeTransfers } from '@zerocopy/transfer';
import { answerBy, tell } from '../asking.js';
import { movers, type Side } from '../ways/twins.js';
import { openCrossing, type Wire } from '../ways/wire.js';
import type { Condition } from './conditions.js';
import { type CutOff, cutOffs, type Doomed } from './cut-off.js';
import { CONTENT, listen, type Site, send } from './flows.js';
import { disableOffloads } from './offloads.js';
import { passAll } from './passage.js';

/** What a host holds, when nothing should be under way. */
export interface Holdings {
  /** Without those of pipes that are kept for the next transfer. */
  readonly descriptors: number;
  readonly pipesInUse: number;
  readonly transfers: number;
  /** Resident, after garbage collection, in bytes. */
  readonly residentSet: number;
}

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

const sysctl = (name: string, value: string): void => writeFileSync(`/proc/sys/net/${name}`, value);

/** Of those who wait in a middle. */
let goOn: (() => void)[] = [];

interface Cut {
  readonly name: string;
  readonly side: Side;
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
    tell('middle');
  });

function holdings(): Holdings {
  for (let round = 0; round < 3; round++) gc?.();
  const { inUse, idle } = pipePoolStats();
  return {
    descriptors: openDescriptors() - 2 * idle,
    pipesInUse: inUse,
    transfers: activeTransfers(),
    residentSet: process.memoryUsage.rss(),
  };
}

export interface PassageOrder {
  readonly site: Site;
  readonly wire: Wire;
  readonly condition: Pick<Condition, 'littleAtATime'>;
  readonly patienceMs: number;
  readonly stops: boolean;
  readonly only?: string | undefined;
}

answerBy({
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

  openCrossing: ({ address, peerAddress }: Site) => openCrossing(address, peerAddress),

  pass({ site: { directory, seed, size }, stops, ...order }: PassageOrder) {
    const content = Buffer.concat([...bytesOf(CONTENT, seed, size)]);
    return passAll({ ...order, directory, content, middle: stops ? middle : undefined });
  },

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

  async doom({ name, site, side, upstream }: Cut & { upstream: number }) {
    const begun = await cutOffOf(name).serve(site, movers[side], upstream);
    doomed.set(`${name}, ${side}`, begun);
    return begun.port;
  },

  async visitDoomed({ name, site, port }: Cut & { port: number }) {
    hold(await cutOffOf(name).visit({ ...site, middle }, port));
  },

  async outcome({ name, side }: Cut) {
    const key = `${name}, ${side}`;
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
});
