/** A file into a socket: `createSendfileStream` against `fs.createReadStream`, by pipe and by pipeline. */
import type fs from 'node:fs';
import type { Socket } from 'node:net';
import { pathToFileURL } from 'node:url';
import type { SendfileReadStream } from '@zerocopy/sendfile-stream';
import fc from 'fast-check';
import type { Action } from '../../actions.js';
import { compact, fileSpec, MORE_THAN_BUFFERS, range, seldom, writeSize } from '../arbitraries.js';
import { content, difference, separate, shareOf } from '../bytes.js';
import { Cast, type FileName, type Given, give, type Join, pathOf, replaceStdout } from '../cast.js';
import {
  allowEndAfterFile,
  allowListeners,
  allowNoCancelledWrite,
  allowSecondSource,
  allowUnreadDirectory,
} from '../documented.js';
import { codeOf, type Step } from '../journal.js';
import { closeStream, type Family, listeners, type Observation, type Outcome, type Run } from '../run.js';
import { anything, at, bySubscriber, destroying, ending, none, type Steps, simple, writing } from '../steps.js';
import { contentOf, type FileSpec, type Transport } from '../workspace.js';

export interface SendProgram {
  readonly transport: Transport;
  readonly file: Exclude<FileName, 'procfs'>;
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
  readonly join: Join;
  /** The destination is what process.stdout is, which nobody ends. */
  readonly stdout?: boolean | undefined;
  readonly halfOpen?: boolean | undefined;
  /** Bytes of writes before the two are joined, and right after. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly receiver: { readonly reads: 'all' | 'slowly' } | { readonly reads: 'until'; readonly bytes: number };
  readonly steps: Steps;
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
  const cast = new Cast(run, program.steps);
  const { journal } = cast;
  const path = pathOf(run, program.file, cast.does('truncate'));
  if (typeof program.file === 'object') cast.path = path;
  const given = await give(run, path, program.by);
  const options: Record<string, unknown> = { ...program.options, ...given.options };
  if (program.signal === 'stream') options.signal = cast.controller.signal;
  if (program.stdout === true) replaceStdout(run, destination);

  journal.watch('receiver', receiver, RECEIVER_EVENTS);
  const { reads } = program.receiver;
  const arrived = cast.collect(receiver, reads === 'until' ? program.receiver.bytes : undefined, reads === 'slowly');
  journal.watch('destination', destination, DESTINATION_EVENTS);
  destination.on('timeout', () => {
    cast.timedOut = true;
    journal.touch();
  });
  destination.resume();
  run.defer(() => {
    receiver.destroy();
    destination.destroy();
  });

  const target = program.by === 'buffer' ? Buffer.from(path) : program.by === 'url' ? pathToFileURL(path) : path;
  const source = run.by.createSendfileStream(target, options as never) as fs.ReadStream;
  journal.watch('source', source, SOURCE_EVENTS);
  run.defer(() => closeStream(source));
  Object.assign(cast, { source, destination, peer: receiver });
  cast.join(program.join, program.signal === 'pipeline', program.before, program.after);

  const staysOpen = program.options.autoClose === false;
  const settled = await run.settle(
    journal,
    () =>
      receiver.closed &&
      destination.closed &&
      (source.closed || (staysOpen && !source.destroyed && (source.readableEnded || source.errored !== null))),
  );

  return observe(program, cast, { source, destination, settled, given }, arrived.bytes());
}

interface Ended {
  readonly source: fs.ReadStream;
  readonly destination: Socket;
  readonly settled: boolean;
  readonly given: Given;
}

function observe(program: SendProgram, cast: Cast, { source, destination, settled, given }: Ended, bytes: Buffer) {
  const { run, journal, moved, joined } = cast;
  const expected = expectedOf(program);
  const got = separate(bytes);
  const cut = run.side === 'ours' && cast.does('truncate');
  const file = shareOf(cut ? withoutZeros(got.file, expected) : got.file, expected);
  const own = cast.shareOfWrites(bytes);
  const decoded = cast.does('encode');
  if (file === undefined && !decoded) run.violation(`of the file ${difference(got.file, expected)}`);
  if (own === undefined) run.violation(`of the writes ${difference(got.marks, cast.written)}`);
  const whole = !decoded && (file === 'all' || file === 'empty');
  const stopped = source.destroyed || source.readableEnded;
  if (run.side === 'ours') {
    const { bytesSent } = source as SendfileReadStream;
    if (bytesSent > rangeOf(program).length) run.violation(`bytesSent is ${bytesSent}, of ${expected.length}`);
    if (program.options.encoding === undefined && !decoded && stopped && bytesSent < got.file.length) {
      run.violation(`bytesSent is ${bytesSent}, but ${got.file.length} have arrived`);
    }
  }
  // A connection that is not idle for long may be idle for long enough.
  const idle = cast.timed && !settled && !destination.destroyed ? cast.timedOut : undefined;
  // A listener that comes at no moment in particular hears from some byte on; and one that comes when the receiver has
  // stopped, or has just gone on, from the byte up to which the socket has taken them: Node counts whole chunks.
  const hears = !cast.has(
    ({ do: what }, when) => ['immediate', 'stalled', 'received'].includes(when) && what === 'listen for data',
  );
  const observation: Observation = {
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
        ...(whole && stopped ? { bytesRead: source.bytesRead, heard: hears ? (cast.heard ?? 0) : undefined } : {}),
        holdsFile: given.holdsFile(),
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
      received: decoded
        ? { written: own }
        : { file, written: own, ...(moved || joined || !whole ? {} : { runs: got.runs }) },
    },
  };
  return observation;
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

function reconcile(program: SendProgram, node: Outcome, ours: Outcome): void {
  // How much of the file shares a segment with what was written before it is nobody's promise: a receiver that stops after
  // that has a part, or nothing yet.
  if (program.receiver.reads === 'until') {
    for (const { received } of [node, ours]) if (received.file === 'nothing') received.file = 'part';
  }
  const ends = program.halfOpen !== true && program.steps.some(({ what }) => what.do === 'end' && what.of === 'peer');
  allowEndAfterFile(ends, node, ours);
  allowListeners(node.destination, ours.destination);
  allowNoCancelledWrite(node.destination, ours.destination);
  allowSecondSource(program.receiver.reads === 'until', program.steps, node, ours);
  if (program.file === 'directory') allowUnreadDirectory(node, ours);
  // README of sendfile-stream: "A file that gets shorter while it is sent destroys the connection with
  // ERR_FILE_TRUNCATED". Node ends as if the file had always been so short.
  const truncated = program.steps.some(({ what }) => what.do === 'truncate');
  if (truncated && ours.events.source.includes('error ERR_FILE_TRUNCATED')) {
    if (ours.received.file !== 'all' && ours.destination.destroyed) Object.assign(node, ours);
  }
}

/** That a file has been cut short is found when more of it can be sent; Node, which has sent less, may find it before. */
const RESUMED: Step<Action> = { when: 'stalled', what: { do: 'resume peer' } };
const EARLY = fc.constantFrom('join', 'same tick', 'next tick', 'immediate', 'source open', 'source ready');
const LATE = fc.constantFrom(
  'source end',
  'source close',
  'destination pipe',
  'destination finish',
  'destination unpipe',
  'receiver end',
);

const steps = (program: Omit<SendProgram, 'steps'>): fc.Arbitrary<Steps> => {
  const { receiver, transport, file } = program;
  // What a peer does in the middle of a transfer comes at another byte in each run, unless the transfer stands still.
  const still = receiver.reads === 'until';
  // A destination is not ended in the middle of the file: Node then sends as much as it happens to have read; ours sends
  // the file, before what comes later (README of sendfile-stream, "Order").
  const ends = still ? 'peer' : 'destination';
  const anytime = anything({
    roles: still ? ['source', 'destination', 'peer'] : ['source', 'destination'],
    ends,
    file: typeof file === 'object' ? file.size : 0,
    socket: true,
    resets: still && transport === 'tcp',
  });
  const afterwards = fc.oneof(
    destroying('source', 'destination'),
    writing,
    simple('abort', 'unpipe', 'pipe elsewhere'),
    ending(ends),
  );
  const some = fc
    .array(fc.oneof({ weight: 3, arbitrary: at(EARLY, anytime) }, { weight: 1, arbitrary: at(LATE, afterwards) }), {
      maxLength: 2,
    })
    // A destination that is ended early finishes sometime before or after the file is open: what waits for the one or the
    // other then has no order.
    .map((list) => {
      const end = list.find(({ what }) => what.do === 'end');
      return end === undefined ? list : list.filter(({ when }) => when === end.when);
    });
  const subscribed = bySubscriber.map((step): Steps => [step]);
  if (receiver.reads !== 'until') {
    return fc.oneof(
      { weight: 4, arbitrary: none },
      { weight: 6, arbitrary: some },
      { weight: 1, arbitrary: subscribed },
    );
  }
  const onStall = at(
    fc.constant('stalled'),
    fc.oneof({ weight: 1, arbitrary: anytime }, { weight: 1, arbitrary: simple('resume peer') }),
  );
  const atStop = at(fc.constant('received'), anytime).map((step) => ({ ...step, bytes: Math.max(1, receiver.bytes) }));
  const stalls = fc.array(fc.oneof({ weight: 3, arbitrary: onStall }, { weight: 1, arbitrary: atStop }), {
    minLength: 1,
    maxLength: 3,
  });
  return fc
    .oneof({ weight: 4, arbitrary: stalls }, { weight: 1, arbitrary: some }, { weight: 1, arbitrary: subscribed })
    .map((list) => (list.some(({ what }) => what.do === 'truncate') ? [...list, RESUMED] : list));
};

const programs: fc.Arbitrary<SendProgram> = fc
  .record({
    transport: fc.constantFrom('tcp', 'unix'),
    file: fc.oneof(
      { weight: 20, arbitrary: fileSpec },
      { weight: 1, arbitrary: fc.constantFrom('missing', 'directory', 'device') },
    ),
    by: fc.constantFrom('path', 'path', 'buffer', 'url', 'descriptor', 'handle'),
    signal: seldom(4, fc.constantFrom('stream', 'pipeline')),
    join: fc.constantFrom('pipe', 'pipe without end', 'pipeline'),
    stdout: seldom(12, fc.constant(true)),
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
    const receiver: SendProgram['receiver'] = stopped
      ? { reads: 'until', bytes: until }
      : { reads: stops === 1 ? 'slowly' : 'all' };
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
      encoding: seldom(15, fc.constantFrom('latin1', 'hex')),
    });
    return options.chain(({ ranged, ...other }) => {
      // A stopped receiver is to have more to come than fits on the way.
      const asked = stopped ? (ranged.start === undefined ? {} : { start: ranged.start }) : ranged;
      const program = compact({ ...rest, file, by, receiver, options: compact({ ...asked, ...other }) });
      return steps(program).map((list) => ({ ...program, steps: list }));
    });
  });

export const send: Family<SendProgram> = { name: 'send', run, reconcile, programs };
