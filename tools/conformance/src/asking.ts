/** Child processes that are asked, and answer; and tell what they were not asked for. Both sides of it. */
import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';

interface Question {
  readonly id: number;
  readonly ask: string;
  readonly args: unknown;
}

/** An answer, or an event that was not asked for. */
type Message =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly event: string; readonly detail: unknown };

/** A child seen by its parent. Emits what the child tells by itself, and 'ended' when it ends without having been told to. */
export class Subject extends EventEmitter {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  #lastId = 0;
  #ending = false;

  constructor(name: string, child: ChildProcess) {
    super();
    this.name = name;
    this.#child = child;
    child.on('message', (message: Message) => this.#onMessage(message));
    child.once('exit', (code, signal) => {
      const error = new Error(`${name} has ended (${signal ?? code})`);
      for (const { reject } of this.#asked.values()) reject(error);
      this.#asked.clear();
      if (!this.#ending) this.emit('ended', error);
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Rejects if the child throws, or ends before it answers. */
  ask<Answer = void>(what: string, args: unknown = {}): Promise<Answer> {
    const id = ++this.#lastId;
    return new Promise<Answer>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#child.send({ id, ask: what, args } satisfies Question, (error) => {
        if (error) reject(error);
      });
    });
  }

  /** The child ends by itself when the channel to it is closed. */
  stop(): Promise<void> {
    return this.#end(() => this.#child.disconnect());
  }

  /** Without a word, as when the power fails: its connections are reset. */
  kill(): Promise<void> {
    return this.#end(() => this.#child.kill('SIGKILL'));
  }

  async #end(by: () => void): Promise<void> {
    this.#ending = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    by();
    await gone;
  }

  #onMessage(message: Message): void {
    if ('event' in message) {
      this.emit(message.event, message.detail);
      return;
    }
    const asked = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    if ('error' in message) asked?.reject(new Error(`${this.name}: ${message.error}`));
    else asked?.resolve(message.answer as never);
  }
}

const send = (message: Message): void => {
  process.send?.(message);
};

/** By the child: tells its parent something. */
export const tell = (event: string, detail?: unknown): void => send({ event, detail });

/** By the child: answers each question by the function of its name, and ends when its parent has gone. */
export function answerBy(answers: Readonly<Record<string, (args: never) => unknown>>): void {
  process.once('disconnect', () => process.exit());
  process.on('message', async ({ id, ask, args }: Question) => {
    try {
      send({ id, answer: await answers[ask]?.(args as never) });
    } catch (error) {
      send({ id, error: (error as Error).stack ?? String(error) });
    }
  });
}
