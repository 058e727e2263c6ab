/** Requests written by hand on a socket, and answers taken apart by RFC 9112, in four ways of using a connection. */

import { once } from 'node:events';
import net from 'node:net';
import { resetConnection } from '@zerocopy/testing/sockets';

/** `pipelined`: between two others that are written with it. */
export type Mode = 'close' | 'keep-alive' | 'pipelined' | 'HTTP/1.0';

export const MODES: readonly Mode[] = ['close', 'keep-alive', 'pipelined', 'HTTP/1.0'];

export interface Answer {
  readonly status: number;
  /** By names in lower case; several lines are joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Asking {
  readonly method?: string;
  /** As lines. */
  readonly headers?: readonly string[];
}

/** What is asked before and after a pipelined request, and what must be answered. */
const COMPANION = '/a.txt';
const COMPANION_BODY = '0123456789';
const PATIENCE_MS = 3000;

interface Expected {
  readonly method: string;
}

/** A connection whose bytes are taken apart as they come. */
class Connection {
  readonly #socket: net.Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(port: number) {
    this.#socket = net.connect(port, '127.0.0.1');
    this.#socket.on('error', () => {}); // 'close' follows
    this.#socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake?.();
    });
    this.#socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  write(text: string): void {
    this.#socket.write(Buffer.from(text, 'latin1'));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** The next answer. @throws if none comes in time, or the framing is broken. */
  async answer({ method }: Expected): Promise<Answer> {
    const deadline = performance.now() + PATIENCE_MS;
    const end = await this.#until(() => this.#bytes.indexOf('\r\n\r\n'), deadline, 'a head');
    const [statusLine = '', ...lines] = this.#bytes.toString('latin1', 0, end).split('\r\n');
    this.#bytes = this.#bytes.subarray(end + 4);
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1]);
    if (Number.isNaN(status)) throw new Error(`no status line: ${JSON.stringify(statusLine.slice(0, 40))}`);
    const headers: Record<string, string> = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
    }
    const bodiless = method === 'HEAD' || status === 204 || status === 304;
    const body = bodiless ? Buffer.alloc(0) : await this.#body(headers, deadline);
    return { status, headers, body };
  }

  async #body(headers: Readonly<Record<string, string>>, deadline: number): Promise<Buffer> {
    if (/chunked/i.test(headers['transfer-encoding'] ?? '')) return this.#chunks(deadline);
    const { 'content-length': length } = headers;
    if (length !== undefined) return this.#take(Number(length), deadline);
    await this.#until(() => (this.#closed ? 0 : -1), deadline, 'the end of the connection');
    return this.#take(this.#bytes.length, deadline);
  }

  async #chunks(deadline: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (;;) {
      const end = await this.#until(() => this.#bytes.indexOf('\r\n'), deadline, 'a chunk');
      const size = Number.parseInt(this.#bytes.toString('latin1', 0, end), 16);
      this.#bytes = this.#bytes.subarray(end + 2);
      chunks.push(await this.#take(size, deadline));
      await this.#take(2, deadline);
      if (size === 0) return Buffer.concat(chunks);
    }
  }

  async #take(length: number, deadline: number): Promise<Buffer> {
    await this.#until(() => (this.#bytes.length >= length ? 0 : -1), deadline, `${length} bytes of a body`);
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  async #until(find: () => number, deadline: number, what: string): Promise<number> {
    for (;;) {
      const found = find();
      if (found >= 0) return found;
      if (this.#closed && what !== 'the end of the connection') throw new Error(`closed before ${what} came`);
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`${what} did not come in time`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** One way of using connections to a server. */
export class Client {
  readonly port: number;
  readonly mode: Mode;
  #kept: Connection | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(port: number, mode: Mode) {
    this.port = port;
    this.mode = mode;
  }

  async ask(target: string, asking: Asking = {}): Promise<Answer> {
    const method = asking.method ?? 'GET';
    const text = this.#request(method, target, asking.headers ?? []);
    if (this.mode === 'keep-alive') return this.#askKept(text, method);
    const connection = new Connection(this.port);
    try {
      if (this.mode !== 'pipelined') {
        connection.write(text);
        return await connection.answer({ method });
      }
      const companion = this.#request('GET', COMPANION, []);
      connection.write(companion + text + companion);
      await checkCompanion(connection, 'before');
      const answer = await connection.answer({ method });
      // After an answer that closes the connection there is none.
      if (!/close/i.test(answer.headers.connection ?? '')) await checkCompanion(connection, 'after');
      return answer;
    } finally {
      connection.destroy();
    }
  }

  close(): void {
    this.#kept?.destroy();
  }

  /** One at a time. */
  #askKept(text: string, method: string): Promise<Answer> {
    const turn = this.#turn.then(() => this.#askNext(text, method));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #askNext(text: string, method: string): Promise<Answer> {
    if (this.#kept?.closed !== false) this.#kept = new Connection(this.port);
    const connection = this.#kept;
    connection.write(text);
    try {
      const answer = await connection.answer({ method });
      if (/close/i.test(answer.headers.connection ?? '')) this.#drop();
      return answer;
    } catch (error) {
      this.#drop();
      throw error;
    }
  }

  #drop(): void {
    this.#kept?.destroy();
    this.#kept = undefined;
  }

  #request(method: string, target: string, headers: readonly string[]): string {
    const version = this.mode === 'HTTP/1.0' ? '1.0' : '1.1';
    const close = this.mode === 'close' ? ['Connection: close'] : [];
    return [`${method} ${target} HTTP/${version}`, 'Host: localhost', ...close, ...headers, '', ''].join('\r\n');
  }
}

async function checkCompanion(connection: Connection, where: string): Promise<void> {
  const { status, body } = await connection.answer({ method: 'GET' });
  if (status !== 200 || body.toString() !== COMPANION_BODY) {
    throw new Error(`the request pipelined ${where} it was answered by ${status} and ${body.length} bytes`);
  }
}

/** Opens a connection, asks, and gives it up in one of several ways. */
export async function abandon(port: number, target: string, way: number): Promise<void> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  const range = way % 5 === 0 ? 'Range: bytes=0-999999,2000000-2999999\r\n' : '';
  socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n${range}\r\n`);
  if (way % 3 !== 0) await Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => {});
  else await once(socket, 'connect').catch(() => {});
  if (way % 2 === 0) socket.destroy();
  else resetConnection(socket);
}
