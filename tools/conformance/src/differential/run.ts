/** One run of a program: by Node's own streams, or by ours. */
import type { EventEmitter } from 'node:events';
import { stat } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Arbitrary } from 'fast-check';
import { type Movers, movers, type Side } from '../ways/twins.js';
import type { Journal } from './journal.js';
import type { Workspace } from './workspace.js';

// biome-ignore lint/suspicious/noExplicitAny: plain data, whose form is its family's
export type Outcome = Record<string, any>;

/** What can be seen of a run; made of plain data. */
export interface Observation {
  /** What two runs must have in common. */
  readonly outcome: Outcome;
  /** What must not be, whatever the other side does: bytes in the wrong place, counts that contradict them. */
  readonly violations: readonly string[];
  /** Whether it came to no end by itself, or a step waited for nothing to happen: it may only have been slow. */
  readonly waited?: boolean;
}

export interface Family<Program = unknown> {
  readonly name: string;
  readonly programs: Arbitrary<Program>;
  /** All that there are, where they can be counted. */
  readonly every?: readonly Program[];
  run(program: Program, run: Run): Promise<Observation>;
  /**
   * Applies the differences that are documented (documented.ts): changes the two outcomes, which are copies, where one
   * of these rules speaks of them.
   */
  reconcile?(program: Program, node: Outcome, ours: Outcome): void;
}

/** Errors nobody handled, while a run was on. */
export const uncaught: unknown[] = [];

export class Run {
  readonly side: Side;
  readonly workspace: Workspace;
  /** Milliseconds without an event after which a run is taken for stalled. */
  readonly patience: number;
  /**
   * Milliseconds by which what comes from the peers, or from no moment in particular, is late. Which of two threads or
   * hosts is faster is nobody's promise: Node's runs are repeated with several.
   */
  readonly latency: number;
  readonly violations: string[] = [];
  /** What has been seen depends on what had happened by then. */
  waited = false;
  readonly #cleanups: (() => unknown)[] = [];

  constructor(side: Side, workspace: Workspace, patience: number, latency: number) {
    this.side = side;
    this.workspace = workspace;
    this.patience = patience;
    this.latency = latency;
  }

  /** Does it now, or as late as this run's peers are. */
  asPeer(action: () => void): void {
    if (this.latency === 0) return action();
    const at = performance.now() + this.latency;
    const turn = (): void => {
      if (performance.now() < at) setImmediate(turn);
      else action();
    };
    turn();
  }

  /** To be done when the run is over, whatever has come of it. */
  defer(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup);
  }

  violation(text: string): void {
    this.violations.push(text);
  }

  /** What moves the bytes of this run. */
  get by(): Movers {
    return movers[this.side];
  }

  /**
   * Until `done` says so, or nothing has happened for a while and no step waits for that.
   * @returns whether it is done.
   */
  async settle<Action>(journal: Journal<Action>, done: () => boolean): Promise<boolean> {
    let seen = -1;
    let since = 0;
    for (let turn = 0; ; turn++) {
      if (done()) {
        // What comes too much, or too late, is to be seen.
        for (let more = 0; more < 4; more++) await new Promise(setImmediate);
        return true;
      }
      if (journal.activity !== seen || callsUnderWay()) {
        seen = journal.activity;
        since = performance.now();
      } else if (performance.now() - since > this.patience) {
        await threadsAnswer();
        if (journal.activity !== seen || done()) continue;
        this.waited = true;
        if (!journal.stalled()) return false;
        turn = 0;
      }
      if (turn < 30) await new Promise(setImmediate);
      else await sleep(1);
    }
  }

  async clean(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup();
  }
}

const callsUnderWay = (): boolean => process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'));

/** All threads of the pool have been at work since: on a busy machine milliseconds alone say little. */
async function threadsAnswer(): Promise<void> {
  for (let round = 0; round < 4; round++) {
    await Promise.all(Array.from({ length: 4 }, () => stat('/')));
    await new Promise(setImmediate);
  }
}

/** Those of `events` that anybody listens to, with how many. */
export function listeners(emitter: EventEmitter, events: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const event of events) {
    const number = emitter.listenerCount(event);
    if (number > 0) counts[event] = number;
  }
  return counts;
}

/** Milliseconds. */
const CLOSING = 2000;

/** Destroys a stream, and waits until it has closed what it holds: some of Node's that could not be opened never do. */
export async function closeStream(stream: Readable | Writable): Promise<void> {
  stream.on('error', () => {});
  stream.destroy();
  const deadline = performance.now() + CLOSING;
  while (!stream.closed && performance.now() < deadline) await new Promise(setImmediate);
}
