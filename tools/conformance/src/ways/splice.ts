/** Sockets, pipes, files and uploads joined by splice-pipe: its promises, and its streams. */

import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { ProxyError, SpliceDestination, SpliceSource, SpliceWriteStream, TeeError } from '@zerocopy/splice-pipe';
import { arrival, type Kind } from '@zerocopy/testing/sockets';
import { turn } from '@zerocopy/testing/waiting';
import { shrinkBuffer } from './kernel-objects.js';
import { RESET_LOSS } from './receivers.js';
import { closing, type Near, type Stage } from './stage.js';
import { listenersOf } from './stray-listeners.js';
import { GONE, one, type Told, type Way } from './way.js';

type Placed<End> = (stage: Stage) => Promise<End> | End;

/** `splice` between two ends that the stage makes; it takes its listeners back from both. */
const splicing = (
  name: string,
  from: Placed<SpliceSource>,
  to: Placed<SpliceDestination>,
  more: Partial<Way> = {},
): Way => ({
  name,
  twin: 'stream.pipeline',
  promised: true,
  victims: ['everything'],
  async begin(stage) {
    const destination = await to(stage);
    const source = await from(stage); // last: Node throws away what a child that has ended has said to nobody
    stage.set();
    const check = listenersOf(stage, source, destination);
    const over = one(stage.by.splice(source, destination, stage.options({}))).then((told) => {
      check(told[0]?.error !== undefined);
      return told;
    });
    return { over };
  },
  ...more,
});

const SOURCES: Readonly<Record<string, Placed<SpliceSource>>> = {
  'a unix socket': (stage) => stage.socketSource(),
  'a number of a socket': (stage) => stage.numberOfSocketSource(),
  'a number of a pipe': (stage) => stage.pipeSource('number'),
  'a file': (stage) => stage.lend(stage.file(), 'r'),
  'a cold file': (stage) => stage.lend(stage.file('cold'), 'r'),
};

const DESTINATIONS: Readonly<Record<string, Placed<SpliceDestination>>> = {
  'a unix socket': (stage) => stage.socketDestination(),
  'a number of a socket': (stage) => stage.numberOfSocketDestination(),
  'a number of a pipe': (stage) => stage.pipeDestination(),
  'a file': (stage) => stage.fileDestination(),
  'a FileHandle': (stage) => stage.handleDestination(),
};

/** Node has no stream for a number that it would have to wait for, and leave to its owner. */
const twinOf = (...names: readonly string[]): Partial<Way> =>
  names.some((name) => name.startsWith('a number')) ? { twin: undefined } : {};

const matrix = Object.entries(SOURCES).flatMap(([fromName, from]) =>
  Object.entries(DESTINATIONS).map(([toName, to]) =>
    splicing(`splice from ${fromName} to ${toName}`, from, to, twinOf(fromName, toName)),
  ),
);

const late = { late: true } as const;
const messages = { manner: 'in messages' } as const;
const source =
  (kind: Kind, feeding = {}): Placed<Socket> =>
  (stage) =>
    stage.socketSource(kind, feeding);
const destination =
  (kind: Kind, manner = {}): Placed<Socket> =>
  (stage) =>
    stage.socketDestination(kind, manner);
const pipeStream: Placed<SpliceSource> = (stage) => stage.pipeSource('stream');
const file: Placed<number> = (stage) => stage.fileDestination();

/** With a length: what follows stays in the source, and so does what has not arrived when the destination fails. */
const splicingPart = (kind: Kind, manner: { late?: boolean }): Way => ({
  name: `splice with a length from a ${kind} socket${manner.late === true ? ', read late' : ''}`,
  async begin(stage) {
    const { content } = stage;
    const all = Buffer.concat([content, content.subarray(0, 100_000)]);
    const [from, to] = [await stage.socketSource(kind, { content: all }), await stage.socketDestination(kind, manner)];
    stage.set();
    const check = listenersOf(stage, from, to);
    const over = one(stage.by.splice(from, to, stage.options({ length: content.length }))).then((told) => {
      check(told[0]?.error !== undefined);
      if (from.destroyed) return told; // with its own failure: then there is nothing to be had
      const rest = arrival(from);
      from.resume();
      stage.receiveLast(
        () => rest,
        () => all.subarray(told[0]?.bytes),
      );
      return [...told, {}];
    });
    return { over };
  },
});

