/** A file into a socket: `createSendfileStream` against `fs.createReadStream`, by pipe and by pipeline. */
import fs, { readlinkSync, statSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import { createSendfileStream, type SendfileReadStream } from '@zerocopy/sendfile-stream';
import fc from 'fast-check';
import { compact, fileSpec, MORE_THAN_BUFFERS, range, seldom, writeSize } from '../arbitraries.js';
import { content, difference, marks, separate, shareOf } from '../bytes.js';
import { allowListeners, allowNoCancelledWrite, allowUnreadDirectory } from '../documented.js';
import { codeOf, Journal, type Step } from '../journal.js';
import { closeStream, type Family, listeners, type Observation, type Outcome, type Run } from '../run.js';
import { contentOf, type FileSpec, type Transport } from '../workspace.js';

export type SendAction =
  | { readonly do: 'destroy'; readonly of: 'source' | 'destination' | 'receiver'; readonly error?: boolean | undefined }
  | { readonly do: 'end'; readonly of: 'destination' | 'receiver' }
  | { readonly do: 'write'; readonly bytes: number }
  | { readonly do: 'truncate'; readonly size: number }
  | { readonly do: 'timeout'; readonly milliseconds: number }
  | { readonly do: 'encode'; readonly encoding: 'latin1' | 'hex' }
  | {
      readonly do:
        | 'abort'
        | 'reset receiver'
        | 'listen for data'
        | 'listen for readable'
        | 'unpipe'
        | 'pipe again'
        | 'pause source'
        | 'resume source'
        | 'resume receiver'
        | 'pipe elsewhere'
        | 'cork'
        | 'uncork';
    };

export interface SendProgram {
  readonly transport: Transport;
  readonly file: FileSpec | 'missing' | 'directory' | 'device';
  readonly by: 'path' | 'buffer' | 'url' | 'descriptor' | 'handle';
  readonly options: {
    readonly start?: number | undefined;
    readonly end?: number | undefined;
    readonly highWaterMark?: number | undefined;
    readonly autoClose?: boolean | undefined;
    readonly emitClose?: boolean | undefined;
    readonly encoding?: 'latin1' | 'hex' | undefined;
  };
  /** Who is given an AbortSignal. */
  readonly signal?: 'stream' | 'pipeline' | undefined;
  readonly join: 'pipe' | 'pipe without end' | 'pipeline';
  readonly halfOpen?: boolean | undefined;
  /** Bytes of writes before the two are joined, and right after. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly receiver: { readonly reads: 'all' | 'slowly' } | { readonly reads: 'until'; readonly bytes: number };
  readonly steps: readonly Step<SendAction>[];
}

const SOURCE_EVENTS = ['open', 'ready', 'end', 'error', 'close'];
const DESTINATION_EVENTS = ['pipe', 'unpipe', 'end', 'finish', 'error', 'close'];
const RECEIVER_EVENTS = ['end', 'error', 'close'];
const LISTENERS = [
  'data',
  'end',
  'error',
  'close',
  'finish',
  'drain',
  'pipe',
  'unpipe',
  'timeout',
  'connect',
  'prefinish',
];

async function run(program: SendProgram, run: Run): Promise<Observation> {
  const { workspace } = run;
  const { server: destination, client: receiver } = await workspace.pair(
    program.transport,
    { allowHalfOpen: program.halfOpen },
    {},
  );
  const regular = typeof program.file === 'object' ? program.file : undefined;
  const own = program.steps.some(({ what }) => what.do === 'truncate');
  const path =
    regular !== undefined
      ? own
        ? workspace.copyOf(regular)
        : workspace.file(regular)
      : program.file === 'missing'
        ? workspace.scratch()
        : program.file === 'directory'
          ? workspace.scratchDirectory()
          : '/dev/null';

  const controller = new AbortController();
  const options: Record<string, unknown> = { ...program.options };
  if (program.signal === 'stream') options.signal = controller.signal;
  let fd: number | undefined;
  if (program.by === 'descriptor') options.fd = fd = fs.openSync(path, 'r');
  if (program.by === 'handle') {
    const handle = await open(path, 'r');
    options.fd = handle;
    fd = handle.fd;
    run.defer(() => handle.close().catch(() => {}));
  }
  const holdsFile = (): boolean => fd !== undefined && linkOf(fd) === path;
  if (program.by === 'descriptor') run.defer(() => holdsFile() && fs.closeSync(fd as number));

  let written = Buffer.alloc(0);
  const write = (bytes: number): void => {
    if (destination.destroyed || destination.writableEnded) return;
    const chunk = marks(bytes, written.length);
    written = Buffer.concat([written, chunk]);
    destination.write(chunk);
  };
  let moved = false;
  let timed = false;
  let heard = 0;
  // One that comes at no moment in particular hears from some byte on.
  const hears = !program.steps.some(({ when, what }) => when === 'immediate' && what.do === 'listen for data');
  let timedOut = false;
  const elsewhere = new PassThrough().resume();
  const ignore = (): void => {};
  const perform = (action: SendAction): void => {
    switch (action.do) {
      case 'destroy':
        if (action.of === 'receiver') run.asPeer(() => receiver.destroy());
        else ({ source, destination })[action.of].destroy(action.error === true ? failure() : undefined);
        break;
      case 'end':
        if (action.of === 'receiver') run.asPeer(() => receiver.end());
        else destination.end();
        break;
      case 'write':
        moved = true;
        write(action.bytes);
        break;
      case 'truncate':
        if (typeof program.file === 'object' && statSync(path).size > action.size) truncateSync(path, action.size);
        break;
      case 'timeout':
        timed = true;
        destination.setTimeout(action.milliseconds);
        break;
      case 'encode':
        source.setEncoding(action.encoding);
        break;
      case 'abort':
        controller.abort();
        break;
      case 'reset receiver':
        run.asPeer(() => receiver.resetAndDestroy());
        break;
      case 'listen for data':
        source.on('data', (chunk) => {
          heard += chunk.length;
        });
        break;
      case 'listen for readable':
        source.on('readable', ignore);
        break;
      case 'unpipe':
        source.unpipe(destination);
        break;
      case 'pipe again':
        if (!journal.happened('destination', 'pipe')) break;
        source.unpipe(destination);
        source.pipe(destination, { end: program.join !== 'pipe without end' });
        break;
      case 'pause source':
        source.pause();
        break;
      case 'resume source':
        source.resume();
        break;
      case 'resume receiver':
        stopAt = Number.POSITIVE_INFINITY;
        timed = false;
        receiver.resume();
        break;
      case 'pipe elsewhere':
        source.pipe(elsewhere);
        break;
      case 'cork':
        destination.cork();
        break;
      case 'uncork':
        destination.uncork();
        break;
    }
  };
  const journal = new Journal(program.steps, perform);

  const chunks: Buffer[] = [];
  let received = 0;
  let stopAt = program.receiver.reads === 'until' ? program.receiver.bytes : Number.POSITIVE_INFINITY;
  journal.watch('receiver', receiver, RECEIVER_EVENTS);
  receiver.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    received += chunk.length;
    if (program.receiver.reads === 'slowly') {
      receiver.pause();
      setImmediate(() => receiver.resume());
    }
    if (received >= stopAt) receiver.pause();
    journal.level('received', received);
  });
  if (stopAt === 0) receiver.pause();
  journal.watch('destination', destination, DESTINATION_EVENTS);
  destination.on('timeout', () => {
    timedOut = true;
    journal.touch();
  });
  destination.resume();
  run.defer(() => {
    receiver.destroy();
    destination.destroy();
  });

  const target = program.by === 'buffer' ? Buffer.from(path) : program.by === 'url' ? pathToFileURL(path) : path;
  const source = run.pick(fs.createReadStream, createSendfileStream)(target, options as never) as fs.ReadStream;
  journal.watch('source', source, SOURCE_EVENTS);
  run.defer(() => closeStream(source));
  for (const bytes of program.before) write(bytes);
  journal.cue('join');
  if (program.join === 'pipeline') {
    pipeline(source, destination, program.signal === 'pipeline' ? { signal: controller.signal } : {}).then(
      () => journal.note('pipeline', 'done'),
      (error) => journal.note('pipeline', `error ${codeOf(error)}`),
    );
  } else source.pipe(destination, { end: program.join !== 'pipe without end' });
  for (const bytes of program.after) write(bytes);
  journal.cue('same tick');
  process.nextTick(() => journal.cue('next tick'));
  setImmediate(() => run.asPeer(() => journal.cue('immediate')));

  const staysOpen = program.options.autoClose === false;
  const settled = await run.settle(
    journal,
    () =>
      receiver.closed &&
      destination.closed &&
      (source.closed || (staysOpen && !source.destroyed && (source.readableEnded || source.errored !== null))),
  );

  // A connection that is not idle for long may be idle for long enough.
  const idle = timed && !settled && !destination.destroyed ? timedOut : undefined;
  return observe(
    program,
    run,
    { source, destination, journal, settled, written, moved, idle, heard: hears ? heard : undefined, holdsFile },
    Buffer.concat(chunks),
  );
}

interface Ended {
  readonly source: fs.ReadStream;
  readonly destination: Socket;
  readonly journal: Journal<SendAction>;
  readonly settled: boolean;
  readonly written: Buffer;
  readonly moved: boolean;
  readonly idle: boolean | undefined;
  readonly heard: number | undefined;
  holdsFile(): boolean;
}

function observe(program: SendProgram, run: Run, ended: Ended, bytes: Buffer): Observation {
  const { source, destination, journal, settled, written, moved, idle, heard } = ended;
  const expected = expectedOf(program);
  const got = separate(bytes);
  const cut = run.side === 'ours' && program.steps.some(({ what }) => what.do === 'truncate');
  const file = shareOf(cut ? withoutZeros(got.file, expected) : got.file, expected);
  const own = shareOf(got.marks, written);
  const decoded = program.steps.some(({ what }) => what.do === 'encode');
  if (file === undefined && !decoded) run.violation(`of the file ${difference(got.file, expected)}`);
  if (own === undefined) run.violation(`of the writes ${difference(got.marks, written)}`);
  const whole = !decoded && (file === 'all' || file === 'empty');
  const stopped = source.destroyed || source.readableEnded;
  if (run.side === 'ours') {
    const { bytesSent } = source as SendfileReadStream;
    if (bytesSent > rangeOf(program).length) run.violation(`bytesSent is ${bytesSent}, of ${expected.length}`);
    if (program.options.encoding === undefined && !decoded && stopped && bytesSent < got.file.length) {
      run.violation(`bytesSent is ${bytesSent}, but ${got.file.length} have arrived`);
    }
  }
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      source: {
        destroyed: source.destroyed,
        closed: source.closed,
        errored: source.errored && codeOf(source.errored),
        readableEnded: source.readableEnded,
        pending: source.pending,
        path: typeof source.path,
        ...(whole && stopped ? { bytesRead: source.bytesRead, heard } : {}),
        holdsFile: program.by === 'descriptor' || program.by === 'handle' ? ended.holdsFile() : undefined,
      },
      destination: {
        destroyed: destination.destroyed,
        errored: destination.errored && codeOf(destination.errored),
        writableEnded: destination.writableEnded,
        writableFinished: destination.writableFinished,
        idle,
        ...(whole && own === 'all' ? { bytesWritten: destination.bytesWritten } : {}),
        ...(stopped ? { listeners: listeners(destination, LISTENERS) } : {}),
      },
      // Of what has been written by an encoding that came in the middle, the middle is not known.
      received: decoded ? { written: own } : { file, written: own, ...(moved || !whole ? {} : { runs: got.runs }) },
    },
  };
}

/**
 * README of sendfile-stream, "Files that change on their way": pages are shared with the socket. What is cut off a file
 * is wiped where it shares a large folio with what is left, and arrives as zeros; the connection does not end properly.
 */
function withoutZeros(got: Buffer, expected: Buffer): Buffer {
  const mended = Buffer.from(got);
  for (let at = mended.indexOf(0); at >= 0 && at < expected.length; at = mended.indexOf(0, at + 1)) {
    mended[at] = expected[at] as number;
  }
  return mended;
}

function rangeOf({ file, options: { start, end } }: SendProgram): Buffer {
  if (typeof file !== 'object') return content(0, 0);
  return contentOf(file, start, (end ?? Number.POSITIVE_INFINITY) + 1);
}

/** In UTF-8, if it is read by an encoding; no byte of that is a mark. */
function expectedOf(program: SendProgram): Buffer {
  const { encoding } = program.options;
  const bytes = rangeOf(program);
  return encoding === undefined ? bytes : Buffer.from(bytes.toString(encoding));
}

function linkOf(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

const failure = (): Error => Object.assign(new Error('by the program'), { code: 'E_PROGRAM' });

function reconcile(program: SendProgram, node: Outcome, ours: Outcome): void {
  // How much of the file shares a segment with what was written before it is nobody's promise: a receiver that stops after
  // that has a part, or nothing yet.
  if (program.receiver.reads === 'until') {
    for (const { received } of [node, ours]) if (received.file === 'nothing') received.file = 'part';
  }
  allowListeners(node.destination, ours.destination);
  allowNoCancelledWrite(node.destination, ours.destination);
  if (program.file === 'directory') allowUnreadDirectory(node, ours);
  // README of sendfile-stream: "A file that gets shorter while it is sent destroys the connection with
  // ERR_FILE_TRUNCATED". Node ends as if the file had always been so short.
  const truncated = program.steps.some(({ what }) => what.do === 'truncate');
  if (truncated && ours.events.source.includes('error ERR_FILE_TRUNCATED')) {
    if (ours.received.file !== 'all' && ours.destination.destroyed) Object.assign(node, ours);
  }
}

/** That a file has been cut short is found when more of it can be sent; Node, which has sent less, may find it before. */
const RESUMED: Step<SendAction> = { when: 'stalled', what: { do: 'resume receiver' } };

const steps = (program: Omit<SendProgram, 'steps'>): fc.Arbitrary<Step<SendAction>[]> => {
  const bytes = typeof program.file === 'object' ? program.file.size : 0;
  const early = fc.constantFrom('join', 'same tick', 'next tick', 'immediate', 'source open', 'source ready');
  const late = fc.constantFrom(
    'source end',
    'source close',
    'destination finish',
    'destination unpipe',
    'receiver end',
  );
  const error = fc.boolean();
  // What a peer does in the middle of a transfer comes at another byte in each run, unless the transfer stands still.
  const still = program.receiver.reads === 'until';
  const destroy = fc.record({
    do: fc.constant('destroy' as const),
    of: fc.constantFrom('source' as const, 'destination' as const, still ? ('receiver' as const) : ('source' as const)),
    error,
  });
  const write = fc.record({ do: fc.constant('write' as const), bytes: fc.integer({ min: 1, max: 2000 }) });
  const simple = (...names: string[]): fc.Arbitrary<SendAction> =>
    fc.constantFrom(...names).map((name) => ({ do: name }) as SendAction);
  // A destination is not ended in the middle of the file: Node then sends as much as it happens to have read; ours sends
  // the file, before what comes later (README of sendfile-stream, "Order").
  const end = fc.record({
    do: fc.constant('end' as const),
    of: fc.constant(still ? ('receiver' as const) : ('destination' as const)),
  });
  const anytime = fc.oneof(
    destroy,
    write,
    simple(
      'abort',
      'listen for data',
      'listen for readable',
      'unpipe',
      'pipe again',
      'pause source',
      'pipe elsewhere',
      'resume source',
    ),
    simple('cork', 'uncork', ...(still && program.transport === 'tcp' ? ['reset receiver'] : [])),
    end,
    fc.record({ do: fc.constant('encode' as const), encoding: fc.constantFrom('latin1' as const, 'hex' as const) }),
    fc.record({ do: fc.constant('truncate' as const), size: fc.integer({ min: 0, max: bytes }) }),
    fc.record({ do: fc.constant('timeout' as const), milliseconds: fc.integer({ min: 1, max: 15 }) }),
  );
  const afterwards = fc.oneof(destroy, write, simple('abort', 'unpipe', 'pipe elsewhere'), end);
  const onEarly = fc.record({ when: early, what: anytime });
  const onLate = fc.record({ when: late, what: afterwards });
  const onStall = fc.record({
    when: fc.constant('stalled'),
    what: fc.oneof({ weight: 1, arbitrary: anytime }, { weight: 1, arbitrary: simple('resume receiver') }),
  });
  const some = fc
    .array(fc.oneof({ weight: 3, arbitrary: onEarly }, { weight: 1, arbitrary: onLate }), { maxLength: 2 })
    // A destination that is ended early finishes sometime before or after the file is open: what waits for the one or the
    // other then has no order.
    .map((list) => list.filter((one, at) => at === 0 || list[0]?.what.do !== 'end' || one.when === list[0]?.when));
  if (program.receiver.reads !== 'until')
    return fc.oneof({ weight: 2, arbitrary: fc.constant<Step<SendAction>[]>([]) }, { weight: 3, arbitrary: some });
  const { bytes: until } = program.receiver;
  const atStop = fc.record({ when: fc.constant('received'), bytes: fc.constant(Math.max(1, until)), what: anytime });
  const stalls = fc.array(fc.oneof({ weight: 3, arbitrary: onStall }, { weight: 1, arbitrary: atStop }), {
    minLength: 1,
    maxLength: 3,
  });
  return fc
    .oneof({ weight: 4, arbitrary: stalls }, { weight: 1, arbitrary: some })
    .map((list) => (list.some(({ what }) => what.do === 'truncate') ? [...list, RESUMED] : list));
};

const programs: fc.Arbitrary<SendProgram> = fc
  .record({
    transport: fc.constantFrom('tcp' as const, 'unix' as const),
    file: fc.oneof(
      { weight: 20, arbitrary: fileSpec },
      { weight: 1, arbitrary: fc.constantFrom('missing' as const, 'directory' as const, 'device' as const) },
    ),
    by: fc.constantFrom(
      'path' as const,
      'path' as const,
      'buffer' as const,
      'url' as const,
      'descriptor' as const,
      'handle' as const,
    ),
    signal: seldom(4, fc.constantFrom('stream' as const, 'pipeline' as const)),
    join: fc.constantFrom('pipe' as const, 'pipe without end' as const, 'pipeline' as const),
    halfOpen: seldom(4, fc.constant(true)),
    before: fc.array(writeSize, { maxLength: 2 }),
    after: fc.array(writeSize, { maxLength: 1 }),
    stops: fc.integer({ min: 0, max: 4 }),
    until: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 400_000 })),
  })
  .chain(({ stops, until, ...rest }) => {
    const stopped = stops === 0 && typeof rest.file === 'object';
    const file = stopped ? { ...(rest.file as FileSpec), size: MORE_THAN_BUFFERS[rest.transport] } : rest.file;
    const by = file === 'missing' && (rest.by === 'descriptor' || rest.by === 'handle') ? 'path' : rest.by;
    const bytes = typeof file === 'object' ? file.size : 0;
    const receiver = stopped
      ? { reads: 'until' as const, bytes: until }
      : { reads: stops === 1 ? ('slowly' as const) : ('all' as const) };
    const options = fc.record({
      ranged: range(stopped ? 100_000 : bytes),
      highWaterMark: seldom(
        4,
        fc.oneof(
          fc.integer({ min: 1000, max: 200_000 }),
          fc.constantFrom(1, 65536).filter((n) => n > 1 || bytes < 5000),
        ),
      ),
      autoClose: seldom(5, fc.boolean()),
      emitClose: seldom(6, fc.boolean()),
      encoding: seldom(15, fc.constantFrom('latin1' as const, 'hex' as const)),
    });
    return options.chain(({ ranged, ...other }) => {
      // A stopped receiver is to have more to come than fits on the way.
      const asked = stopped ? (ranged.start === undefined ? {} : { start: ranged.start }) : ranged;
      const program = compact({ ...rest, file, by, receiver, options: compact({ ...asked, ...other }) });
      return steps(program).map((list) => ({
        ...program,
        steps: list.map((step) => ({ ...step, what: compact(step.what) })),
      }));
    });
  });

export const send: Family<SendProgram> = { name: 'send', run, reconcile, programs };
