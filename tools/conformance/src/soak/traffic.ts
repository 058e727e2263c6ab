/**
 * Mixed traffic: the ways of the catalogue at random, several at a time. Most go to their ends; the rest are stalled,
 * aborted, reset, abandoned or broken off by their own side. Every byte is compared, also of what is broken off.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sendFile } from '@zerocopy/sendfile-stream';
import { bytesOf, KiB } from '@zerocopy/testing/bytes';
import { removeDirectory } from '@zerocopy/testing/files';
import { connectedPair, resetConnection } from '@zerocopy/testing/sockets';
import { inTime, pause, until } from '@zerocopy/testing/waiting';
import { allWays, whyNot } from '../ways/index.js';
import { forgotten } from '../ways/map.js';
import { type Begun, begin, complaintOf, disorderIn, run, type Told, type Way } from '../ways/way.js';
import type { Wire } from '../ways/wire.js';
import type { Count, Counts } from './protocol.js';
import type { Dice } from './random.js';

/** Transfers at a time. */
const CLIENTS = 10;
/** One below, one around and one far above the sizes at which the packages change their ways, in bytes. */
const SIZES: readonly number[] = [20 * KiB, 300 * KiB, 3072 * KiB];
const HOST = '127.0.0.1';
/** Milliseconds, at most, before what is to be broken off is. */
const BREAK_MS = 30;
const STALL_MS = 400;
/** Milliseconds after which a proxy gives up a connection that is abandoned, and everything else does by its signal. */
const IDLE_MS = 1000;
const ABANDONED_MS = 1500;
/** Milliseconds without a byte after which something has come to a halt. All of it may take longer on a busy machine. */
const PATIENCE_MS = 15_000;

/** How a transfer that has been broken off may end. Anything else is told as wrong. */
const ENDS: ReadonlySet<string> = new Set([
  'ABORT_ERR',
  'ECONNRESET',
  'EPIPE',
  'ERR_IDLE_TIMEOUT',
  'ERR_MAPPING_CLOSED',
  'ERR_SOCKET_CLOSED',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_UNABLE_TO_PIPE',
]);

interface Fate {
  /** Whether its receivers wait. */
  readonly held?: boolean;
  /** Whether nobody reads on, ever. */
  readonly abandoned?: boolean;
  /** Whether it is to arrive whole nevertheless. */
  readonly whole?: boolean;
  /** Does it, and returns whether there was something to do it to. */
  act(begun: Begun, way: Way, dice: Dice, controller: AbortController): boolean | Promise<boolean>;
}

/** What a thief takes is not this family's: numbers that their user closes too early are used again by others at once. */
const isOwn = (victim: string): boolean => !['numbers', 'everything', 'handle r'].includes(victim);

const soon = (dice: Dice): Promise<void> => pause(dice.between(0, BREAK_MS));

/** The other side goes: first by one of its connections, and then by all others. */
async function toPeers({ stage }: Begun, dice: Dice, act: (peer: Begun['stage']['peers'][number]) => void) {
  if (stage.peers.length === 0) return false;
  await soon(dice);
  act(dice.oneOf(stage.peers));
  await soon(dice);
  for (const peer of stage.peers) act(peer);
  return true;
}

/** Resolves when it has ended. */
async function ended(over: Promise<unknown>, { stage }: Begun): Promise<void> {
  let isOver = false;
  const end = (): void => {
    isOver = true;
  };
  over.then(end, end);
  for (let [before, since] = [-1, performance.now()]; !isOver; await pause(10)) {
    const now = stage.arrived();
    if (now !== before) [before, since] = [now, performance.now()];
    else if (performance.now() - since > PATIENCE_MS) throw new Error(`it does not end, and ${now} bytes have arrived`);
  }
}

const FINISHED: Fate = { whole: true, act: () => false };
const FATES: readonly Fate[] = [
  {
    held: true,
    whole: true,
    async act({ stage }, _way, dice) {
      await pause(dice.between(10, STALL_MS));
      stage.goOn();
      return false;
    },
  },
  { act: (begun, _way, dice) => toPeers(begun, dice, (peer) => peer.destroy()) },
  { act: (begun, _way, dice) => toPeers(begun, dice, resetConnection) },
  {
    async act(_begun, _way, dice, controller) {
      await soon(dice);
      controller.abort();
      return true;
    },
  },
  {
    async act({ stage }, { victims = [] }, dice) {
      const own = victims.filter(isOwn);
      if (own.length === 0) return false;
      await soon(dice);
      stage.take(dice.oneOf(own));
      return true;
    },
  },
  {
    // Until somebody gives up.
    held: true,
    abandoned: true,
    async act({ told }, _way, _dice, controller) {
      const deadline = performance.now() + ABANDONED_MS;
      await until(() => told() !== undefined || performance.now() > deadline);
      controller.abort();
      return true;
    },
  },
];

/** A transfer under way. */
interface Running {
  readonly way: string;
  /** Its connections have vanished in the midst of it. */
  vanished: boolean;
}

