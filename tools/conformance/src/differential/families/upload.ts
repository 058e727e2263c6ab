/** A socket or an HTTP upload into a file: `createSpliceWriteStream` against `fs.createWriteStream`. */
import fs, { readFileSync, statSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import fc from 'fast-check';
import { type Action, ANOTHER } from '../../actions.js';
import { compact, KiB, MiB, seldom, size } from '../arbitraries.js';
import { content, difference, marks, separate, shareOf } from '../bytes.js';
import { Cast, give, type Join } from '../cast.js';
import {
  allowCollected,
  allowCorkedCollected,
  allowHeldBack,
  allowListeners,
  allowNoTornSuccess,
} from '../documented.js';
import { codeOf, type Journal, type Step } from '../journal.js';
import { closeStream, type Family, listeners, type Observation, type Outcome, type Run } from '../run.js';
import { anything, at, bySubscriber, none, type Steps } from '../steps.js';

export interface UploadProgram {
  readonly from: 'tcp' | 'unix' | 'http' | 'chunked';
  readonly body: number;
  /** The client sends so many bytes, and the rest when they are in the file and the steps of that moment are done. */
  readonly first?: number | undefined;
  /** What the file holds before. */
  readonly present?: number | undefined;
  readonly by: 'path' | 'descriptor' | 'handle' | 'directory' | 'nowhere';
  readonly options: {
    readonly flags?: 'w' | 'r+' | 'a' | 'wx' | 'w+' | undefined;
    readonly start?: number | undefined;
    readonly autoClose?: boolean | undefined;
    readonly emitClose?: boolean | undefined;
    readonly highWaterMark?: number | undefined;
    readonly mode?: number | undefined;
  };
  readonly signal?: 'stream' | 'pipeline' | undefined;
  readonly join: Join;
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly steps: Steps;
}

const SOURCE_EVENTS = ['end', 'error', 'close', 'aborted'];
const DESTINATION_EVENTS = ['pipe', 'unpipe', 'finish', 'error', 'close'];
const LISTENERS = ['data', 'readable', 'end', 'error', 'close', 'pause', 'resume', 'newListener', 'drain', 'finish'];

interface Connected {
  readonly source: Readable;
  /** The client's side: where the body is written. */
  readonly client: Socket | http.ClientRequest;
  answer?(): void;
}

async function connect(program: UploadProgram, run: Run, journal: Journal<Action>): Promise<Connected> {
  const { from, body } = program;
  if (from === 'tcp' || from === 'unix') {
    const { server, client } = await run.workspace.pair(from, {}, {});
    client.resume();
    run.defer(() => {
      client.destroy();
      server.destroy();
    });
    return { source: server, client };
  }
  let arrive: (both: [IncomingMessage, ServerResponse]) => void = () => {};
  const arrived = new Promise<[IncomingMessage, ServerResponse]>((resolve) => {
    arrive = resolve;
  });
  const { port } = run.workspace.serve((request, response) => arrive([request, response]));
  const headers = from === 'http' ? { 'Content-Length': body } : { 'Transfer-Encoding': 'chunked' };
  const client = http.request({ port, host: '127.0.0.1', method: 'PUT', agent: false, headers });
  client.flushHeaders();
  client.on('response', (response) => {
    journal.note('client', `status ${response.statusCode}`);
    response.resume();
  });
  const [request, response] = await arrived;
  const incoming = request.socket; // Node forgets it when the request is destroyed
  run.defer(() => {
    client.destroy();
    incoming.destroy();
  });
  return { source: request, client, answer: () => response.writeHead(201).end('done') };
}

async function run(program: UploadProgram, run: Run): Promise<Observation> {
  const { workspace } = run;
  const path =
    program.by === 'nowhere'
      ? `${workspace.scratch()}/file`
      : program.by === 'directory'
        ? workspace.scratchDirectory()
        : workspace.scratch();
  if (program.present !== undefined && path.includes('/file') === false && program.by !== 'directory') {
    fs.writeFileSync(path, marks(program.present, 5));
  }
  let answered = false;
  const cast = new Cast(run, program.steps);
  const { journal } = cast;
  const { source, client, answer } = await connect(program, run, journal);
  const given = await give(run, path, program.by, program.options.flags ?? 'w');
  const options: Record<string, unknown> = { ...program.options, ...given.options };
  if (program.signal === 'stream') options.signal = cast.controller.signal;

  journal.watch('source', source, SOURCE_EVENTS);
  client.on('error', (error) => journal.note('client', `error ${codeOf(error)}`));
  client.on('close', () => journal.note('client', 'close'));
  const destination = run.by.createSpliceWriteStream(path, options as never) as fs.WriteStream;
  journal.watch('destination', destination, DESTINATION_EVENTS);
  // Apart: the file is opened while the body is on its way, and either may be first.
  journal.watch('file', destination, ['open', 'ready']);
  run.defer(() => closeStream(destination));
  if (answer !== undefined) {
    destination.on('finish', () => {
      answered = true;
      answer();
    });
  }
  Object.assign(cast, { source, destination, peer: client });
  cast.join(program.join, program.signal === 'pipeline', program.before, program.after);

  // Where a step waits for the file to be open, or ends the stream, so does the client: else either could be first.
  const early = program.steps.filter(({ when }) => when !== 'half' && when !== 'stalled');
  if (early.some(({ when, what }) => when.startsWith('file ') || what.do === 'end')) {
    const ready = (): boolean =>
      journal.happened('file', 'ready') && destination.writableEnded === destination.writableFinished;
    await run.settle(journal, () => ready() || destination.destroyed);
  }
  // The body, the second part of it when the first is in the file.
  const first = program.first ?? program.body;
  const body = content(0, program.body);
  if (first > 0) run.asPeer(() => client.write(body.subarray(0, first)));
  if (first < program.body) {
    const target = first;
    const look = (): void => {
      if (destination.destroyed || source.destroyed || client.destroyed) return;
      // Those of the program's own writes that are in the file by now are counted as well.
      if (destination.bytesWritten < target + (cast.moved ? 0 : cast.written.length)) {
        setImmediate(look);
        return;
      }
      journal.cue('half');
      if (!client.destroyed) client.end(body.subarray(first));
    };
    look();
    run.defer(() => client.destroy());
  } else run.asPeer(() => client.end());

  const keeps = program.options.autoClose === false;
  const settled = await run.settle(
    journal,
    () =>
      (client.destroyed || (answered && journal.happened('client', 'close'))) &&
      (destination.closed || (keeps && destination.writableFinished)) &&
      (source.closed || source.readableEnded),
  );

  const { file, shares } = look(program, cast, path);
  const stopped = destination.closed || destination.writableFinished;
  const all = !cast.does('encode') && (shares.file === 'all' || shares.file === 'empty');
  const { written, heard } = cast;
  const most = program.body + written.length + (cast.joined ? ANOTHER : 0);
  if (destination.bytesWritten > most && !cast.does('encode')) {
    run.violation(`bytesWritten is ${destination.bytesWritten}, of ${program.body} and ${written.length}`);
  }
  const request = source as Partial<IncomingMessage>;
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      source: {
        destroyed: source.destroyed,
        errored: source.errored && codeOf(source.errored),
        readableEnded: source.readableEnded,
        complete: request.complete,
        ...(stopped ? { listeners: listeners(source, LISTENERS) } : {}),
      },
      destination: {
        destroyed: destination.destroyed,
        closed: destination.closed,
        errored: destination.errored && codeOf(destination.errored),
        writableEnded: destination.writableEnded,
        writableFinished: destination.writableFinished,
        pending: destination.pending,
        ...(all && stopped ? { bytesWritten: destination.bytesWritten, heard } : {}),
        holdsFile: given.holdsFile(),
      },
      file: { ...file, ...shares },
    },
  };
}

