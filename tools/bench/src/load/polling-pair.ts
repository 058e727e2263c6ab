/**
 * Both peers of a proxied connection in one process that never sleeps: it sends on one side and receives on the other,
 * polling both, so that waking anybody up costs the proxy nothing. It blocks its process while it does.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { type TakenSocket, takeSocketForReading } from '@zerocopy/transfer';
import { Patience, SILENCE_LIMIT_MS } from './patience.js';

const { EAGAIN, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC } = constants;
const MiB = 1024 * 1024;

export interface PollingPair {
  readonly client: TakenSocket;
  readonly upstream: TakenSocket;
  close(): void;
}

/** The upstream that proxies connect to. */
export class Upstream {
  readonly #server: Server;
  readonly #accepted: Socket[] = [];

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket: Socket) => this.#accepted.push(socket));
  }

  static async listen(): Promise<Upstream> {
    const server = createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Upstream(server);
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** A connection through the proxy that listens on `port`. */
  async through(port: number): Promise<PollingPair> {
    const client = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    await once(client, 'connect');
    const deadline = performance.now() + SILENCE_LIMIT_MS;
    while (this.#accepted.length === 0) {
      if (performance.now() > deadline) throw new Error('the proxy does not connect to its upstream');
      // Some proxies connect when there is something to send.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const upstream = this.#accepted.shift() as Socket;
    for (const socket of [client, upstream]) socket.on('error', () => {});
    return {
      client: take(client),
      upstream: take(upstream),
      close() {
        client.destroy();
        upstream.destroy();
      },
    };
  }

  /** Drops whoever has connected and nobody has asked for. */
  forget(): void {
    for (const socket of this.#accepted.splice(0)) socket.destroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#accepted) socket.destroy();
  }
}

function take(socket: Socket): TakenSocket {
  const taken = takeSocketForReading(socket);
  if (taken === null) throw new Error('a plain socket is needed');
  return taken;
}

const sent = Buffer.allocUnsafeSlow(MiB).fill('proxied ');
const received = Buffer.allocUnsafeSlow(MiB);
/** Bytes after which a checked stream repeats itself: no power of two, so that lost pages show. */
const PATTERN = 65_521;

/** Sends `total` bytes through the proxy, over all of `pairs` at once; returns when they have arrived, and how many they were. */
export function pump(pairs: readonly PollingPair[], total: number): number {
  const patience = new Patience();
  const share = Math.ceil(total / pairs.length);
  const progress = pairs.map(({ client, upstream }) => ({
    from: client.descriptor(),
    to: upstream.descriptor(),
    sent: 0,
    received: 0,
  }));
  for (let done = 0; done < pairs.length; ) {
    for (const one of progress) {
      if (one.received === share) continue;
      if (one.sent < share) {
        const result = syscalls.send(one.from, sent, Math.min(MiB, share - one.sent), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (result > 0) one.sent += result;
        else if (result !== -EAGAIN) check(result, 'send');
      }
      const result = syscalls.recv(one.to, received, MiB, MSG_DONTWAIT | MSG_TRUNC);
      if (result > 0) {
        one.received += result;
        if (one.received === share) done++;
        patience.progressed();
      } else if (result === 0) throw new Error('the proxy closed the connection');
      else {
        if (result !== -EAGAIN) check(result, 'recv');
        patience.nothing();
      }
    }
  }
  return share * pairs.length;
}

/** Throws unless `size` bytes arrive on the other side as they were sent. */
export function checkPair({ client, upstream }: PollingPair, size: number): void {
  const patience = new Patience();
  const [from, to] = [client.descriptor(), upstream.descriptor()];
  const pattern = Buffer.allocUnsafe(PATTERN);
  for (let at = 0; at < PATTERN; at++) pattern[at] = (at * 31 + (at >>> 8)) & 0xff;
  for (let sentSoFar = 0, got = 0; got < size; ) {
    if (sentSoFar < size) {
      const at = sentSoFar % PATTERN;
      const rest = pattern.subarray(at, Math.min(PATTERN, at + size - sentSoFar));
      const result = syscalls.send(from, rest, rest.length, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (result > 0) sentSoFar += result;
      else if (result !== -EAGAIN) check(result, 'send');
    }
    const at = got % PATTERN;
    const result = syscalls.recv(to, received, Math.min(PATTERN - at, size - got), MSG_DONTWAIT);
    if (result > 0) {
      if (received.compare(pattern, at, at + result, 0, result) !== 0) throw new Error(`other bytes came after ${got}`);
      got += result;
      patience.progressed();
    } else if (result === 0) throw new Error('the proxy closed the connection');
    else {
      if (result !== -EAGAIN) check(result, 'recv');
      patience.nothing();
    }
  }
}

function receiveAll(fd: number, size: number, patience: Patience): void {
  for (let got = 0; got < size; ) {
    const result = syscalls.recv(fd, received, size - got, MSG_DONTWAIT);
    if (result > 0) {
      got += result;
      patience.progressed();
    } else if (result === 0) throw new Error('the proxy closed the connection');
    else {
      if (result !== -EAGAIN) check(result, 'recv');
      patience.nothing();
    }
  }
}

/** Requests and responses of `size` bytes, one after the other; the milliseconds that each took. */
export function pingPong({ client, upstream }: PollingPair, size: number, rounds: number): Float64Array {
  const patience = new Patience();
  const [there, back] = [client.descriptor(), upstream.descriptor()];
  const times = new Float64Array(rounds);
  for (let round = 0; round < rounds; round++) {
    const startedAt = performance.now();
    check(syscalls.send(there, sent, size, MSG_NOSIGNAL), 'send');
    receiveAll(back, size, patience);
    check(syscalls.send(back, sent, size, MSG_NOSIGNAL), 'send');
    receiveAll(there, size, patience);
    times[round] = performance.now() - startedAt;
  }
  return times;
}
