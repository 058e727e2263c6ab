/** A child process that is asked, and tells what is wrong. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Answer, Event } from './protocol.js';

export class Subject<Ready, Answers> {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  readonly #name: string;
  readonly #wrong: (what: string) => void;
  #lastId = 0;
  #ending = false;
  #ready: (ready: Ready) => void = () => {};

  private constructor(name: string, options: unknown, wrong: (what: string) => void) {
    this.#name = name;
    this.#wrong = wrong;
    const module = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
    this.#child = fork(module, [JSON.stringify(options)], { execArgv: ['--expose-gc', '--enable-source-maps'] });
    this.#child.on('message', (message: Answer<Answers> | Event<Ready>) => this.#onMessage(message));
    this.#child.once('exit', (code, signal) => {
      if (!this.#ending) wrong(`the process of the ${name} has ended (${signal ?? code})`);
      for (const { reject } of this.#asked.values()) reject(new Error(`the ${name} has ended`));
      this.#asked.clear();
    });
  }

  static async start<Ready, Answers>(
    name: string,
    options: unknown,
    wrong: (what: string) => void,
  ): Promise<{ process: Subject<Ready, Answers>; ready: Ready }> {
    const subject = new Subject<Ready, Answers>(name, options, wrong);
    const ready = await new Promise<Ready>((resolve, reject) => {
      subject.#ready = resolve;
      subject.#child.once('exit', () => reject(new Error(`the ${name} does not start`)));
    });
    return { process: subject, ready };
  }

  ask<Question extends keyof Answers>(question: Question): Promise<Answers[Question]> {
    const id = ++this.#lastId;
    return new Promise<Answers[Question]>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#child.send({ id, ask: question }, (error) => {
        if (error) reject(error);
      });
    });
  }

  /** Without a word, as when the power fails: its connections are reset. */
  async kill(): Promise<void> {
    this.#ending = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  #onMessage(message: Answer<Answers> | Event<Ready>): void {
    if ('ready' in message) this.#ready(message.ready);
    else if ('wrong' in message) this.#wrong(`${this.#name}: ${message.wrong}`);
    else {
      const asked = this.#asked.get(message.id);
      this.#asked.delete(message.id);
      if ('error' in message) asked?.reject(new Error(message.error));
      else asked?.resolve(message.answer as never);
    }
  }
}
