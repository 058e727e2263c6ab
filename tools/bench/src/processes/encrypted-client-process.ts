/** Downloads over TLS, on any number of kept-alive connections. Decrypts by itself, and so is no part of the serving process. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { answerReports, answerTasks, tell } from './reporting.js';

/** What a task is given. */
export interface EncryptedLoad {
  readonly port: number;
  readonly target: string;
  /** Bytes of each body. */
  readonly size: number;
  readonly connections: number;
  /** Milliseconds for which requests are begun; every connection makes at least one. */
  readonly duration: number;
  /** Requests, at the least, of all connections together. */
  readonly requests: number;
}

const HEAD_END = '\r\n\r\n';

/** One download at a time, by one connection. */
class Downloads {
  readonly #socket: TLSSocket;
  readonly #onBody: ((chunk: Buffer) => void) | undefined;
  #head: Buffer | undefined;
  #left = 0;
  #done: ((error?: Error) => void) | undefined;

  constructor(socket: TLSSocket, onBody?: (chunk: Buffer) => void) {
    this.#socket = socket;
    this.#onBody = onBody;
    socket.on('data', (chunk: Buffer) => this.#took(chunk));
    socket.on('close', () => this.#done?.(new Error('the server has closed the connection')));
  }

  get(target: string, size: number): Promise<void> {
    this.#head = Buffer.alloc(0);
    this.#left = size;
    this.#socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    return new Promise((resolve, reject) => {
      this.#done = (error) => {
        this.#done = undefined;
        if (error === undefined) resolve();
        else reject(error);
      };
    });
  }

  #took(chunk: Buffer): void {
    let body = chunk;
    if (this.#head !== undefined) {
      const head = Buffer.concat([this.#head, chunk]);
      const end = head.indexOf(HEAD_END);
      this.#head = end < 0 ? head : undefined;
      if (end < 0) return;
      if (!head.toString('latin1').startsWith('HTTP/1.1 200')) throw new Error('the server did not answer 200');
      body = head.subarray(end + HEAD_END.length);
    }
    if (body.length > this.#left) throw new Error('more bytes arrived than were asked for');
    this.#left -= body.length;
    this.#onBody?.(body);
    if (this.#left === 0) this.#done?.();
  }
}

async function connected(port: number): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  return socket;
}

let sockets: readonly TLSSocket[] = [];
let all: readonly Downloads[] = [];

answerReports(() => ({ method: 'none' }));
answerTasks({
  /** Before what is measured: the handshakes are not. */
  async connect(argument) {
    const { port, connections } = argument as EncryptedLoad;
    sockets = await Promise.all(Array.from({ length: connections }, () => connected(port)));
    all = sockets.map((socket) => new Downloads(socket));
  },
  async load(argument) {
    const { target, size, duration, requests: least } = argument as EncryptedLoad;
    const startedAt = performance.now();
    let requests = 0;
    await Promise.all(
      all.map(async (downloads) => {
        do {
          await downloads.get(target, size);
          requests++;
        } while (requests < least || performance.now() - startedAt < duration);
      }),
    );
    return { requests, seconds: (performance.now() - startedAt) / 1000 };
  },
  disconnect() {
    for (const socket of sockets) socket.destroy();
    [sockets, all] = [[], []];
  },
  /** Throws unless every byte is the file's. */
  async check(argument) {
    const { port, target, size, sha256 } = argument as EncryptedLoad & { readonly sha256: string };
    const hash = createHash('sha256');
    const socket = await connected(port);
    await new Downloads(socket, (chunk) => hash.update(chunk)).get(target, size);
    socket.destroy();
    if (hash.digest('hex') !== sha256) throw new Error('other bytes than the file’s arrived');
  },
});
tell({ port: 0 });