/** What comes back, so that bytes of one direction cannot pass for those of the other. */
const answerTo = (content: Buffer): Buffer => Buffer.from(content.map((byte) => byte ^ 0x7f));

/** How the two sides talk through a proxy: both at once, or the one when the other has ended. */
type Talk = 'both at once' | 'the answer after the half-close' | 'in messages';

/** What is left of a failed proxy's connections on the way to a peer. */
function lossIn(kind: Kind, talk: Talk): string | undefined {
  if (kind === 'tcp') return RESET_LOSS;
  if (talk !== 'the answer after the half-close') return 'a peer that is writing fails at that, and reads no more';
  return undefined;
}

const proxying = (kind: Kind, talk: Talk, manner: { late?: boolean } = {}): Way => ({
  name: `proxy between ${kind} sockets, ${talk}${manner.late === true ? ', read late' : ''}`,
  twin: 'two of stream.pipeline',
  victims: ['left', 'right'],
  copied: talk === 'in messages',
  async begin(stage) {
    const [left, right] = [await stage.pair(kind), await stage.pair(kind)];
    stage.play('source', left.near);
    stage.play('destination', right.near);
    stage.play('sender', left.far);
    stage.play('peer', right.far);
    const answer = answerTo(stage.content);
    if (manner.late === true) shrinkBuffer(right.near);
    for (const [name, { near }] of Object.entries({ left, right })) {
      stage.watch(near);
      stage.victim(name, () => near.destroy());
    }
    const receive = ({ near, far }: Near, expected: Buffer): void =>
      stage.receive(
        far,
        () => near.bytesWritten,
        () => near.end(),
        { ...manner, expected },
      );
    receive(right, stage.content);
    receive(left, answer);
    const feeding = talk === 'in messages' ? messages : {};
    stage.feed(left.far, { ...feeding, reader: right.far });
    if (talk === 'the answer after the half-close') right.far.once('end', () => right.far.end(answer));
    else stage.feed(right.far, { ...feeding, content: answer, reader: left.far });
    stage.set();
    if (talk !== 'in messages') await stage.filled(left.near, ...(talk === 'both at once' ? [right.near] : []));
    const over = stage.by.proxy(left.near, right.near, stage.options({})).then(
      ({ forward, backward }): readonly Told[] =>
        [forward, backward].map(({ bytes, method, fallbackReason }) => ({ bytes, method, fallbackReason })),
      (error: ProxyError): readonly Told[] =>
        // What is refused before it begins has no directions.
        [error.forward, error.backward].map((way) => ({
          error,
          bytes: way?.bytes ?? 0,
          method: way?.method,
          mayLose: lossIn(kind, talk),
        })),
    );
    return { over };
  },
});

const teeing = (
  name: string,
  destinations: (stage: Stage) => Promise<SpliceDestination[]>,
  kind: Kind,
  victims: readonly string[] = ['source', 'destination'],
): Way => ({
  name,
  twin: 'readable.pipe, twice',
  promised: true,
  victims,
  async begin(stage) {
    const from = await stage.socketSource(kind);
    const to = await destinations(stage);
    stage.set();
    const check = listenersOf(stage, from, ...to);
    const over = stage.by.tee(from, to, stage.options({})).then(
      ({ destinations: branches, method, fallbackReason }): readonly Told[] => {
        check(branches.some(({ error }) => error !== undefined));
        return branches.map(({ error, bytes }) => ({ error, bytes, method, fallbackReason }));
      },
      (error: TeeError): readonly Told[] => {
        check(true);
        const nothing = to.map(() => ({ bytes: error.bytes, error: undefined }));
        return (error.destinations ?? nothing).map((branch) => ({ error: branch.error ?? error, bytes: branch.bytes }));
      },
    );
    return { over };
  },
});

// Streams.

const WRITE_STREAM = 'fs.createWriteStream';

/** The first time it is called. */
const atMostOnce = (callback: () => unknown): (() => void) => {
  let isDue = true;
  return () => {
    if (isDue) callback();
    isDue = false;
  };
};

/** What a pipeline failed with. */
function failureOf(
  from: NodeJS.ReadableStream,
  to: NodeJS.WritableStream,
  stage: Stage,
): Promise<NodeJS.ErrnoException | undefined> {
  for (const end of [from, to]) end.on('error', () => {}); // from Node 24 on it has none, if the signal comes before it
  return pipeline(from, to, stage.forNode()).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );
}

