/**
 * What runs between the two hosts, in a network of its own: it starts and joins them, goes through the conditions, and tells
 * what it has seen to whoever started it. When that is gone, so is this, and with it everything.
 */
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesOf, MiB } from '@zerocopy/testing/bytes';
import { inTime } from '@zerocopy/testing/waiting';
import type { Side } from '../ways/twins.js';
import type { Wire } from '../ways/wire.js';
import { CLEAN, type Condition, conditions } from './conditions.js';
import { cutOffs } from './cut-off.js';
import { CONTENT, type Site } from './flows.js';
import type { Holdings, PassageOrder } from './host.js';
import { Host } from './hosts.js';
import { ip, joinHosts, type Link } from './link.js';
import type { Passage } from './passage.js';
import type { Options, Row, Told } from './report.js';

/** What a host with nothing to do may have more in memory than before: caches of V8's and of the allocator's. */
const SETTLED_GROWTH = 32 * MiB;
/** The same, while nothing moves. */
const STALLED_GROWTH = 4 * MiB;
/** In which the flows that are to be cut off come to their middles, in milliseconds. */
const MIDDLES_MS = 10_000;

/** So small that the middle of a flow is a middle: what is in flight then is far less than what is to come. */
const SMALL_BUFFERS = { receive: 64 * 1024, send: 64 * 1024 };
const INTERRUPTED = { impairment: CLEAN, buffers: SMALL_BUFFERS, littleAtATime: false };
/** As the kernel's own, but for what a socket may have waiting at once: enough for a proxy to find it worth splicing. */
const KERNEL_BUFFERS = { receive: [4096, MiB, 6 * MiB], send: [4096, 16_384, 4 * MiB] };
const upTo = (bytes: number): number[] => [Math.min(4096, bytes), bytes, bytes];

interface Interruption {
  readonly name: string;
  /** Called when every way has come to its middle; they go on when `goOn` is called, or at the end. */
  interrupt(goOn: () => Promise<void>): Promise<readonly string[]>;
}

interface Cut {
  readonly name: string;
  readonly side: Side;
}

const keyOf = ({ name, side }: Cut): string => `${name}, ${side}`;

class Laboratory {
  readonly #options: Options;
  readonly #directory: string;
  readonly #a: Host;
  readonly #b: Host;
  readonly #link: Link;
  readonly #wire: Wire;

  constructor(options: Options, directory: string, { a, b, link, wire }: { a: Host; b: Host; link: Link; wire: Wire }) {
    this.#options = options;
    this.#directory = directory;
    this.#a = a;
    this.#b = b;
    this.#link = link;
    this.#wire = wire;
  }

