/** The two hosts, seen from the laboratory between them. */
import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { forkUnshared } from './namespaces.js';

const MODULE = fileURLToPath(new URL('./host.js', import.meta.url));

export interface Question {
  readonly id: number;
  readonly ask: string;
  readonly [argument: string]: unknown;
}

/** An answer, or an event that nobody has asked for. */
export type Message =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly event: string };

/** Emits what the host tells by itself: 'middle'. */
export class Host extends EventEmitter {
  readonly name: string;
  readonly address: string;
  readonly hardwareAddress: string;
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  #lastId = 0;

  /** @param number its place in the network, from 1. */
  private constructor(number: number) {
    super();
    this.name = `host ${number}`;
    this.address = `10.77.0.${number}`;
    this.hardwareAddress = `02:00:00:00:00:0${number}`;
    this.#child = forkUnshared(['--net'], MODULE);
    this.#child.on('message', (message: Message) => this.#onMessage(message));
    this.#child.once('exit', (code, signal) => {
      const error = new Error(`${this.name} has ended (${signal ?? code})`);
      for (const { reject } of this.#asked.values()) reject(error);
      this.#asked.clear();
    });
  }

  static async start(number: number): Promise<Host> {
    const host = new Host(number);
    await host.ask('greet'); // from then on it is in its namespace
    return host;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  ask<Answer = void>(what: string, args: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
    const id = ++this.#lastId;
    return new Promise<Answer>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#child.send({ ...args, id, ask: what }, (error) => {
        if (error) reject(error);
      });
    });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.disconnect();
    await gone;
  }

  #onMessage(message: Message): void {
    if ('event' in message) {
      this.emit(message.event);
      return;
    }
    const asked = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    if ('error' in message) asked?.reject(new Error(`${this.name}: ${message.error}`));
    else asked?.resolve(message.answer as never);
  }
}
