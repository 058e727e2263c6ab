/** One connection that asks for one file after another, and what that costs the process that answers. */
import { createHash, type Hash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import type { Contestant } from './contestants.js';

const BUFFER = 256 * 1024;
const END = Buffer.from('\r\n\r\n');

/** What a turn has shown. */
export interface Turn {
  readonly requests: number;
  /** Seconds of CPU, user and system, of the server for a request; NaN: the kernel does not tell. */
  readonly cpu: number;
  /** Bytes of files per second. */
  readonly rate: number;
}

/** Seconds of CPU that a process has taken: the scheduler's own account, of all threads; NaN if it keeps none. */
function cpuSeconds(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e9)
      .reduce((sum, seconds) => sum + seconds, 0);
  } catch {
    return Number.NaN;
  }
}

export class Client {
  readonly #socket: Socket;
  readonly #pid: number;
  readonly #name: string;
  #isWaiting = false;
  #head = Buffer.alloc(0);
  /** Of the body that is being read; undefined: its header is not there yet. */
  #left: number | undefined;
  #hash: Hash | undefined;
  #done: (bytes: number) => void = () => {};
  #failed: (error: Error) => void = () => {};
  #length = 0;
  /** Why there will be no answer any more. */
  #error: Error | undefined;

  /**
   * @param patience milliseconds without a byte after which it is given up.
   * @param signal breaks off what is asked for.
   */
  constructor({ name, port, pid }: Contestant, patience: number, signal: AbortSignal) {
    this.#name = name;
    this.#pid = pid;
    const callback = (count: number, buffer: Uint8Array): boolean => {
      this.#read(buffer.subarray(0, count));
      return true;
    };
    const onread = { buffer: Buffer.alloc(BUFFER), callback };
    this.#socket = net.connect({ port, host: '127.0.0.1', onread, noDelay: true, signal });
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error(`${name} has closed the connection`)));
    // Of a request only: while others have their turns, nothing comes and nothing is to come.
    this.#socket.setTimeout(patience, () => {
      if (this.#isWaiting) this.#fail(new Error(`${name} has not sent anything for ${patience / 1000} s`));
    });
  }

  /** For good: what is asked for later fails as well. */
  #fail(error: Error): void {
    this.#error ??= error;
    this.#isWaiting = false;
    this.#failed(this.#error);
  }

  #read(bytes: Uint8Array): void {
    let body = bytes;
    if (this.#left === undefined) {
      const head = Buffer.concat([this.#head, bytes]);
      const end = head.indexOf(END);
      this.#head = head;
      if (end < 0) return;
      const text = head.toString('latin1', 0, end);
      const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
      if (!text.startsWith('HTTP/1.1 200 ') || length === undefined) {
        this.#fail(new Error(`${this.#name} answers '${text.slice(0, text.indexOf('\r\n'))}'`));
        return;
      }
      this.#length = Number(length);
      this.#left = this.#length;
      body = head.subarray(end + END.length);
    }
    this.#hash?.update(body);
    this.#left -= body.length;
    if (this.#left > 0) return;
    if (this.#left < 0) this.#fail(new Error(`${this.#name} has sent more than its answer`));
    this.#left = undefined;
    this.#head = Buffer.alloc(0);
    this.#isWaiting = false;
    this.#done(this.#length);
  }

  #request(path: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#failed = reject;
      if (this.#error !== undefined) return reject(this.#error);
      this.#isWaiting = true;
      this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    });
  }

  /** @throws if what comes is not the file with this hash. */
  async check(path: string, sha256: string): Promise<void> {
    this.#hash = createHash('sha256');
    await this.#request(path);
    const found = this.#hash.digest('hex');
    this.#hash = undefined;
    if (found !== sha256) throw new Error(`${this.#name} has sent other bytes than those of the file`);
  }

  /** Asks for a file again and again, for so many milliseconds, at least once. */
  async turn(path: string, milliseconds: number, signal: AbortSignal): Promise<Turn> {
    let requests = 0;
    let bytes = 0;
    const cpuBefore = cpuSeconds(this.#pid);
    const startedAt = performance.now();
    let elapsed = 0;
    while (elapsed < milliseconds) {
      signal.throwIfAborted();
      bytes += await this.#request(path);
      requests++;
      elapsed = performance.now() - startedAt;
    }
    const cpu = (cpuSeconds(this.#pid) - cpuBefore) / requests;
    return { requests, cpu, rate: (bytes / elapsed) * 1000 };
  }

  close(): void {
    this.#socket.removeAllListeners('close').destroy();
  }
}
