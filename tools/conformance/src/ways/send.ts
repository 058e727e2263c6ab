/** Files to sockets, HTTP responses, files and other streams, by sendfile-stream. */
import http, { type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { descriptorOf } from '@zerocopy/core-syscalls';
import type { createSendfileStream, SendFileDestination, sendFile } from '@zerocopy/sendfile-stream';
import { type Kind, withResolvers } from '@zerocopy/testing/sockets';
import { turn } from '@zerocopy/testing/waiting';
import { AROUND, closing, type Stage } from './stage.js';
import { GONE, one, type Told, told, type Underway, type Way } from './way.js';

/** In the write of the headers; all other ways ask for the kernel at any size. */
const SMALL = { smallFileSize: 2 ** 30 } as const;
const LARGE = { smallFileSize: 0 } as const;
/** Twins. */
const PIPELINE = 'stream.pipeline of an fs.ReadStream';
const READ_STREAM = 'fs.createReadStream';
const SOCKETS: readonly Kind[] = ['tcp', 'unix'];

type SendfileStream = ReturnType<typeof createSendfileStream>;
type SendFileSource = Parameters<typeof sendFile>[1];
type SendFileOptions = NonNullable<Parameters<typeof sendFile>[2]>;
type Temperature = 'warm' | 'cold';

const send = (
  stage: Stage,
  to: SendFileDestination,
  from: SendFileSource,
  options: SendFileOptions = LARGE,
): Promise<readonly Told[]> => one(stage.by.sendFile(to, from, stage.options(options)));

/** The file with something around it, and where it is in that. */
function rangeOf(stage: Stage): [path: string, range: { start: number; end: number }] {
  const path = stage.file('warm', Buffer.concat([AROUND, stage.content, AROUND]));
  return [path, { start: AROUND.length, end: AROUND.length + stage.content.length - 1 }];
}

/** `sendFile` between two ends that the stage makes. */
const sending = (
  name: string,
  ends: (stage: Stage) => Promise<readonly [to: SendFileDestination, from: SendFileSource, options?: SendFileOptions]>,
  more: Partial<Way> = {},
): Way => ({
  name,
  twin: PIPELINE,
  promised: true,
  victims: ['everything'],
  async begin(stage) {
    const [to, from, options] = await ends(stage);
    stage.set();
    return { over: send(stage, to, from, { ...LARGE, ...options }) };
  },
  ...more,
});

const toldBy = ({ method, fallbackReason, bytesRead, bytesSent }: SendfileStream): Told => ({
  bytes: method === 'copy' ? bytesRead : bytesSent,
  method,
  fallbackReason,
});

/** `createSendfileStream` in a pipeline, and what it told. */
async function streamed(
  stage: Stage,
  destination: NodeJS.WritableStream,
  path: string,
  range: { start?: number; end?: number } = {},
): Promise<Told> {
  const source = stage.by.createSendfileStream(path, stage.options({ ...LARGE, ...range }));
  stage.play('source', source);
  source.once('open', (fd) => stage.fds.push(fd));
  stage.victim('stream', () => source.destroy());
  stage.heed(source);
  source.on('error', () => {}); // from Node 24 on pipeline listens to none that its signal has destroyed before
  let error: NodeJS.ErrnoException | undefined;
  try {
    await pipeline(source, destination, stage.forNode());
  } catch (failure) {
    error = failure as NodeJS.ErrnoException;
  }
  await closing(source); // by then its file is closed, too
  return { error, ...toldBy(source) };
}

const streaming = (name: string, kind: Kind, temperature: Temperature | 'range'): Way => ({
  name,
  twin: READ_STREAM,
  victims: ['stream', 'destination'],
  async begin(stage) {
    const to = await stage.socketDestination(kind);
    const [path, range] = temperature === 'range' ? rangeOf(stage) : [stage.file(temperature), {}];
    return { over: streamed(stage, to, path, range).then((only) => [only]) };
  },
});

/** Over a number that stays its user's. Its file is not closed, so that nobody closes what has the number now. */
const streamingNumber = (temperature: Temperature): Way => ({
  name: `createSendfileStream over a number${temperature === 'cold' ? ' of a cold file' : ''}`,
  twin: READ_STREAM,
  needs: ['sendfile'],
  victims: ['numbers'],
  async begin(stage) {
    const to = await stage.socketDestination();
    const fd = stage.lend(stage.file(temperature), 'r');
    const source = stage.by.createSendfileStream('', { fd, autoClose: false, ...LARGE });
    stage.play('source', source);
    stage.lentTo(source, fd);
    const { promise, resolve } = withResolvers<Error | undefined>();
    source.once('end', () => resolve(undefined)).once('error', resolve);
    source.once('close', () => resolve(GONE)); // the stage is over, and nobody reads on
    to.once('error', resolve); // of which Node's pipe tells nobody
    source.pipe(to, { end: false });
    await turn(); // until then it is an fs.ReadStream, and knows the number alone
    const told = (error: Error | undefined): readonly Told[] => [{ error, ...toldBy(source) }];
    return { over: promise.then(told), moving: () => to.bytesWritten > 0 };
  },
});

type Respond = (stage: Stage, response: ServerResponse, path: string, start?: number) => Promise<Told>;

const byPromise: Respond = async (stage, response, path, start = 0) =>
  told(stage.by.sendFile(response, path, stage.options({ ...LARGE, start })));
const byStream: Respond = (stage, response, path, start = 0) => streamed(stage, response, path, { start });
const small: Respond = async (stage, response, path) => told(stage.by.sendFile(response, path, stage.options(SMALL)));

/** One request to a server of its own. */
const responding = (
  name: string,
  respond: Respond,
  framing: 'length' | 'chunked',
  temperature: Temperature = 'warm',
): Way => ({
  name,
  twin: respond === byStream ? READ_STREAM : PIPELINE,
  async begin(stage): Promise<Underway> {
    const path = stage.file(temperature);
    const server = http.createServer({ keepAlive: false });
    await stage.serve(server);
    const { promise: over, resolve } = withResolvers<readonly Told[]>();
    server.once('request', async (_request, response: ServerResponse) => {
      stage.play('destination', response);
      if (framing === 'length') response.setHeader('Content-Length', stage.content.length);
      else response.write(''); // headers without a length go out: the body is chunked
      const answer = await respond(stage, response, path).catch((error: Error): Told => ({ error, bytes: 0 }));
      if (answer.error !== undefined) response.destroy();
      else if (!response.writableEnded) response.end();
      resolve([answer]);
    });
    const socket = await stage.connect(server);
    stage.receiveAnswer(http.get({ createConnection: () => socket }));
    return { over };
  },
});

/** What is asked for on one connection, in this order: from where, and how its length is told. */
const REQUESTS = [
  { start: 0, framing: 'length' },
  { start: 12_345, framing: 'chunked' },
  { start: 4097, framing: 'length' },
] as const;

/** Several requests on one connection that is kept alive: after one that has failed it may be gone. */
const keptAlive = (name: string, respond: Respond): Way => ({
  name,
  twin: respond === byStream ? READ_STREAM : PIPELINE,
  async begin(stage) {
    const { content } = stage;
    const path = stage.file();
    const all: Promise<Told>[] = [];
    const server = http.createServer(async (request, response) => {
      stage.play('destination', response);
      const { start, framing } = REQUESTS[Number(request.url?.slice(1))] as (typeof REQUESTS)[number];
      if (framing === 'length') response.setHeader('Content-Length', content.length - start);
      else response.setHeader('Transfer-Encoding', 'chunked');
      const responded = respond(stage, response, path, start).catch((error: Error): Told => ({ error, bytes: 0 }));
      all.push(responded);
      if ((await responded).error !== undefined) response.destroy();
      else if (!response.writableEnded) response.end();
    });
    server.keepAliveTimeout = 0; // what has still to be read may be in the kernel, and the connection idle for the server
    await stage.serve(server);
    const socket = await stage.connect(server);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    agent.createConnection = () => socket;
    stage.onDispose(() => agent.destroy());
    const over = (async (): Promise<readonly Told[]> => {
      for (const [number, { start }] of REQUESTS.entries()) {
        if (socket.destroyed) {
          stage.receiveLast(() => Buffer.alloc(0));
          continue;
        }
        const request = http.get({ path: `/${number}`, agent });
        stage.receiveAnswer(request, content.subarray(start));
        await new Promise((resolve) => request.once('close', resolve));
      }
      const told = await Promise.all(all);
      return REQUESTS.map((_, number) => told[number] ?? { error: GONE, bytes: 0 });
    })();
    return { over };
  },
});

/** Two files on one socket, and what its user writes before, between and after them. */
const between: Way = {
  name: "sendFile to a socket, twice, between its user's own writes",
  twin: PIPELINE,
  promised: true,
  victims: ['destination'],
  async begin(stage) {
    const path = stage.file();
    const start = Math.floor(stage.content.length / 3);
    const expected = Buffer.concat([AROUND, stage.content, AROUND, stage.content.subarray(start), AROUND]);
    const to = await stage.socketDestination('tcp', { expected });
    const over = (async (): Promise<readonly Told[]> => {
      let [bytes, method] = [0, undefined as string | undefined];
      for (const range of [{}, { start }]) {
        to.write(AROUND);
        bytes += AROUND.length;
        const sent = await told(stage.by.sendFile(to, path, stage.options({ ...LARGE, ...range })));
        bytes += sent.bytes ?? 0;
        method = sent.method;
        if (sent.error !== undefined) return [{ ...sent, bytes }];
      }
      to.write(AROUND);
      return [{ bytes: bytes + AROUND.length, method }];
    })();
    return { over };
  },
};

const temperatures = (['warm', 'cold'] as const).flatMap((temperature): Way[] => {
  const of = temperature === 'warm' ? '' : ' of a cold file';
  return [
    ...SOCKETS.map((kind) =>
      sending(`sendFile${of} to a ${kind} socket`, async (stage) => [
        await stage.socketDestination(kind),
        stage.file(temperature),
      ]),
    ),
    ...SOCKETS.map((kind) =>
      sending(
        `sendFile from a number${of} to a ${kind} socket`,
        async (stage) => [await stage.socketDestination(kind), stage.lend(stage.file(temperature), 'r')],
        { victims: ['numbers'] },
      ),
    ),
    sending(
      `sendFile from a FileHandle${of} to a socket`,
      async (stage) => [await stage.socketDestination(), await stage.handle(stage.file(temperature), 'r')],
      { victims: ['handle r'] },
    ),
    sending(`sendFile${of} to a file`, async (stage) => [stage.fileDestination(), stage.file(temperature)]),
    sending(`sendFile from a number${of} to a file`, async (stage) => [
      stage.fileDestination(),
      stage.lend(stage.file(temperature), 'r'),
    ]),
    ...SOCKETS.map((kind) => streaming(`createSendfileStream${of} to a ${kind} socket`, kind, temperature)),
    streamingNumber(temperature),
  ];
});

export const sendWays: readonly Way[] = [
  ...temperatures,
  sending(
    "sendFile to a socket's descriptor",
    async (stage) => [descriptorOf(await stage.socketDestination('tcp')) as number, stage.file()],
    { victims: [], twin: undefined }, // nor to any number that Node would have to wait for
  ),
  sending('sendFile to a number of a socket', async (stage) => [stage.numberOfSocketDestination(), stage.file()], {
    twin: undefined,
  }),
  sending(
    'sendFile to a number of a socket, under a lease',
    async (stage) => [stage.numberOfSocketDestination(), stage.file(), { lease: true }],
    { needs: ['lease'], background: { direct: true }, twin: undefined },
  ),
  sending('sendFile of a range to a socket', async (stage) => {
    const [path, range] = rangeOf(stage);
    return [await stage.socketDestination('tcp'), path, range];
  }),
  streaming('createSendfileStream of a range to a socket', 'tcp', 'range'),
  responding('sendFile to a response with a length', byPromise, 'length'),
  { ...responding('sendFile to a response, all in the write of its headers', small, 'length'), copied: true },
  responding('createSendfileStream to a response with a length', byStream, 'length'),
  responding('createSendfileStream to a response in chunks', byStream, 'chunked'),
  responding('createSendfileStream of a cold file to a response in chunks', byStream, 'chunked', 'cold'),
  keptAlive('sendFile to responses on one connection', byPromise),
  keptAlive('createSendfileStream to responses on one connection', byStream),
  between,
  sending('sendFile to a file that is appended to', async (stage) => [stage.fileDestination('a'), stage.file()], {
    copied: true,
  }),
  sending('sendFile to a stream in user space', async (stage) => [stage.streamDestination(), stage.file()], {
    victims: [],
    copied: true,
  }),
];
