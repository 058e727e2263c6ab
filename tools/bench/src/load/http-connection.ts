/**
 * One HTTP/1.1 connection of a client that never sleeps: it polls its socket, so that waking it costs the server
 * nothing, and lets the kernel discard the payload (MSG_TRUNC). On a virtual machine a sleeping receiver on another
 * core costs the sender more than the whole transfer.
 *
 * idle → (request) → head → body → idle
 */
import type { Hash } from 'node:crypto';
import { constants } from '@zerocopy/core-syscalls';
import { Patience } from './patience.js';
import { closeSocket, connectTo, receive, transmit } from './raw-socket.js';

const { MSG_TRUNC } = constants;
const MiB = 1024 * 1024;
const HEADER_END = Buffer.from('\r\n\r\n');
/** Nobody waits in the middle of a poll, so all connections share it. */
const buffer = Buffer.allocUnsafeSlow(MiB);
/** What is uploaded, again and again: no power of two, so that lost pages show in the hash. */
export const UPLOADED: Buffer = Buffer.alloc(MiB - 15, 'uploaded bytes; ');

/**
 * The bytes of a GET request.
 * @param close asks the server to end the connection after its response.
 * @param fields more header fields, each as a line.
 */
export function getRequest(target: string, close = false, fields: readonly string[] = []): Buffer {
  const lines = [
    `GET ${target} HTTP/1.1`,
    'Host: localhost',
    ...(close ? ['Connection: close'] : []),
    ...fields,
    '',
    '',
  ];
  return Buffer.from(lines.join('\r\n'), 'latin1');
}

/** Statuses of responses that have no body and need not say so (RFC 9112, 6.3). */
const BODILESS: ReadonlySet<number> = new Set([204, 304]);

export class HttpConnection {
  readonly #port: number;
  readonly #hash: Hash | undefined;
  #fd = -1;
  #state: 'idle' | 'head' | 'body' = 'idle';
  #partOfHead: Buffer | undefined;
  #left = 0;
  /** Of the last response. */
  status = 0;
  /** The head of the last response, as it came. */
  fields = '';
  /** Of the last response's body, so far. */
  bytes = 0;

  /** @param hash keeps the payload long enough to hash it, instead of discarding it in the kernel. */
  constructor(port: number, hash?: Hash) {
    this.#port = port;
    this.#hash = hash;
  }

  get isIdle(): boolean {
    return this.#state === 'idle';
  }

  connect(): void {
    if (this.#fd < 0) this.#fd = connectTo(this.#port);
  }

  /** Sends a request, and `body` bytes of {@link UPLOADED} with it; connects if it is not connected. */
  request(head: Buffer, body = 0): void {
    this.connect();
    this.#sendAll(head, head.length);
    for (let sent = 0; sent < body; sent += UPLOADED.length) {
      this.#sendAll(UPLOADED, Math.min(UPLOADED.length, body - sent));
    }
    this.#state = 'head';
    this.bytes = 0;
  }

  /** Looks at the socket once; false if nothing was there. */
  poll(): boolean {
    if (this.#state === 'body') {
      const discard = this.#hash === undefined;
      const received = receive(this.#fd, buffer, Math.min(this.#left, MiB), discard ? MSG_TRUNC : 0);
      if (received < 0) return false;
      this.#body(received);
      return true;
    }
    const received = receive(this.#fd, buffer, buffer.length, 0);
    if (received < 0) return false;
    if (received === 0) throw new Error('the server closed the connection instead of answering');
    this.#head(received);
    return true;
  }

  /** Polls until the response is complete. */
  finish(onBytes?: (bytes: number) => void): void {
    const patience = new Patience();
    while (!this.isIdle) {
      if (this.poll()) {
        patience.progressed();
        onBytes?.(this.bytes);
      } else patience.nothing();
    }
  }

  close(): void {
    if (this.#fd >= 0) closeSocket(this.#fd);
    this.#fd = -1;
    this.#state = 'idle';
  }

  #head(received: number): void {
    const before = this.#partOfHead;
    const head =
      before === undefined ? buffer.subarray(0, received) : Buffer.concat([before, buffer.subarray(0, received)]);
    const end = head.indexOf(HEADER_END);
    if (end < 0) {
      this.#partOfHead = Buffer.from(head);
      return;
    }
    this.#partOfHead = undefined;
    const bodyAt = end + HEADER_END.length;
    const text = head.toString('latin1', 0, bodyAt);
    this.status = Number(text.slice(9, 12));
    this.fields = text;
    const length = BODILESS.has(this.status) ? '0' : /^content-length: *(\d+)/im.exec(text)?.[1];
    if (length === undefined) throw new Error(`a response without a Content-Length: ${text}`);
    this.#left = Number(length);
    this.#state = 'body';
    const early = head.length - bodyAt;
    this.#hash?.update(head.subarray(bodyAt));
    this.#count(early);
  }

  #body(received: number): void {
    if (received === 0) throw new Error('the server closed the connection in the middle of a response');
    this.#hash?.update(buffer.subarray(0, received));
    this.#count(received);
  }

  #count(received: number): void {
    this.bytes += received;
    this.#left -= received;
    if (this.#left < 0) throw new Error(`${-this.#left} bytes more than the Content-Length have arrived`);
    if (this.#left === 0) this.#state = 'idle';
  }

  #sendAll(bytes: Buffer, size: number): void {
    const patience = new Patience();
    for (let sent = 0; sent < size; ) {
      const taken = transmit(this.#fd, sent === 0 ? bytes : bytes.subarray(sent), size - sent);
      if (taken > 0) {
        sent += taken;
        patience.progressed();
      } else patience.nothing();
    }
  }
}