/** What is in the file afterwards, as far as its place is known. */
function look(
  program: UploadProgram,
  cast: Cast,
  path: string,
): { file: Record<string, unknown>; shares: Record<string, unknown> } {
  const { run, written, moved, joined } = cast;
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    return { file: { missing: codeOf(error) }, shares: {} };
  }
  const expected = content(0, program.body);
  const { flags, start } = program.options;
  const given = program.by === 'descriptor' || program.by === 'handle';
  // Into a file that held something, or from a start of its own: its place tells.
  const present = program.present ?? 0;
  const appends = flags === 'a';
  const from = appends ? present : (start ?? 0);
  const kept = bytes.subarray(0, Math.min(from, bytes.length));
  const shares: Record<string, unknown> = {
    kept: kept.toString('base64').length > 40 ? kept.length : kept.toString('base64'),
    given,
  };
  // What was behind the place where the writing ended is still there with 'r+'.
  const got = separate(bytes.subarray(from));
  const rest = flags === 'r+' ? present : 0;
  const file = shareOf(got.file, expected);
  const decoded = cast.does('encode');
  if (file === undefined && !decoded) run.violation(`in the file ${difference(got.file, expected)}`);
  const own = rest > 0 ? 'behind old bytes' : cast.shareOfWrites(bytes.subarray(from));
  if (own === undefined && !decoded) run.violation(`of the writes ${difference(got.marks, written)}`);
  const whole = !decoded && (file === 'all' || file === 'empty');
  // What an encoding makes of bytes that come in the middle is not known.
  if (decoded) return { file: { mode: statSync(path).mode }, shares };
  return {
    file: { mode: statSync(path).mode, ...(whole ? { size: bytes.length } : {}) },
    shares: { ...shares, file, own, ...(moved || joined || !whole ? {} : { runs: got.runs }) },
  };
}