export class Traffic {
  readonly counts: Counts = {};
  readonly #directory: string;
  readonly #dice: Dice;
  readonly #wrong: (what: string) => void;
  readonly #contents: readonly Buffer[];
  readonly #ways = [...allWays, forgotten].filter(
    (way) => way.background?.absent === undefined && whyNot(way) === undefined,
  );
  readonly #running = new Set<Running>();
  #wire: Wire | undefined;
  #going = false;

  constructor(directory: string, seed: number, dice: Dice, wrong: (what: string) => void) {
    this.#directory = directory;
    this.#dice = dice;
    this.#wrong = wrong;
    this.#contents = SIZES.map((size) => Buffer.concat([...bytesOf('content', seed, size)]));
  }

  /** The names of what is under way. */
  running(): readonly string[] {
    return [...this.#running].map(({ way }) => way);
  }

  /** Each way once: what is loaded and started with its first use, and kept, is not to be taken for a leak. */
  async warmUp(): Promise<void> {
    const [content] = this.#contents as [Buffer];
    for (const way of this.#ways) {
      const directory = mkdtempSync(join(this.#directory, 'way-'));
      await run(way, { directory, content });
      removeDirectory(directory);
    }
  }

  /** @param crossing the port of the one that connections go by. */
  go(crossing: number): void {
    this.#wire = { address: HOST, crossing: { host: HOST, port: crossing } };
    this.#going = true;
    for (let client = 0; client < CLIENTS; client++) void this.#client();
  }

  /** Nothing begins any more. @param vanishing the crossing is about to go. */
  pause(vanishing: boolean): void {
    this.#going = false;
    if (vanishing) for (const running of this.#running) running.vanished = true;
  }

  count(what: string, how: keyof Count): void {
    this.counts[what] ??= { whole: 0, brokenOff: 0 };
    this.counts[what][how]++;
  }

  /** One thing after the other. */
  async #client(): Promise<void> {
    while (this.#going) {
      const way = this.#dice.oneOf(this.#ways);
      const running: Running = { way: way.name, vanished: false };
      this.#running.add(running);
      try {
        this.count(way.name, await this.#transfer(way, running));
      } catch (error) {
        if (running.vanished) this.count(way.name, 'brokenOff');
        else this.#wrong(`${way.name}: ${(error as Error).stack}`);
      } finally {
        this.#running.delete(running);
      }
    }
  }

  async #transfer(way: Way, running: Running): Promise<keyof Count> {
    const dice = this.#dice;
    const fate = dice.chance(0.6) ? FINISHED : dice.oneOf(FATES);
    const directory = mkdtempSync(join(this.#directory, 'way-'));
    // Where each message waits for the one before, all of a large file would take a minute.
    const content = way.name.includes('in messages') ? (this.#contents[0] as Buffer) : dice.oneOf(this.#contents);
    const controller = new AbortController();
    const signal = fate.whole ? undefined : controller.signal;
    const wire = dice.chance(0.7) ? this.#wire : undefined; // or unix sockets, and those that are joined directly
    const more = { idleTimeout: fate.abandoned === true ? IDLE_MS : PATIENCE_MS };
    const setting = { directory, content, signal, wire, more };
    try {
      const begun = await begin(way, setting, fate.held === true);
      try {
        const broken = await fate.act(begun, way, dice, controller);
        return (broken && !fate.whole) || running.vanished
          ? await this.#brokenOff(way, begun)
          : await this.#whole(way, begun, content, running);
      } finally {
        await begun.stage.dispose();
      }
    } finally {
      removeDirectory(directory);
    }
  }

  async #whole(way: Way, begun: Begun, content: Buffer, running: Running): Promise<keyof Count> {
    const delivering = begun.over.then((told) => begun.stage.deliveries(told));
    await ended(delivering, begun);
    const deliveries = await delivering;
    if (running.vanished) {
      this.#assertClear(way, deliveries);
      return 'brokenOff';
    }
    for (const delivery of deliveries) {
      const complaint = complaintOf(delivery, content) ?? delivery.error?.message;
      if (complaint !== undefined) throw new Error(complaint);
    }
    return 'whole';
  }

  async #brokenOff(way: Way, { stage, over, told }: Begun): Promise<keyof Count> {
    const settle = (milliseconds: number): Promise<void> => {
      const deadline = performance.now() + milliseconds;
      return until(() => told() !== undefined || performance.now() > deadline);
    };
    // A stream may wait for its user, who has gone; a promise may not.
    await settle(way.promised ? PATIENCE_MS : STALL_MS);
    if (told() === undefined && way.promised) throw new Error('it does not end');
    for (const { bytes, expected } of stage.soFar()) {
      const disorder = disorderIn(bytes, expected);
      if (disorder !== undefined) throw new Error(disorder);
    }
    stage.goOn();
    await settle(STALL_MS);
    await stage.dispose();
    this.#assertClear(way, await inTime(over, PATIENCE_MS));
    return 'brokenOff';
  }

  #assertClear({ name }: Way, told: readonly Told[]): void {
    for (const { error } of told) {
      if (error !== undefined && !ENDS.has(error.code ?? '')) this.#wrong(`${name}: ${error.code}: ${error.stack}`);
    }
  }

  /** One connection for as long as the process lives, for one file after the other. Its own listeners must not grow. */
  async lasting(): Promise<NodeJS.EventEmitter> {
    const { server, client } = await connectedPair('tcp');
    const path = join(this.#directory, 'lasting');
    const content = this.#contents[1] as Buffer;
    writeFileSync(path, content);
    let received = 0;
    client.on('data', (chunk: Buffer) => {
      const at = received % content.length;
      const expected = Buffer.concat([content.subarray(at), content]).subarray(0, chunk.length);
      if (!chunk.equals(expected)) this.#wrong(`the lasting connection: wrong bytes from ${received} on`);
      received += chunk.length;
    });
    const send = async (): Promise<void> => {
      for (let sent = content.length; ; sent += content.length) {
        await until(() => this.#going).catch(() => {}); // a long pause: it is waited for again
        if (!this.#going) continue;
        const running: Running = { way: 'the lasting connection', vanished: false };
        this.#running.add(running);
        await sendFile(server, path);
        await until(() => received === sent, 'a file on the lasting connection');
        this.#running.delete(running);
        this.count(running.way, 'whole');
      }
    };
    send().catch((error: Error) => this.#wrong(`the lasting connection: ${error.stack}`));
    return server;
  }
}