const reading = (kind: Kind, manner: { late?: boolean; left?: boolean }): Way => ({
  name: `createSpliceReadStream of a ${kind} socket${manner.late === true ? ', read late' : ''}${manner.left === true ? ', left in the middle' : ''}`,
  twin: 'the socket',
  victims: ['stream', 'source', 'destination'],
  copied: manner.left === true,
  async begin(stage) {
    const [from, to] = [await stage.socketSource(kind), await stage.socketDestination(kind, manner)];
    stage.set();
    const stream = stage.by.createSpliceReadStream(from);
    stage.play('source', stream, true);
    stage.victim('stream', () => stream.destroy());
    stage.heed(stream, from);
    if (manner.left === true)
      stage.onProgressOf(
        stream,
        from,
        atMostOnce(() => stream.on('data', () => {})),
      );
    const over = failureOf(stream, to, stage).then((error): readonly Told[] => [
      { error, bytes: stream.bytesMoved, method: stream.method, fallbackReason: stream.fallbackReason },
    ]);
    return { over, moving: () => to.bytesWritten > 0 };
  },
});

/** Of a pipeline into a file, once that is closed, too. */
async function stored(from: NodeJS.ReadableStream, to: SpliceWriteStream, stage: Stage): Promise<Told> {
  stage.heed(to, from);
  stage.play('source', from as IncomingMessage);
  stage.play('destination', to);
  const path = String(to.path);
  stage.receiveFile(path, () => (existsSync(path) ? readFileSync(path) : Buffer.alloc(0)));
  const error = await failureOf(from, to, stage);
  await closing(to);
  // Of an upload whose connection has gone, with the one before it: the bytes that came with its header go by fs.write.
  const cutOff = error?.code === 'ECONNRESET' && error.syscall === undefined;
  const mayGain = cutOff ? 'fs.WriteStream does not count a write that is under way when it is destroyed' : undefined;
  return { error, bytes: to.bytesWritten, method: to.method, fallbackReason: to.fallbackReason, mayGain };
}

const storing = (kind: Kind, left: boolean): Way => ({
  name: `createSpliceWriteStream from a ${kind} socket${left ? ', paused in the middle' : ''}`,
  twin: WRITE_STREAM,
  victims: ['stream', 'source'],
  copied: left,
  async begin(stage) {
    const from = await stage.socketSource(kind);
    const to = stage.by.createSpliceWriteStream(stage.path(), stage.options({}));
    to.once('open', (fd) => stage.fds.push(fd));
    stage.victim('stream', () => to.destroy());
    stage.set();
    if (left) {
      const pause = atMostOnce(() => {
        from.pause();
        setImmediate(() => from.resume());
      });
      stage.onProgressOf(to, from, pause);
    }
    return { over: stored(from, to, stage).then((only) => [only]), moving: () => to.bytesWritten > 0 };
  },
});

/** Into a number that stays its user's. */
const storingByNumber: Way = {
  name: 'createSpliceWriteStream over a number',
  twin: WRITE_STREAM,
  needs: ['splice'],
  victims: ['numbers'],
  async begin(stage) {
    const from = await stage.socketSource();
    const path = stage.path();
    const fd = stage.lend(path, 'w');
    const to = stage.by.createSpliceWriteStream(path, { fd, autoClose: false });
    stage.play('destination', to);
    stage.lentTo(to, fd);
    stage.receiveFile(path);
    stage.set();
    const over = new Promise<readonly Told[]>((resolve) => {
      to.on('error', (error) => resolve([{ error, bytes: to.bytesWritten }]));
      to.once('finish', () => resolve([{ bytes: to.bytesWritten, method: to.method }]));
      // Node's pipe tells nobody of a source that is gone.
      from.once('close', () => setTimeout(() => resolve([{ error: GONE, bytes: to.bytesWritten }]), 5));
    });
    from.pipe(to);
    await turn(); // until then it is an fs.WriteStream
    return { over, moving: () => to.bytesWritten > 0 };
  },
};

const UPLOADS = 3;

