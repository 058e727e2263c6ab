/**
 * An HTTP client that never sleeps: it polls its socket, so that waking it costs the server nothing, and lets the
 * kernel discard the payload (MSG_TRUNC). On a virtual machine a sleeping receiver on another core costs the sender
 * more than the whole transfer. It blocks its process while it receives.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { type TakenSocket, takeSocketForReading } from '@zerocopy/core-syscalls/internals';
import { Patience } from './patience.js';

const { EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC } = constants;
const MiB = 1024 * 1024;
const HEADER_END = Buffer.from('\r\n\r\n');

export interface Download {
  /** Of the body. */
  readonly bytes: number;
  readonly status: number;
  /** Hexadecimal; only if asked for. */
  readonly sha256: string | undefined;
}

export interface DownloadOptions {
  /** Keep the payload long enough to hash it, instead of discarding it in the kernel. */
  readonly hash?: boolean;
  readonly onBytes?: (bytes: number, total: number) => void;
}

export class PollingClient {
  readonly #socket: Socket;
  readonly #taken: TakenSocket;
  readonly #buffer = Buffer.allocUnsafeSlow(MiB);

  private constructor(socket: Socket, taken: TakenSocket) {
    this.#socket = socket;
    this.#taken = taken;
  }

  static async connect(port: number): Promise<PollingClient> {
    const socket = connect({ port, host: '127.0.0.1' });
    await once(socket, 'connect');
    socket.setNoDelay(true);
    const taken = takeSocketForReading(socket);
    if (taken === null) throw new Error('the client needs a plain socket');
    return new PollingClient(socket, taken);
  }

  /** Requests `path` on the kept-alive connection and receives the whole response before it returns. */
  get(path: string, options: DownloadOptions = {}): Download {
    this.#send(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 'latin1'));
    return this.#response(options);
  }

  /** Sends `size` bytes of nothing in particular as the body of a request, and waits for the response. */
  put(path: string, size: number): Download {
    const head = `PUT ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`;
    this.#send(Buffer.from(head, 'latin1'));
    for (let sent = 0; sent < size; sent += MiB) this.#send(this.#buffer, Math.min(MiB, size - sent));
    return this.#response({});
  }

  #response(options: DownloadOptions): Download {
    let head = Buffer.alloc(0);
    let bodyAt = -1;
    while (bodyAt < 0) {
      const received = this.#receive(this.#buffer.length, 0);
      head = Buffer.concat([head, this.#buffer.subarray(0, received)]);
      const end = head.indexOf(HEADER_END);
      if (end >= 0) bodyAt = end + HEADER_END.length;
    }
    const headers = head.toString('latin1', 0, bodyAt);
    const total = Number(/^content-length: *(\d+)/im.exec(headers)?.[1] ?? Number.NaN);
    if (!Number.isSafeInteger(total)) throw new Error(`a response without a Content-Length: ${headers}`);
    const hash = options.hash === true ? createHash('sha256') : undefined;
    let bytes = head.length - bodyAt;
    hash?.update(head.subarray(bodyAt));
    while (bytes < total) {
      const received = this.#receive(Math.min(total - bytes, MiB), hash === undefined ? MSG_TRUNC : 0);
      hash?.update(this.#buffer.subarray(0, received));
      bytes += received;
      options.onBytes?.(bytes, total);
    }
    return { bytes, status: Number(headers.split(' ')[1]), sha256: hash?.digest('hex') };
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(bytes: Buffer, size = bytes.length): void {
    const fd = this.#taken.descriptor();
    const patience = new Patience();
    for (let sent = 0; sent < size; ) {
      const from = sent === 0 ? bytes : bytes.subarray(sent);
      const result = syscalls.send(fd, from, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (result > 0) {
        sent += result;
        patience.progressed();
      } else {
        if (result !== -EAGAIN) check(result, 'send');
        patience.nothing();
      }
    }
  }

  #receive(size: number, flags: number): number {
    const fd = this.#taken.descriptor();
    const patience = new Patience();
    for (;;) {
      const received = syscalls.recv(fd, this.#buffer, size, MSG_DONTWAIT | flags);
      if (received > 0) return received;
      if (received === 0) throw new Error('the server closed the connection in the middle of a response');
      if (received !== -EAGAIN && received !== -EINTR) check(received, 'recv');
      patience.nothing();
    }
  }
}