  async run(): Promise<void> {
    // What a host has loaded and compiled from then on is not taken for something left behind.
    await this.#setUp(INTERRUPTED);
    await this.#pass({ ...INTERRUPTED, name: 'warm-up' }, false);
    for (const condition of conditions) {
      if (this.#options.conditions?.includes(condition.name) ?? true) await this.#under(condition);
    }
    await this.#under({ ...INTERRUPTED, name: 'receiver stalled' }, this.#stall());
    await this.#under({ ...INTERRUPTED, name: 'link down, then up' }, this.#down());
    if (this.#options.silenceMs > 0) {
      await this.#under({ ...INTERRUPTED, name: 'silence, then back' }, this.#silence());
    }
    await this.#cutOff();
  }

  /** All ways at once. */
  async #under(condition: Condition, interruption?: Interruption): Promise<void> {
    await this.#setUp(condition);
    const before = await this.#a.ask<Holdings>('holdings');
    const packets = this.#link.packets();
    const started = performance.now();
    const faults: string[] = [];
    const passing = this.#pass(condition, interruption !== undefined);
    if (interruption !== undefined) {
      const goOn = (): Promise<void> => this.#a.ask('goOn');
      // Should all fail before their middles, nobody is to wait for these.
      await Promise.race([once(this.#a, 'middle'), passing]);
      faults.push(...(await interruption.interrupt(goOn)));
      await goOn();
    }
    const passages = await passing;
    const seconds = (performance.now() - started) / 1000;
    if (passages.length === 0) return;
    faults.push(...passages.flatMap(({ way, faults: wrong }) => wrong.map((fault) => `${way}: ${fault}`)));
    faults.push(...(await this.#nothingLeft(before)));
    const now = this.#link.packets();
    const outcome = [`${passages.length} ways`, interruption?.name, methodsOf(passages)];
    if (packets !== undefined && now !== undefined) {
      const [forwarded, lost, overtaking] = [
        now.forwarded - packets.forwarded,
        now.lost - packets.lost,
        now.overtaking - packets.overtaking,
      ];
      const { loss, reorder } = condition.impairment;
      if (loss > 0 && lost === 0) faults.push('no packet was lost');
      if (reorder > 0 && overtaking === 0) faults.push('none was reordered');
      outcome.push(`${forwarded} packets, ${lost} lost, ${overtaking} not delayed`);
    }
    tellRow({
      condition: condition.name,
      what: passages.map(({ way }) => way),
      faults,
      outcome: outcome.filter(Boolean).join('; '),
      bytes: passages.reduce((sum, { bytes }) => sum + bytes, 0),
      seconds,
    });
  }

  async #pass(condition: Pick<Condition, 'name' | 'littleAtATime'>, stops: boolean): Promise<readonly Passage[]> {
    const { patienceMs, stallMs, only = '' } = this.#options;
    const order: PassageOrder = {
      site: this.#site(this.#a, this.#b),
      wire: this.#wire,
      condition,
      patienceMs: patienceMs + stallMs,
      stops,
      only: condition.name.includes(only) ? undefined : only,
    };
    return await this.#a.ask<readonly Passage[]>('pass', order);
  }

  async #setUp({ impairment, buffers, littleAtATime }: Pick<Condition, 'impairment' | 'buffers' | 'littleAtATime'>) {
    const sizes = buffers === undefined ? KERNEL_BUFFERS : { receive: upTo(buffers.receive), send: upTo(buffers.send) };
    await this.#b.ask('setBuffers', sizes);
    // The host with the packages may have much waiting wherever a proxy is to splice.
    await this.#a.ask('setBuffers', littleAtATime ? sizes : { ...sizes, receive: KERNEL_BUFFERS.receive });
    await this.#link.impair(impairment);
  }

  #site(host: Host, peer: Host): Site {
    const { seed, size } = this.#options;
    return {
      address: host.address,
      peerAddress: peer.address,
      directory: join(this.#directory, host.name),
      seed,
      size,
    };
  }

  #middles(count: number): Promise<void> {
    return new Promise((resolve) => {
      let left = count;
      const onMiddle = (): void => {
        if (--left > 0) return;
        this.#b.off('middle', onMiddle);
        resolve();
      };
      this.#b.on('middle', onMiddle);
    });
  }

  #stall(): Interruption {
    const { stallMs } = this.#options;
    return {
      name: `no one reads for ${stallMs / 1000} s`,
      interrupt: async () => {
        await sleep(Math.min(500, stallMs / 2)); // all buffers full
        const before = await this.#a.ask<Holdings>('holdings');
        await sleep(stallMs);
        const after = await this.#a.ask<Holdings>('holdings');
        const grown = after.residentSet - before.residentSet;
        return grown > STALLED_GROWTH ? [`memory has grown by ${(grown / MiB).toFixed(1)} MiB meanwhile`] : [];
      },
    };
  }

  #down(): Interruption {
    const { downMs } = this.#options;
    return {
      name: `the link is down for ${downMs / 1000} s`,
      interrupt: async (goOn) => {
        await this.#link.setUp(false);
        await goOn();
        await sleep(downMs);
        await this.#link.setUp(true);
        return [];
      },
    };
  }

