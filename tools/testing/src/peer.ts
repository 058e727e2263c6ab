/** The other side of a test's connections, in a process of its own. */
import { type ChildProcess, fork } from 'node:child_process';
import type { NetConnectOpts } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Fingerprint } from './bytes.js';

/** A connection to make: writes the pattern, ends, and reads to the end meanwhile. */
export interface Conversation {
  readonly address: NetConnectOpts;
  /** Bytes to write before ending. */
  readonly send: number;
  /** Bytes of each write. */
  readonly chunk: number;
  /** Lets the loop turn between writes, so that they leave as segments of their own. */
  readonly gaps: boolean;
}

/** A child process that makes connections when it is asked to. It does not keep this process alive. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: PeerAnswer) => void>();
  #asked = 0;

  constructor() {
    this.#child = fork(fileURLToPath(new URL('./peer.child.js', import.meta.url)), { stdio: 'inherit' });
    this.#child.unref();
    this.#child.channel?.unref();
    this.#child.on('message', (answer: PeerAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) this.#child.channel?.unref();
    });
  }

  /** Resolves with what the connection has received. */
  converse(conversation: Conversation): Promise<Fingerprint> {
    const id = this.#asked++;
    if (this.#waiting.size === 0) this.#child.channel?.ref();
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ error, fingerprint }) => {
        if (fingerprint === undefined) reject(new Error(error));
        else resolve(fingerprint);
      });
      this.#child.send({ ...conversation, id });
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

export interface PeerAnswer {
  readonly id: number;
  readonly error?: string;
  readonly fingerprint?: Fingerprint;
}
