/**
 * Rounds of mixed traffic. Within a round the server is looked at every few seconds; at its end no transfer begins any more, and it is
 * looked at again when nothing is under way: what is more then than after the round before has been left behind.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { Subject } from '../asking.js';
import type { Counts, Go, Leak, Pause, Seen, ServerOptions } from './protocol.js';
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
  readonly counts: Counts;
  /** Times that all other sides vanished at once: the process of their crossing was killed. */
  readonly vanished: number;
}

const ROUND_MAX_MS = 20_000;
/** However short: for a verdict. */
const ROUNDS_MIN = 6;
const SAMPLE_EVERY_MS = 4000;
/** In so many rounds of all, the other sides vanish. */
const VANISH = 0.3;
/** More of the same are of no use to anybody. */
const WRONG_MAX = 50;

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { minutes, seed, leak, signal, onSample, onWrong } = options;
  const directory = temporaryDirectory(undefined, 'soak');
  const wrong: string[] = [];
  const onWrongNow = (what: string): void => {
    if (wrong.length < WRONG_MAX) wrong.push(what);
    onWrong?.(what);
  };
  const samples: Sample[] = [];
  let counts: Counts = {};
  let vanished = 0;
  const dice = new Dice(seed);
  const running: Subject[] = [];
  const start = (name: string, data: unknown = {}): Subject => {
    const module = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
    const child = fork(module, [JSON.stringify(data)], {
      execArgv: ['--expose-gc', '--enable-source-maps'],
      env: { ...process.env, TMPDIR: directory }, // what it leaves there, when it is killed, goes with it
    });
    const subject = new Subject(`the process of the ${name}`, child);
    subject.on('wrong', (what: string) => onWrongNow(what));
    subject.on('ended', (error: Error) => onWrongNow(error.message));
    running.push(subject);
    return subject;
  };
  try {
    const server = start('server', { seed, directory, leak } satisfies ServerOptions);
    await Promise.race([
      once(server, 'ready'),
      once(server, 'ended').then(([error]) => {
        throw error;
      }),
    ]);
    let crossing = start('crossing');
    const started = performance.now();
    const end = started + minutes * 60_000;
    const look = async (quiet: boolean): Promise<void> => {
      const seen = await server.ask<Seen>('sample');
      const sample: Sample = { at: (performance.now() - started) / 1000, quiet, ...seen };
      samples.push(sample);
      onSample?.(sample);
    };
    const roundMs = Math.min(ROUND_MAX_MS, (minutes * 60_000) / ROUNDS_MIN);
    for (let round = 0; (performance.now() < end || round < ROUNDS_MIN) && !signal?.aborted; round++) {
      await server.ask('go', { crossing: await crossing.ask<number>('open') } satisfies Go);
      const roundEnd = performance.now() + roundMs;
      const vanishing = dice.chance(VANISH);
      await busyRound(roundEnd, () => look(false), signal);
      await server.ask('pause', { vanishing } satisfies Pause);
      if (vanishing) {
        await crossing.kill();
        vanished++;
        crossing = start('crossing');
      }
      await server.ask('quiet');
      await look(true);
    }
    counts = await server.ask<Counts>('counts');
  } catch (error) {
    onWrongNow(`the soak itself: ${(error as Error).stack}`);
  } finally {
    for (const subject of running) await subject.kill();
    removeDirectory(directory);
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