function reconcile({ from, body, steps: acts }: UploadProgram, node: Outcome, ours: Outcome): void {
  allowListeners(node.source, ours.source);
  const small = from === 'http' && body <= 256 * KiB;
  allowCollected(small, node, ours);
  allowCorkedCollected(small, acts, node, ours);
  allowHeldBack(node, ours);
  if (small) allowNoTornSuccess(node, ours);
  // A connection that is closed before all of it has been read is reset by the kernel, one that has been read is not: how
  // far each had read ahead of the file is nobody's promise.
  for (const { events, source } of [node, ours]) {
    if (source.destroyed && !source.readableEnded) {
      events.client = events.client?.filter((event: string) => event !== 'error ECONNRESET');
    }
  }
}

function steps(program: Omit<UploadProgram, 'steps'>): fc.Arbitrary<Steps> {
  const half = program.first !== undefined;
  const anytime = anything({
    roles: half ? ['source', 'destination', 'peer'] : ['source', 'destination'],
    ends: 'destination',
    resets: half && program.from !== 'unix',
  });
  const when = half
    ? fc.constantFrom('join', 'same tick', 'half', 'half', 'half', 'half', 'stalled')
    : fc.constantFrom('join', 'same tick', 'next tick', 'file open', 'file ready', 'destination pipe', 'stalled');
  // A stream that is ended early finishes sometime: what else comes early has no order with that.
  const isEarly = ({ when: moment, what }: Step<Action>): boolean =>
    what.do === 'end' && moment !== 'half' && moment !== 'stalled';
  const some = fc
    .array(at(when, anytime), { minLength: half ? 1 : 0, maxLength: 2 })
    .map((list) => (list.some(isEarly) ? list.filter(isEarly).slice(0, 1) : list));
  return fc.oneof(
    { weight: 12, arbitrary: some },
    { weight: 1, arbitrary: half ? bySubscriber.map((step): Steps => [step]) : none },
  );
}

const programs: fc.Arbitrary<UploadProgram> = fc
  .record({
    from: fc.constantFrom('tcp', 'unix', 'http', 'http', 'chunked'),
    body: fc.oneof(
      { weight: 2, arbitrary: size },
      { weight: 2, arbitrary: fc.integer({ min: 256 * KiB - 2, max: 256 * KiB + 2 }) },
      { weight: 2, arbitrary: fc.integer({ min: 256 * KiB, max: 2 * MiB }) },
    ),
    part: seldom(2, fc.integer({ min: 1, max: 99 })),
    present: seldom(3, fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.constant(400_000))),
    by: fc.constantFrom('path', 'path', 'path', 'descriptor', 'handle', 'path', 'path', 'path', 'directory', 'nowhere'),
    options: fc.record({
      flags: seldom(2, fc.constantFrom('w', 'r+', 'a', 'wx', 'w+')),
      start: seldom(4, fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 6000 }))),
      autoClose: seldom(6, fc.boolean()),
      emitClose: seldom(6, fc.boolean()),
      highWaterMark: seldom(6, fc.integer({ min: 1, max: 100_000 })),
      mode: seldom(6, fc.constantFrom(0o600, 0o640, 0o666)),
    }),
    signal: seldom(5, fc.constantFrom('stream', 'pipeline')),
    join: fc.constantFrom('pipe', 'pipe without end', 'pipeline', 'pipeline'),
    before: fc.array(fc.constantFrom(0, 1, 30, 20_000), { maxLength: 1 }),
    after: fc.oneof(
      { weight: 4, arbitrary: fc.constant<number[]>([]) },
      { weight: 1, arbitrary: fc.array(fc.constantFrom(1, 30, 20_000), { maxLength: 1 }) },
    ),
  })
  .chain(({ part, options, ...rest }) => {
    const { body, by } = rest;
    const cut = part === undefined ? undefined : Math.floor((body * part) / 100);
    const flags = options.flags;
    const given = by === 'descriptor' || by === 'handle';
    // A descriptor has to be open before there is anything to compare.
    const present =
      flags === 'r+' && given ? (rest.present ?? 100) : flags === 'wx' && given ? undefined : rest.present;
    const program = compact({
      ...rest,
      present,
      first: cut === undefined || cut === 0 ? undefined : cut,
      options: compact({ ...options, ...(flags === 'a' ? { start: undefined } : {}) }),
    });
    return steps(program).map((list) => ({ ...program, steps: list }));
  });

export const upload: Family<UploadProgram> = { name: 'upload', programs, run, reconcile };
