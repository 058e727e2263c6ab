/**
 * The process of the clients, of Node's own streams only. Each does one thing after the other, and some of it to the end;
 * the rest is aborted, reset, stalled or abandoned at random. Every byte that comes is compared, also of what is broken off.
 */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import net, { type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { resetConnection } from '@zerocopy/testing/sockets';
import { contentOf, FILES } from './content.js';
import type { Answer, ClientAnswers, ClientOptions, Counts, Event } from './protocol.js';
import { Dice } from './random.js';

/** At a time. */
const CLIENTS = 10;
const STALL_MS = 400;
const ABANDONED_MS = 6000;
/** Of whoever waits for all to have ended. */
const PATIENCE_MS = 20_000;
const LASTING_HEADER = 8;
const HOST = '127.0.0.1';

const { seed, contentSeed, ports } = JSON.parse(process.argv[2] as string) as ClientOptions;
const content = new Map(Object.keys(FILES).map((name) => [name, contentOf(name, contentSeed)]));
const counts: Counts = {};
const agent = new http.Agent({ keepAlive: true });
const tell = (message: Event<null> | Answer<ClientAnswers>): void => {
  process.send?.(message);
};

/** What a client means to do with a connection, in the middle of it. */
type Fate = 'finish' | 'abort' | 'reset' | 'stall' | 'abandon';

function fateOf(dice: Dice): Fate {
  if (dice.chance(0.6)) return 'finish';
  return dice.oneOf(['abort', 'abort', 'reset', 'reset', 'stall', 'stall', 'abandon']);
}

/** Reads what has to be a beginning of `expected`, and all of it if the stream ends by itself. */
class Reader {
  at = 0;
  readonly #expected: Buffer;
  readonly #hash = createHash('sha256');

  constructor(expected: Buffer) {
    this.#expected = expected;
  }

  take(chunk: Buffer): void {
    if (!chunk.equals(this.#expected.subarray(this.at, this.at + chunk.length))) {
      throw new Error(`bytes from ${this.at} to ${this.at + chunk.length} are not what was sent`);
    }
    this.#hash.update(chunk);
    this.at += chunk.length;
  }

  end(): void {
    const sha256 = createHash('sha256').update(this.#expected).digest('hex');
    if (this.at !== this.#expected.length) throw new Error(`ended at ${this.at} of ${this.#expected.length} bytes`);
    if (this.#hash.digest('hex') !== sha256) throw new Error('the SHA-256 is another');
  }
}

/** What is being read, for whoever asks why it does not end. */
const reading = new Map<Socket, string>();

/** Paused: whoever waits for their server to give up is told to go. */
const abandoned = new Set<Socket>();

/** Says and reads nothing any more. The other side gives up sooner than we do. */
function abandon(socket: Socket): void {
  abandoned.add(socket);
  const timer = setTimeout(() => socket.destroy(), ABANDONED_MS);
  socket.once('close', () => clearTimeout(timer));
}

interface Reading {
  readonly dice: Dice;
  readonly fate: Fate;
  readonly expected: Buffer;
  /** The other side may break off, too. */
  readonly brittle: boolean;
}

/** @returns how it ended, for the count. */
async function read(stream: Readable, socket: Socket, { dice, fate, expected, brittle }: Reading): Promise<string> {
  const reader = new Reader(expected);
  const turningPoint = fate === 'finish' ? Number.POSITIVE_INFINITY : dice.between(0, expected.length - 1);
  let turned = false;
  let wrong: Error | undefined;
  const turnNow = (): void => {
    turned = true;
    if (fate === 'abort') socket.destroy();
    else if (fate === 'reset') resetConnection(socket);
    else {
      stream.pause();
      if (fate === 'stall') setTimeout(() => stream.resume(), dice.between(10, STALL_MS));
      else abandon(socket);
    }
  };
  const port = socket.remotePort; // unknown, once it is closed
  reading.set(socket, `port ${port}, ${fate}, ${expected.length} bytes`);
  let failure = '';
  let onClose = (): void => {};
  const end = await new Promise<'end' | 'close'>((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      if (wrong !== undefined) return;
      try {
        reader.take(chunk);
      } catch (error) {
        wrong = error as Error;
        socket.destroy();
      }
      if (!turned && reader.at > turningPoint) turnNow();
    });
    stream.once('end', () => resolve('end'));
    stream.once('error', (error: NodeJS.ErrnoException) => {
      failure = error.code ?? error.message;
      resolve('close');
    });
    stream.once('close', () => resolve('close'));
    // An abandoned stream is not read, and so does not hear of its end. Others have it still to read.
    onClose = () => {
      if (turned && fate !== 'stall') setImmediate(() => resolve('close'));
    };
    socket.on('close', onClose);
  });
  socket.off('close', onClose);
  if (fate === 'abandon') abandoned.delete(socket);
  reading.delete(socket);
  if (wrong !== undefined) throw wrong;
  const broken = turned && fate !== 'stall';
  if (end === 'end' && !broken) {
    if (brittle && reader.at < expected.length) return 'ended early';
    reader.end();
    return 'whole';
  }
  if (end === 'close' && !broken && !brittle) {
    throw new Error(`port ${port}, ${fate}: broken off at ${reader.at} of ${expected.length} bytes (${failure})`);
  }
  return broken ? fate : 'broken off by the server';
}

function query(parameters: Record<string, string | number | boolean>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== false) search.set(name, String(value));
  return search.toString();
}

interface Exchange {
  readonly response: IncomingMessage;
  readonly socket: Socket;
}

/** Undefined if the server broke off before it answered. */
async function exchange(path: string, options: http.RequestOptions, body?: (request: http.ClientRequest) => void) {
  const request = http.request({ host: HOST, port: ports.http, path, ...options });
  let socket: Socket | undefined;
  request.once('socket', (given) => {
    socket = given;
  });
  if (body === undefined) request.end();
  else body(request);
  const answer = await new Promise<IncomingMessage | Error>((resolve) => {
    request.once('response', resolve);
    request.once('error', resolve);
  });
  request.on('error', () => {}); // of a request that goes on after its response
  if (answer instanceof Error) {
    answer.message += ` (${path})`;
    return { error: answer, reused: request.reusedSocket };
  }
  return { response: answer, socket: socket as Socket } satisfies Exchange;
}

const ROUTES = ['stream', 'stream', 'stream', 'send', 'send', 'send', 'mmap', 'copy'] as const;

async function download(dice: Dice): Promise<string> {
  const route = dice.oneOf(ROUTES);
  const file = dice.oneOf(Object.keys(FILES));
  const whole = content.get(file) as Buffer;
  const start = dice.chance(0.5) ? 0 : dice.between(0, whole.length - 1);
  const end = dice.chance(0.5) ? whole.length - 1 : dice.between(start, whole.length - 1);
  const signal = dice.chance(0.1);
  const destroy = dice.chance(0.1);
  const chunked = dice.chance(0.3);
  const path = `/${route}?${query({ file, start, end, chunked, signal, destroy, lease: dice.chance(0.1) })}`;
  const options = dice.chance(0.7) ? { agent } : { agent: false as const };
  const reading: Reading = {
    dice,
    fate: fateOf(dice),
    expected: whole.subarray(start, end + 1),
    brittle: signal || destroy,
  };
  const answer = await exchange(path, options);
  if ('error' in answer) {
    if (answer.reused || reading.brittle) return `${route}: no answer`;
    throw new Error(answer.error.message, { cause: answer.error });
  }
  if (answer.response.statusCode !== 200) throw new Error(`${path}: ${answer.response.statusCode}`);
  const { complete } = answer.response;
  const ended = await read(answer.response, answer.socket, reading);
  if (ended === 'ended early') throw new Error(`${path}: ended early, as if it were whole (${complete})`);
  return `${route}: ${ended}`;
}

async function hashes(dice: Dice): Promise<string> {
  const route = dice.oneOf(['map', 'lease', 'pool']);
  const file = dice.oneOf(Object.keys(FILES));
  const answer = await exchange(`/${route}?${query({ file })}`, { agent });
  if ('error' in answer) {
    if (answer.reused) return `${route}: no answer`;
    throw new Error(answer.error.message, { cause: answer.error });
  }
  const sha256 = createHash('sha256')
    .update(content.get(file) as Buffer)
    .digest('hex');
  await read(answer.response, answer.socket, { dice, fate: 'finish', expected: Buffer.from(sha256), brittle: false });
  return `${route}: whole`;
}

/** Or closed meanwhile. */
function drained(stream: Socket | http.ClientRequest, socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    socket.on('close', done);
    if (socket.closed) done();
  });
}

