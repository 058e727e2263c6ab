/** Files as HTTP responses on kept-alive connections: `createSendfileStream` and `sendFile` against `fs.createReadStream`. */
import type fs from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import { compact, fileSpec, range, seldom, writeSize } from '../arbitraries.js';
import { content, difference, separate, shareOf } from '../bytes.js';
import { Cast, type FileName, pathOf } from '../cast.js';
import { allowCorkedForEver, allowOpenedSooner, allowUnreadDirectory } from '../documented.js';
import { codeOf } from '../journal.js';
import { closeStream, type Family, type Observation, type Outcome, type Run } from '../run.js';
import { anything, at, bySubscriber, destroying, none, type Steps, simple, writing } from '../steps.js';
import { contentOf } from '../workspace.js';

export interface Exchange {
  readonly method: 'GET' | 'HEAD';
  readonly version?: '1.0' | undefined;
  readonly status: number;
  readonly file: Exclude<FileName, 'device'>;
  readonly options: {
    readonly start?: number | undefined;
    readonly end?: number | undefined;
    readonly smallFileSize?: number | undefined;
  };
  /** How the length of the body is told; undefined: by nobody. 'shorter' is one byte less than there is. */
  readonly framing?: 'length' | 'chunked' | 'trailer' | undefined;
  readonly headers: 'on time' | 'written' | 'flushed';
  readonly by: 'pipe' | 'pipe without end' | 'pipeline' | 'promise';
  /** Bytes of writes to the response before and after the file; those after it only where the pipe leaves it open. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly corked?: boolean | undefined;
  readonly steps: Steps;
}

export interface HttpProgram {
  readonly exchanges: readonly Exchange[];
}

const SOURCE_EVENTS = ['open', 'ready', 'end', 'error', 'close'];
const RESPONSE_EVENTS = ['pipe', 'unpipe', 'finish', 'error', 'close'];

async function run(program: HttpProgram, run: Run): Promise<Observation> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const connections = new Set<Socket>();
  run.defer(() => {
    agent.destroy();
    for (const socket of connections) socket.destroy();
  });
  const outcomes: Record<string, unknown>[] = [];
  for (const [number, exchange] of program.exchanges.entries()) {
    const outcome = await one(exchange, run, `${number} `, agent, connections);
    outcomes.push(outcome);
    // Behind an answer that is never ended the next one waits for ever.
    if (outcome.ended === false) break;
  }
  return { violations: [], outcome: { exchanges: { ...outcomes }, connections: connections.size } };
}

async function one(
  exchange: Exchange,
  run: Run,
  label: string,
  agent: http.Agent,
  connections: Set<Socket>,
): Promise<Record<string, unknown>> {
  const path = pathOf(run, exchange.file);
  const expected = expectedOf(exchange);
  let source: fs.ReadStream | undefined;
  let response: ServerResponse | undefined;
  const cast = new Cast(run, exchange.steps);
  const { journal, controller } = cast;
  const answer = async (res: ServerResponse): Promise<void> => {
    cast.destination = response = res;
    if (res.socket !== null) connections.add(res.socket);
    journal.watch('response', res, RESPONSE_EVENTS);
    res.statusCode = exchange.status;
    res.sendDate = false;
    res.setHeader('X-Number', label);
    const total = expected.length + [...exchange.before, ...exchange.after].reduce((sum, bytes) => sum + bytes, 0);
    if (exchange.framing === 'length') res.setHeader('Content-Length', total);
    if (exchange.framing === 'chunked') res.setHeader('Transfer-Encoding', 'chunked');
    if (exchange.framing === 'trailer') {
      res.setHeader('Trailer', 'X-After');
      res.addTrailers({ 'X-After': 'the end' });
    }
    if (exchange.headers === 'written') res.writeHead(exchange.status);
    if (exchange.headers === 'flushed') res.flushHeaders();
    if (exchange.corked === true) {
      res.cork();
      process.nextTick(() => res.uncork());
    }
    for (const bytes of exchange.before) cast.write(bytes);
    const { smallFileSize, ...options } = exchange.options;
    if (exchange.by === 'promise') {
      const { signal } = controller;
      const ends = exchange.after.length === 0;
      const small = smallFileSize === undefined ? {} : { smallFileSize };
      const { bytes } = await run.by.sendFile(res, path, {
        ...compact(options),
        ...small,
        signal,
        endMessage: ends,
      } as never);
      const most = exchange.method === 'HEAD' ? 0 : expected.length;
      if (run.side === 'ours' && typeof exchange.file === 'object' && bytes > most && hasBody(exchange))
        run.violation(`${bytes} bytes, of ${most}`);
      if (!ends) {
        for (const bytes of exchange.after) cast.write(bytes);
        res.end();
      }
      return;
    }
    const bag = { ...options, ...(smallFileSize !== undefined && run.side === 'ours' ? { smallFileSize } : {}) };
    source = run.by.createSendfileStream(path, bag as never) as fs.ReadStream;
    const stream = source;
    cast.source = source;
    run.defer(() => closeStream(stream));
    journal.watch('source', source, SOURCE_EVENTS);
    if (exchange.by === 'pipeline') {
      const joined = pipeline(source, res, { signal: controller.signal });
      journal.cue('same tick');
      await joined;
      return;
    }
    const open = exchange.by === 'pipe without end';
    if (open) {
      source.on('end', () => {
        for (const bytes of exchange.after) cast.write(bytes);
        if (!res.writableEnded) res.end();
      });
    }
    // A failure is the program's to handle, with Node's pipe; what is sent is not to be taken for whole.
    source.on('error', () => res.destroy());
    source.pipe(res, { end: !open });
    journal.cue('same tick');
  };
  const { port } = run.workspace.serve((_request, res) => {
    answer(res).then(
      () => journal.note('server', 'done'),
      (error) => {
        journal.note('server', `error ${codeOf(error)}`);
        res.destroy();
      },
    );
  });

  const chunks: Buffer[] = [];
  let head: Record<string, unknown> = {};
  let incoming: IncomingMessage | undefined;
  const request = http.request({ port, host: '127.0.0.1', method: exchange.method, agent, path: `/${label.trim()}` });
  cast.peer = request;
  run.defer(() => request.destroy());
  request.on('error', (error) => journal.note('client', `error ${codeOf(error)}`));
  request.on('close', () => journal.note('client', 'request closed'));
  request.on('response', (message) => {
    incoming = message;
    const { 'content-length': length, 'transfer-encoding': encoding, connection, 'x-number': mark } = message.headers;
    head = { status: message.statusCode, length, encoding, connection, mark };
    journal.note('client', 'response');
    message.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      journal.touch();
    });
    journal.watch('body', message, ['end', 'error', 'close']);
  });
  request.end();
  const settled = await run.settle(
    journal,
    () =>
      request.closed &&
      (response === undefined || journal.happened('server', 'done') || journal.happened('server', 'error')) &&
      (incoming === undefined || incoming.closed) &&
      (response === undefined || response.closed) &&
      (source === undefined || source.closed),
  );

  const body = separate(Buffer.concat(chunks));
  const share = shareOf(body.file, expected);
  const decoded = cast.does('encode');
  const own = decoded ? 'with others' : cast.shareOfWrites(Buffer.concat(chunks));
  const known = exchange.file !== 'procfs' && !decoded;
  if (known && share === undefined) run.violation(`${label}of the file ${difference(body.file, expected)}`);
  if (own === undefined) run.violation(`${label}of the writes ${difference(body.marks, cast.written)}`);
  // A message that counts as whole has all of it.
  if (known && incoming?.complete === true && share === 'part') run.violation(`${label}a part was taken for the whole`);
  const whole = share === 'all' || share === 'empty';
  return {
    ended: settled,
    events: journal.entries(),
    head,
    complete: incoming?.complete,
    trailers: incoming?.trailers,
    body: decoded
      ? {}
      : {
          share: known ? share : body.file.length,
          own,
          ...(cast.moved || cast.joined || !whole ? {} : { runs: body.runs }),
        },
  };
}

const hasBody = ({ method, status }: Exchange): boolean => method !== 'HEAD' && status !== 204 && status !== 304;

function expectedOf({ file, options: { start, end } }: Exchange): Buffer {
  if (typeof file !== 'object') return content(0, 0);
  return contentOf(file, start, (end ?? Number.POSITIVE_INFINITY) + 1);
}

function reconcile(program: HttpProgram, node: Outcome, ours: Outcome): void {
  allowCorkedForEver(
    program.exchanges.map(({ corked, steps = [] }) => corked === true || steps.some(({ what }) => what.do === 'cork')),
    node,
    ours,
  );
  allowOpenedSooner(
    program.exchanges.map(({ steps = [] }) => steps),
    node,
    ours,
  );
  for (const [number, exchange] of program.exchanges.entries()) {
    const expected = node.exchanges[number];
    const actual = ours.exchanges[number];
    if (expected === undefined || actual === undefined) break;
    if (exchange.file === 'directory') allowUnreadDirectory(expected, actual);
    // README of sendfile-stream: "Content-Length is set if headers have not been sent, the file's size can be believed and
    // the file is the whole body". Node frames it in chunks.
    const announced = actual.head.length;
    if (
      announced !== null &&
      announced !== undefined &&
      expected.head.encoding === 'chunked' &&
      actual.head.encoding == null
    ) {
      const whole =
        exchange.by !== 'pipe without end' && exchange.headers === 'on time' && exchange.framing === undefined;
      if (whole && Number(announced) === expectedOf(exchange).length) {
        expected.head.length = announced;
        expected.head.encoding = actual.head.encoding;
      }
    }
    // sendFile has no stream whose events there would be.
    if (exchange.by === 'promise') {
      for (const events of [expected.events, actual.events])
        events.response = events.response?.filter((event: string) => !event.endsWith('pipe'));
    }
  }
}

const steps: fc.Arbitrary<Steps> = fc.oneof(
  { weight: 16, arbitrary: none },
  {
    weight: 4,
    arbitrary: fc.array(
      at(
        fc.constantFrom('same tick', 'source open', 'source ready'),
        fc.oneof(destroying('source', 'destination'), writing, simple('abort', 'listen for data')),
      ),
      { minLength: 1, maxLength: 1 },
    ),
  },
  {
    weight: 3,
    arbitrary: fc.array(
      at(fc.constantFrom('same tick', 'source open'), anything({ roles: ['source', 'destination'] })),
      {
        minLength: 1,
        maxLength: 2,
      },
    ),
  },
  { weight: 1, arbitrary: bySubscriber.map((step): Steps => [step]) },
);

const exchange: fc.Arbitrary<Exchange> = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'GET', 'HEAD'),
    status: fc.constantFrom(200, 200, 200, 200, 200, 206, 404, 204, 304),
    file: fc.oneof(
      { weight: 14, arbitrary: fileSpec },
      { weight: 1, arbitrary: fc.constantFrom('missing', 'directory', 'procfs') },
    ),
    framing: seldom(2, fc.constantFrom('length', 'length', 'chunked', 'trailer')),
    headers: fc.constantFrom('on time', 'on time', 'on time', 'written', 'flushed'),
    by: fc.constantFrom('pipe', 'pipe without end', 'pipeline', 'promise'),
    before: fc.oneof(
      { weight: 3, arbitrary: fc.constant<number[]>([]) },
      {
        weight: 1,
        arbitrary: fc.array(
          writeSize.filter((bytes) => bytes > 0),
          { maxLength: 2 },
        ),
      },
    ),
    after: fc.oneof(
      { weight: 1, arbitrary: fc.constant<number[]>([]) },
      {
        weight: 1,
        arbitrary: fc.array(
          writeSize.filter((bytes) => bytes > 0),
          { maxLength: 2 },
        ),
      },
    ),
    corked: seldom(6, fc.constant(true)),
    smallFileSize: seldom(3, fc.constantFrom(0, 1000, 300_000)),
    steps,
  })
  .chain(({ smallFileSize, ...rest }) =>
    range(typeof rest.file === 'object' ? rest.file.size : 0).map((ranged): Exchange => {
      const known = typeof rest.file === 'object';
      const late = rest.by === 'pipe without end' || rest.by === 'promise';
      const bodiless = rest.status === 204 || rest.status === 304;
      const written = rest.steps.some(
        ({ what }) => what.do === 'write' || what.do === 'pipe another' || what.do === 'encode',
      );
      // A client takes the answer to a HEAD that tells no length for one without keep-alive, and hangs up while the server
      // is still reading the file: at another moment in each run.
      const method = known ? rest.method : 'GET';
      if (method === 'HEAD') return compact(headOf({ ...rest, method }, ranged, smallFileSize));
      return compact({
        ...rest,
        method,
        // A length can be told of what is known; a message that has none must not tell one.
        framing: (rest.framing === 'length' && (!known || written)) || bodiless ? undefined : rest.framing,
        after: late ? rest.after : [],
        before: bodiless ? [] : rest.before,
        steps: rest.by === 'promise' ? [] : rest.steps,
        options: compact({ ...(known ? ranged : {}), smallFileSize }),
      });
    }),
  );

function headOf(rest: Omit<Exchange, 'options'>, ranged: object, smallFileSize: number | undefined): Exchange {
  const bodiless = rest.status === 204 || rest.status === 304;
  const late = rest.by === 'pipe without end' || rest.by === 'promise';
  return {
    ...rest,
    framing: bodiless ? undefined : 'length',
    before: bodiless ? [] : rest.before,
    after: late ? rest.after : [],
    steps: [],
    options: compact({ ...ranged, smallFileSize }),
  };
}

const programs: fc.Arbitrary<HttpProgram> = fc.record({
  exchanges: fc.array(exchange, { minLength: 1, maxLength: 4 }),
});

export const httpResponses: Family<HttpProgram> = { name: 'http', programs, run, reconcile };