/** Sends uploads, each after the other's answer or all at once; resolves by the last answer, or when the connection is gone. */
function upload(stage: Stage, client: Socket, pipelined: boolean): Promise<void> {
  const { length } = stage.content;
  const head = Buffer.from(`PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n\r\n`);
  const request = Buffer.concat([head, stage.content]);
  let answers = '';
  let sent = 0;
  const send = (count: number): void => {
    sent += count;
    void stage.write(client, Buffer.concat(Array(count).fill(request)));
  };
  return new Promise((resolve) => {
    client.once('close', () => resolve());
    client.on('data', (chunk: Buffer) => {
      answers += chunk.toString('latin1');
      const answered = answers.split('got it').length - 1;
      if (answered === UPLOADS) resolve();
      else if (answered === sent) send(1);
    });
    send(pipelined ? UPLOADS : 1);
  });
}

/** Several uploads on one connection: each is whole, or has failed; after a failed one the connection may be gone. */
const uploading = (pipelined: boolean): Way => ({
  name: `createSpliceWriteStream from uploads on one connection${pipelined ? ', pipelined' : ''}`,
  twin: WRITE_STREAM,
  async begin(stage) {
    const all: Promise<Told>[] = [];
    const server = http.createServer((request: IncomingMessage, response: ServerResponse) => {
      const storing = async (): Promise<Told> =>
        stored(request, stage.by.createSpliceWriteStream(stage.path(), stage.options({})), stage);
      const told = storing().catch((error: Error): Told => {
        stage.receiveLast(() => Buffer.alloc(0));
        return { error, bytes: 0 };
      });
      all.push(told);
      told.then(({ error }) => {
        if (error === undefined) response.end('got it');
        else response.destroy();
      });
    });
    await stage.serve(server);
    // Of requests in one packet the last may come to the server when its client has gone, and still make its file.
    stage.onDispose(() => once(server, 'close').then(() => Promise.all(all)));
    const client = await stage.connect(server);
    const over = upload(stage, client, pipelined).then(async (): Promise<readonly Told[]> => {
      const told = await Promise.all(all);
      for (; told.length < UPLOADS; told.push({ error: GONE, bytes: 0 })) stage.receiveLast(() => Buffer.alloc(0));
      return told;
    });
    return { over };
  },
});

export const spliceWays: readonly Way[] = [
  ...matrix,
  splicing('splice from a tcp socket to a tcp socket', source('tcp'), destination('tcp')),
  splicing('splice from a tcp socket to a tcp socket, read late', source('tcp'), destination('tcp', late)),
  splicing('splice from a unix socket to a unix socket, read late', source('unix'), destination('unix', late)),
  splicing('splice from a tcp socket to a tcp socket, in messages', source('tcp', messages), destination('tcp'), {
    victims: [],
  }),
  splicing('splice from a unix socket to a unix socket, in messages', source('unix', messages), destination('unix'), {
    victims: [],
  }),
  splicing('splice from a tcp socket to a file', source('tcp'), file),
  splicing('splice from a file to a tcp socket', SOURCES['a file'] as Placed<number>, destination('tcp')),
  splicing(
    'splice from a file to a unix socket, read late',
    SOURCES['a file'] as Placed<number>,
    destination('unix', late),
  ),
  splicing("splice from a pipe's stream to a unix socket, read late", pipeStream, destination('unix', late)),
  splicing("splice from a pipe's stream to a file", pipeStream, file),
  splicing("splice from a child process's output to a tcp socket", (stage) => stage.childSource(), destination('tcp'), {
    victims: [],
  }),
  splicingPart('tcp', {}),
  splicingPart('unix', late),
  proxying('tcp', 'both at once'),
  proxying('unix', 'both at once'),
  proxying('unix', 'both at once', late),
  proxying('unix', 'the answer after the half-close'),
  proxying('tcp', 'in messages'),
  proxying('unix', 'in messages'),
  teeing(
    'tee to two tcp sockets',
    async (stage) => [await stage.socketDestination('tcp'), await stage.socketDestination('tcp')],
    'tcp',
  ),
  teeing(
    'tee to two unix sockets, one of them read late',
    async (stage) => [await stage.socketDestination('unix', late), await stage.socketDestination()],
    'unix',
  ),
  teeing(
    'tee to a socket and a file',
    async (stage) => [await stage.socketDestination(), stage.fileDestination()],
    'unix',
    ['source', 'destination', 'numbers'],
  ),
  reading('tcp', {}),
  reading('unix', late),
  reading('tcp', { left: true }),
  reading('unix', { left: true }),
  storing('tcp', false),
  storing('unix', false),
  storing('unix', true),
  storingByNumber,
  uploading(false),
  uploading(true),
];
