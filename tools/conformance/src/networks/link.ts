/**
 * The wire between two hosts, and what is done to packets on it. By netem where the kernel has that (tried, not guessed):
 * the two ends of one veth pair. Where it has not, by a relay of ours between two pairs.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { type Impairment, netemArguments } from './conditions.js';
import type { Host } from './hosts.js';
import {
  DELAY_US,
  FORWARDED,
  JITTER_US,
  LOSS_PPM,
  LOST,
  OVERTAKING,
  REORDER_PPM,
  type RelayData,
  STOP,
  WORDS,
} from './relay-control.js';

export interface PacketCounts {
  readonly forwarded: number;
  readonly lost: number;
  readonly overtaking: number;
}

export interface Link {
  /** How packets are impaired, in words. */
  readonly kind: string;
  impair(impairment: Impairment): Promise<void>;
  /** Pulls the cable, or plugs it in again. */
  setUp(up: boolean): Promise<void>;
  /** Since the link was made; undefined where nobody counts. */
  packets(): PacketCounts | undefined;
  close(): Promise<void>;
}

const run = promisify(execFile);
export const ip = (...args: string[]): Promise<{ stdout: string }> => run('ip', args);

/** The name of either host's end. */
const DEVICE = 'wire';
const NETMASK = 24;

/** What the kernel says that has no netem. Any other refusal is a fault of ours. */
const UNKNOWN = /kind is unknown|Operation not supported|not found/;

/** Whether this kernel has netem: tried on the loopback device of this namespace, with arguments of the real kind. */
async function refusalOfNetem(): Promise<string | undefined> {
  try {
    const args = netemArguments({ loss: 0.01, delayMs: 2, jitterMs: 1, reorder: 0.1 });
    await run('tc', ['qdisc', 'replace', 'dev', 'lo', 'root', 'netem', ...args]);
    await run('tc', ['qdisc', 'del', 'dev', 'lo', 'root']);
    return undefined;
  } catch (error) {
    const { code, stderr = '' } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === 'ENOENT') return 'tc cannot be found';
    if (UNKNOWN.test(stderr)) return 'the kernel has no netem';
    throw error;
  }
}

/** Neighbours for good, so that a host whose link is down is not told by a failed look-up of an address. */
async function acquaint(host: Host, peer: Host): Promise<void> {
  await host.ask('acquaint', { device: DEVICE, address: peer.address, hardwareAddress: peer.hardwareAddress });
}

/** Makes a pair of devices, of which `end` goes to the host. */
async function plugIn(host: Host, end: string, otherEnd: string): Promise<void> {
  await ip('link', 'add', end, 'address', host.hardwareAddress, 'type', 'veth', 'peer', 'name', otherEnd);
  await moveTo(host, end);
}

const moveTo = (host: Host, end: string): Promise<unknown> =>
  ip('link', 'set', end, 'netns', String(host.pid), 'name', DEVICE);

async function configure(hosts: readonly [Host, Host], offloads: boolean): Promise<void> {
  for (const host of hosts) {
    await host.ask('configure', { device: DEVICE, address: `${host.address}/${NETMASK}`, offloads });
  }
  await acquaint(hosts[0], hosts[1]);
  await acquaint(hosts[1], hosts[0]);
}

/** Joins two hosts. To be called in the namespace between them. */
export async function joinHosts(a: Host, b: Host, seed: number): Promise<Link> {
  const refusal = await refusalOfNetem();
  return refusal === undefined ? joinByNetem(a, b) : joinByRelay(a, b, seed, refusal);
}

async function joinByNetem(a: Host, b: Host): Promise<Link> {
  await plugIn(a, 'end-a', 'end-b');
  await ip('link', 'set', 'end-b', 'address', b.hardwareAddress);
  await moveTo(b, 'end-b');
  await configure([a, b], true);
  return {
    kind: 'netem on a veth pair',
    async impair(impairment) {
      for (const host of [a, b]) await host.ask('impair', { device: DEVICE, netem: netemArguments(impairment) });
    },
    /** By the end of the host without the packages: the other one sees its carrier go, as with a cable. */
    async setUp(up) {
      await b.ask('setUp', { device: DEVICE, up });
      if (up) await acquaint(b, a); // forgotten with the device
    },
    packets: () => undefined,
    async close() {},
  };
}

async function joinByRelay(a: Host, b: Host, seed: number, refusal: string): Promise<Link> {
  const ends = ['relay-a', 'relay-b'];
  const indices: number[] = [];
  for (const [at, host] of [a, b].entries()) {
    const end = ends[at] as string;
    await plugIn(host, 'host-end', end);
    await ip('link', 'set', end, 'up');
    const { stdout } = await ip('-json', 'link', 'show', 'dev', end);
    indices.push((JSON.parse(stdout) as [{ ifindex: number }])[0].ifindex);
  }
  await configure([a, b], false);
  const control = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  const data: RelayData = { control, seed, devices: indices as [number, number] };
  const worker = new Worker(new URL('./relay.worker.js', import.meta.url), { workerData: data });
  await once(worker, 'online');
  const failed = once(worker, 'exit'); // rejects with its error, if it has one
  failed.catch(() => {});
  return {
    kind: `a relay between two veth pairs (${refusal})`,
    async impair({ loss, delayMs, jitterMs, reorder }) {
      Atomics.store(control, LOSS_PPM, Math.round(loss * 1e6));
      Atomics.store(control, DELAY_US, Math.round(delayMs * 1000));
      Atomics.store(control, JITTER_US, Math.round(jitterMs * 1000));
      Atomics.store(control, REORDER_PPM, Math.round(reorder * 1e6));
    },
    async setUp(up) {
      for (const end of ends) await ip('link', 'set', end, up ? 'up' : 'down');
    },
    packets: () => ({
      forwarded: Atomics.load(control, FORWARDED),
      lost: Atomics.load(control, LOST),
      overtaking: Atomics.load(control, OVERTAKING),
    }),
    async close() {
      Atomics.store(control, STOP, 1);
      await failed;
    },
  };
}