  #silence(): Interruption {
    const { silenceMs } = this.#options;
    return {
      name: `no packet gets through for ${silenceMs / 1000} s`,
      interrupt: async (goOn) => {
        await this.#link.impair({ ...CLEAN, loss: 1 });
        await goOn();
        await sleep(silenceMs);
        await this.#link.impair(CLEAN);
        return [];
      },
    };
  }

  /** The link goes down for good, under our packages and under Node's own streams in their place, at the same moment. */
  async #cutOff(): Promise<void> {
    const condition = 'link down for good';
    const { only = '' } = this.#options;
    const chosen = condition.includes(only) ? cutOffs : cutOffs.filter(({ name }) => name.includes(only));
    if (chosen.length === 0) return;
    await this.#setUp(INTERRUPTED);
    const before = await this.#a.ask<Holdings>('holdings');
    const started = performance.now();
    const compared = chosen.filter(({ expected }) => expected === undefined);
    const cuts: readonly Cut[] = [
      ...chosen.map(({ name }): Cut => ({ name, side: 'ours' })),
      ...compared.map(({ name }): Cut => ({ name, side: 'node' })),
    ];
    const outcomes = await this.#cut(cuts);
    const seconds = (performance.now() - started) / 1000;
    for (const { name, expected = outcomes.get(keyOf({ name, side: 'node' })) ?? [] } of chosen) {
      const outcome = outcomes.get(keyOf({ name, side: 'ours' })) ?? [];
      const faults = outcome.join() === expected.join() ? [] : [`instead of ${expected.join(', ')}`];
      tellRow({ condition, what: [name], faults, outcome: outcome.join(', '), bytes: 0, seconds });
    }
    const left = await this.#nothingLeft(before);
    tellRow({ condition, what: ['(afterwards)'], faults: left, outcome: '', bytes: 0, seconds });
  }

  async #cut(cuts: readonly Cut[]): Promise<Map<string, readonly string[]>> {
    const [a, b] = [this.#site(this.#a, this.#b), this.#site(this.#b, this.#a)];
    const middles = this.#middles(cuts.length);
    const upstream = await this.#b.ask<number>('offer', { site: b });
    for (const cut of cuts) {
      const port = await this.#a.ask<number>('doom', { ...cut, site: a, upstream });
      await this.#b.ask('visitDoomed', { ...cut, site: b, port });
    }
    // On a busy machine one may give up before it has come to its middle: the others are not to wait for it.
    await Promise.race([middles, sleep(MIDDLES_MS, undefined, { ref: false })]);
    await this.#link.setUp(false);
    await this.#b.ask('goOn');
    const outcomes = new Map<string, readonly string[]>();
    for (const cut of cuts) {
      try {
        outcomes.set(
          keyOf(cut),
          await inTime(this.#a.ask<readonly string[]>('outcome', cut), this.#options.patienceMs),
        );
      } catch (error) {
        outcomes.set(keyOf(cut), [(error as Error).message]);
      }
    }
    await this.#link.setUp(true);
    await this.#b.ask('letGo');
    return outcomes;
  }

  /** Closing takes a moment: it is waited for. */
  async #nothingLeft(before: Holdings): Promise<string[]> {
    const deadline = performance.now() + 5000;
    for (;;) {
      const now = await this.#a.ask<Holdings>('holdings');
      const faults: string[] = [];
      if (now.descriptors > before.descriptors) faults.push(`${now.descriptors - before.descriptors} descriptors left`);
      if (now.pipesInUse > 0) faults.push(`${now.pipesInUse} pipes in use`);
      if (now.transfers > 0) faults.push(`${now.transfers} transfers under way`);
      const grown = now.residentSet - before.residentSet;
      if (grown > SETTLED_GROWTH) faults.push(`memory has grown by ${(grown / MiB).toFixed(1)} MiB`);
      if (faults.length === 0 || performance.now() > deadline) return faults;
      await sleep(50);
    }
  }
}

/** How many ways went by which method. */
function methodsOf(passages: readonly Passage[]): string {
  const counts = new Map<string, number>();
  for (const method of passages.flatMap(({ methods }) => methods)) counts.set(method, (counts.get(method) ?? 0) + 1);
  return [...counts].map(([method, count]) => `${method} ${count}`).join(', ');
}

function tell(told: Told): void {
  process.send?.(told);
}

const tellRow = (row: Row): void => tell({ row });

async function main(): Promise<void> {
  const [directory, text] = process.argv.slice(2) as [string, string];
  const options = JSON.parse(text) as Options;
  await ip('link', 'set', 'lo', 'up');
  const [a, b] = await Promise.all([Host.start(1), Host.start(2)]);
  for (const { name } of [a, b]) mkdirSync(join(directory, name));
  writeFileSync(join(directory, a.name, CONTENT), Buffer.concat([...bytesOf(CONTENT, options.seed, options.size)]));
  const link = await joinHosts(a, b, options.seed);
  const congestionControl = readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim();
  tell({ link: link.kind, congestionControl });
  const port = await b.ask<number>('openCrossing', { address: b.address, peerAddress: a.address });
  const wire: Wire = { address: a.address, crossing: { host: b.address, port } };
  await new Laboratory(options, directory, { a, b, link, wire }).run();
  await Promise.all([a.stop(), b.stop()]);
  await link.close();
  rmSync(directory, { recursive: true });
}

process.once('disconnect', () => process.exit());
try {
  await main();
  process.disconnect();
} catch (error) {
  const told: Told = { failure: (error as Error).stack ?? String(error) };
  process.send?.(told, () => process.exit(1)); // and the hosts with it
}
