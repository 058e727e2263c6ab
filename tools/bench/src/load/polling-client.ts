/** Downloads and uploads by polling, one after the other or over many connections at once. Blocks its process meanwhile. */
import { createHash } from 'node:crypto';
import { getRequest, HttpConnection, UPLOADED } from './http-connection.js';
import { Patience } from './patience.js';

export interface Download {
  /** Of the body. */
  readonly bytes: number;
  readonly status: number;
}

/** One kept-alive connection. */
export class PollingClient {
  readonly #connection: HttpConnection;

  constructor(port: number) {
    this.#connection = new HttpConnection(port);
  }

  /** Requests `target` and receives the whole response before it returns. */
  get(target: string, onBytes?: (bytes: number) => void): Download {
    this.#connection.request(getRequest(target));
    return this.#finish(onBytes);
  }

  /** Sends `size` bytes as the body of a request, and waits for the response. */
  put(target: string, size: number): Download {
    const head = `PUT ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`;
    this.#connection.request(Buffer.from(head, 'latin1'), size);
    return this.#finish();
  }

  close(): void {
    this.#connection.close();
  }

  #finish(onBytes?: (bytes: number) => void): Download {
    this.#connection.finish(onBytes);
    const { bytes, status } = this.#connection;
    return { bytes, status };
  }
}

/** The status and the head of the answer to one request. */
export function headOf(port: number, target: string, fields: readonly string[] = []): { status: number; head: string } {
  const connection = new HttpConnection(port);
  try {
    connection.request(getRequest(target, false, fields));
    connection.finish();
    return { status: connection.status, head: connection.fields };
  } finally {
    connection.close();
  }
}

/** One download whose every byte is received and hashed; hexadecimal SHA-256. */
export function hashOfDownload(port: number, target: string): { bytes: number; sha256: string } {
  const hash = createHash('sha256');
  const connection = new HttpConnection(port, hash);
  try {
    connection.request(getRequest(target));
    connection.finish();
    return { bytes: connection.bytes, sha256: hash.digest('hex') };
  } finally {
    connection.close();
  }
}

/** Of what {@link PollingClient.put} sends. */
export function uploadedHash(size: number): string {
  const hash = createHash('sha256');
  for (let at = 0; at < size; at += UPLOADED.length) hash.update(UPLOADED.subarray(0, size - at));
  return hash.digest('hex');
}

export interface LoadOptions {
  readonly connections: number;
  /** Milliseconds for which requests are begun; those under way are finished. Every connection makes at least one. */
  readonly duration: number;
  /** A new connection for each request; otherwise they are kept alive. */
  readonly reconnect?: boolean;
  /** By the number of the connection; all must be answered by as many bytes as the first. */
  readonly target: (connection: number) => string;
  /** Header fields of each request, as lines. */
  readonly fields?: readonly string[];
  /** What must be answered. Default 200. */
  readonly status?: number;
  /** Called when all is connected, and nothing is requested yet. */
  readonly onConnected?: () => void;
  /** Called when the last byte is there, and everything is still connected. */
  readonly onReceived?: () => void;
}

export interface Load {
  readonly bytes: number;
  readonly seconds: number;
  /** Milliseconds from the request to the last byte of its response, of each. */
  readonly latencies: readonly number[];
}

/** Everybody asks, polls, and asks again, until the time is over. */
export function load(port: number, options: LoadOptions): Load {
  const { duration, reconnect = false, target, fields = [], status = 200 } = options;
  const clients = Array.from({ length: options.connections }, (_, n) => ({
    connection: new HttpConnection(port),
    request: getRequest(target(n), reconnect, fields),
    startedAt: 0,
    requests: 0,
  }));
  const latencies: number[] = [];
  let bytes = 0;
  try {
    if (!reconnect) for (const { connection } of clients) connection.connect();
    options.onConnected?.();
    const startedAt = performance.now();
    const deadline = startedAt + duration;
    const patience = new Patience();
    for (let active = clients.length; active > 0; ) {
      active = 0;
      let progressed = false;
      for (const client of clients) {
        const { connection } = client;
        if (connection.isIdle) {
          const now = performance.now();
          if (client.requests > 0 && now >= deadline) continue;
          client.requests++;
          client.startedAt = now;
          connection.request(client.request);
        }
        active++;
        if (!connection.poll()) continue;
        progressed = true;
        if (!connection.isIdle) continue;
        latencies.push(performance.now() - client.startedAt);
        bytes += connection.bytes;
        if (connection.status !== status) throw new Error(`the server answered ${connection.status}`);
        if (reconnect) connection.close();
      }
      if (progressed) patience.progressed();
      else patience.nothing();
    }
    const seconds = (performance.now() - startedAt) / 1000;
    options.onReceived?.();
    return { bytes, seconds, latencies };
  } finally {
    for (const { connection } of clients) connection.close();
  }
}
