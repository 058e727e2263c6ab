/**
 * What happens during a run, each stream's events in their own order, and the steps of a program that wait for it.
 *
 * A step waits for a cue: an event (`'source open'`), a level (`'received'`, so many bytes), or `'stalled'`: nothing has
 * happened for as long as the run's patience.
 */
import type { EventEmitter } from 'node:events';

/** One thing that a program does, and when. */
export interface Step<Action> {
  /** A cue, as `'source open'`, or a level: `'received'`, reached with `bytes`. */
  readonly when: string;
  readonly bytes?: number | undefined;
  readonly what: Action;
}

export const codeOf = (error: unknown): string => {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown };
  return typeof code === 'string' ? code : typeof name === 'string' ? name : String(error);
};

export class Journal<Action = never> {
  readonly #events = new Map<string, string[]>();
  readonly #steps: Step<Action>[];
  readonly #perform: (action: Action) => void;
  #activity = 0;

  constructor(steps: readonly Step<Action>[] = [], perform: (action: Action) => void = () => {}) {
    this.#steps = [...steps];
    this.#perform = perform;
  }

  /** Changes whenever something happens. */
  get activity(): number {
    return this.#activity;
  }

  /** Something has happened that is not written down. */
  touch(): void {
    this.#activity++;
  }

  note(subject: string, event: string): void {
    this.#activity++;
    const events = this.#events.get(subject);
    if (events === undefined) this.#events.set(subject, [event]);
    else events.push(event);
    this.cue(`${subject} ${event.split(' ', 1)[0]}`);
  }

  /** Writes down these events of `emitter`, an error by its code. */
  watch(subject: string, emitter: EventEmitter, events: readonly string[]): void {
    if (!this.#events.has(subject)) this.#events.set(subject, []);
    for (const event of events) {
      emitter.on(event, (argument: unknown) =>
        this.note(subject, event === 'error' ? `error ${codeOf(argument)}` : event),
      );
    }
  }

  cue(name: string): void {
    this.#take((step) => step.when === name && step.bytes === undefined, Number.POSITIVE_INFINITY);
  }

  /** Nothing happens any more. One step only: what comes of it is waited for. @returns whether there was one. */
  stalled(): boolean {
    return this.#take((step) => step.when === 'stalled', 1);
  }

  level(name: string, bytes: number): void {
    this.#activity++;
    this.#take(
      (step) => step.when === name && step.bytes !== undefined && step.bytes <= bytes,
      Number.POSITIVE_INFINITY,
    );
  }

  happened(subject: string, event: string): boolean {
    return this.count(subject, event) > 0;
  }

  /** How often it has. */
  count(subject: string, event: string): number {
    return this.#events.get(subject)?.filter((one) => one === event || one.startsWith(`${event} `)).length ?? 0;
  }

  entries(): Record<string, string[]> {
    return structuredClone(Object.fromEntries(this.#events));
  }

  #take(isDue: (step: Step<Action>) => boolean, most: number): boolean {
    let found = 0;
    // What a step does may be the cue of another.
    for (let at = this.#steps.findIndex(isDue); at >= 0 && found < most; at = this.#steps.findIndex(isDue)) {
      const [step] = this.#steps.splice(at, 1) as [Step<Action>];
      found++;
      this.#activity++;
      this.#perform(step.what);
    }
    return found > 0;
  }
}