/** Writes in pieces, and turns away in the middle if that is to be. */
async function write(stream: Socket | http.ClientRequest, socket: Socket, bytes: Buffer, fate: Fate, dice: Dice) {
  const turningPoint = fate === 'finish' ? Number.POSITIVE_INFINITY : dice.between(0, bytes.length - 1);
  let turned = false;
  for (let at = 0; at < bytes.length; ) {
    const piece = bytes.subarray(at, at + dice.between(1, 256 * 1024));
    at += piece.length;
    if (stream.destroyed || socket.destroyed) return;
    if (!stream.write(piece)) {
      await drained(stream, socket);
    }
    if (turned || at <= turningPoint) continue;
    turned = true;
    if (fate === 'abort') socket.destroy();
    else if (fate === 'reset') resetConnection(socket);
    else if (fate === 'stall') await sleep(dice.between(10, STALL_MS));
    else {
      abandon(socket);
      if (!socket.closed) await once(socket, 'close').catch(() => {});
      abandoned.delete(socket);
    }
  }
  if (!stream.destroyed) stream.end();
}

async function upload(dice: Dice): Promise<string> {
  const large = content.get('large') as Buffer;
  const body = large.subarray(0, dice.between(1, large.length));
  const destroy = dice.chance(0.1);
  const fate = fateOf(dice);
  const answer = await exchange(
    `/upload?${query({ destroy })}`,
    { method: 'PUT', headers: { 'content-length': body.length }, ...(dice.chance(0.7) ? { agent } : { agent: false }) },
    (request) => {
      request.once('socket', (socket: Socket) => void write(request, socket, body, fate, dice));
    },
  );
  const brittle = destroy || (fate !== 'finish' && fate !== 'stall');
  if ('error' in answer) {
    if (brittle || answer.reused) return `upload: ${destroy ? 'broken off by the server' : fate}`;
    throw new Error(answer.error.message, { cause: answer.error });
  }
  const sha256 = createHash('sha256').update(body).digest('hex');
  const reading: Reading = { dice, fate: 'finish', expected: Buffer.from(sha256), brittle };
  return `upload: ${await read(answer.response, answer.socket, reading)}`;
}

