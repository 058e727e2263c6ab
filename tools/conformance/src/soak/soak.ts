/**
 * Rounds of mixed traffic. Within a round the server is looked at every few seconds; at its end all clients pause, and it is
 * looked at again when nothing is under way: what is more then than after the round before has been left behind.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { contentOf, FILES } from './content.js';
import { Subject } from './process.js';
import type { ClientAnswers, ClientOptions, Counts, Leak, Ports, ServerAnswers } from './protocol.js';
import { Dice } from './random.js';
import type { Sample } from './samples.js';

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly leak?: Leak | undefined;
  readonly signal?: AbortSignal;
  onSample?(sample: Sample): void;
  onWrong?(what: string): void;
}

export interface SoakReport {
  readonly samples: readonly Sample[];
  /** Bytes that were not what they should have been, errors that nobody caused. */
  readonly wrong: readonly string[];
  /** What the clients and the server have done, by name. */
  readonly counts: Counts;
  /** Times that all clients vanished at once: their process was killed. */
  readonly vanished: number;
}

const ROUND_MAX_MS = 20_000;
/** However short: for a verdict. */
const ROUNDS_MIN = 6;
const SAMPLE_EVERY_MS = 4000;
/** In so many rounds of all, the clients vanish. */
const VANISH = 0.3;
/** More of the same are of no use to anybody. */
const WRONG_MAX = 50;

type Server = Subject<Ports, ServerAnswers & { go: undefined }>;
type Clients = Subject<null, ClientAnswers>;

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { minutes, seed, leak, signal, onSample, onWrong } = options;
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-soak-'));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  process.once('exit', remove);
  for (const name of Object.keys(FILES)) writeFileSync(join(directory, name), contentOf(name, seed));
  const made = join(directory, 'made');
  mkdirSync(made);
  const wrong: string[] = [];
  const onWrongNow = (what: string): void => {
    if (wrong.length < WRONG_MAX) wrong.push(what);
    onWrong?.(what);
  };
  const samples: Sample[] = [];
  const counts: Counts = {};
  let vanished = 0;
  const dice = new Dice(seed);
  const echo = await startEcho();
  const running: { kill(): Promise<void> }[] = [];
  try {
    const { process: server, ready: ports } = await Subject.start<Ports, ServerAnswers & { go: undefined }>(
      'server',
      { seed, directory, echo: echo.port, leak },
      onWrongNow,
    );
    running.push(server);
    let generation = 0;
    const startClients = async (): Promise<Clients> => {
      const data: ClientOptions = { seed: seed + ++generation, contentSeed: seed, ports };
      const { process: started } = await Subject.start<null, ClientAnswers>('clients', data, onWrongNow);
      running.push(started);
      return started;
    };
    let clients = await startClients();
    const started = performance.now();
    const end = started + minutes * 60_000;
    const look = async (quiet: boolean): Promise<void> => {
      const seen = await server.ask('sample');
      const sample: Sample = { at: (performance.now() - started) / 1000, quiet, ...seen };
      samples.push(sample);
      onSample?.(sample);
    };
    const roundMs = Math.min(ROUND_MAX_MS, (minutes * 60_000) / ROUNDS_MIN);
    for (let round = 0; (performance.now() < end || round < ROUNDS_MIN) && !signal?.aborted; round++) {
      await Promise.all([server.ask('go'), clients.ask('go')]);
      const roundEnd = performance.now() + roundMs;
      const vanishes = dice.chance(VANISH);
      await busyRound(roundEnd, () => look(false), signal);
      if (vanishes) {
        await add(counts, clients);
        await clients.kill();
        vanished++;
        clients = await startClients();
      } else await clients.ask('pause');
      await server.ask('quiet');
      await look(true);
    }
    await add(counts, clients);
    await add(counts, server);
  } catch (error) {
    onWrongNow(`the soak itself: ${(error as Error).stack}`);
  } finally {
    for (const subject of running) await subject.kill();
    echo.close();
    process.off('exit', remove);
    remove();
  }
  return { samples, wrong, counts, vanished };
}

async function busyRound(end: number, look: () => Promise<void>, signal?: AbortSignal): Promise<void> {
  while (!signal?.aborted) {
    const left = end - performance.now();
    if (left <= 0) return;
    await sleep(Math.min(left, SAMPLE_EVERY_MS), undefined, signal === undefined ? {} : { signal }).catch(() => {});
    if (left > SAMPLE_EVERY_MS) await look();
  }
}

async function add(counts: Counts, subject: Server | Clients): Promise<void> {
  for (const [what, count] of Object.entries(await (subject as Clients).ask('counts'))) {
    counts[what] = (counts[what] ?? 0) + count;
  }
}

/** Sends back what it gets; Node's own streams. */
async function startEcho(): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