async function connect(port: number): Promise<Socket> {
  const socket = net.connect({ port, host: HOST, allowHalfOpen: true });
  await once(socket, 'connect');
  socket.on('error', () => {}); // told by 'close'
  return socket;
}

const ECHOES = ['proxy', 'proxy', 'proxyAborting', 'relay', 'relay', 'tee', 'tee', 'teeAborting'] as const;

/** What is sent comes back. */
async function echo(dice: Dice): Promise<string> {
  const service = dice.oneOf(ECHOES);
  const large = content.get('large') as Buffer;
  const bytes = large.subarray(0, dice.between(1, large.length));
  const fate = fateOf(dice);
  const writes = dice.chance(0.3);
  const aborting = service.endsWith('Aborting');
  const socket = await connect(ports[service]).catch((error: Error) => {
    if (aborting) return undefined; // by a reset, before we knew that we were connected
    throw error;
  });
  if (socket === undefined) return `${service}: broken off by the server`;
  const brittle = aborting || (writes && fate !== 'finish' && fate !== 'stall');
  const [ended] = await Promise.all([
    read(socket, socket, { dice, fate: writes ? 'finish' : fate, expected: bytes, brittle }),
    write(socket, socket, bytes, writes ? fate : 'finish', dice),
  ]);
  socket.destroy();
  return `${service}: ${brittle && writes && ended !== 'whole' ? fate : ended}`;
}

async function raw(dice: Dice): Promise<string> {
  const socket = await connect(ports.raw);
  const expected = Buffer.concat([Buffer.from('header'), content.get('large') as Buffer, Buffer.from('trailer')]);
  const ended = await read(socket, socket, { dice, fate: fateOf(dice), expected, brittle: false });
  socket.destroy();
  return `raw: ${ended}`;
}

/** One connection for as long as the process lives, for one file after the other. */
async function lasting(dice: Dice): Promise<(dice: Dice) => Promise<string>> {
  const socket = await connect(ports.lasting);
  return async () => {
    const file = dice.oneOf(Object.keys(FILES));
    const length = Buffer.alloc(LASTING_HEADER);
    length.writeUInt32BE(FILES[file] as number);
    const expected = Buffer.concat([length, content.get(file) as Buffer]);
    const reader = new Reader(expected);
    socket.write(file.slice(0, 1));
    while (reader.at < expected.length) {
      const chunk: Buffer | null = socket.read();
      if (chunk !== null) reader.take(chunk);
      else if (socket.destroyed) throw new Error('the lasting connection has been closed');
      else await once(socket, 'readable');
    }
    reader.end();
    return 'lasting: whole';
  };
}

let going = false;
let wake = (): void => {};
/** What each client is doing. */
const busy = new Map<number, string>();

const goes = (): Promise<void> =>
  new Promise((resolve) => {
    const before = wake;
    wake = () => {
      before();
      resolve();
    };
  });

async function client(number: number): Promise<never> {
  const dice = new Dice(seed * 1000 + number);
  const actions = [download, download, download, upload, echo, echo, raw, hashes];
  const only = number === 0 ? await lasting(dice) : undefined;
  for (;;) {
    if (!going) await goes();
    const action = only ?? dice.oneOf(actions);
    busy.set(number, action.name);
    try {
      const what = await action(dice);
      counts[what] = (counts[what] ?? 0) + 1;
    } catch (error) {
      tell({ wrong: `client ${number}, ${action.name}: ${(error as Error).stack}` });
      await sleep(100);
    } finally {
      busy.delete(number);
    }
  }
}

async function pause(): Promise<void> {
  going = false;
  const deadline = performance.now() + PATIENCE_MS;
  while (busy.size > 0) {
    for (const socket of abandoned) socket.destroy();
    if (performance.now() > deadline) {
      tell({ wrong: `clients that do not come to an end: ${[...busy.values(), ...reading.values()].join('; ')}` });
      return;
    }
    await sleep(5);
  }
  agent.destroy();
}

process.once('disconnect', () => process.exit());
process.on('message', async ({ id, ask }: { id: number; ask: keyof ClientAnswers }) => {
  if (ask === 'go') {
    going = true;
    wake();
    wake = () => {};
  } else if (ask === 'pause') await pause();
  tell({ id, answer: ask === 'counts' ? counts : undefined });
});
for (let number = 0; number < CLIENTS; number++) void client(number);
tell({ ready: null });
