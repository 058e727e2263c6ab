/** A socket as a source of its own, `createSpliceReadStream`, piped into another, against the socket itself. */
import type { Socket } from 'node:net';
import fc from 'fast-check';
import { compact, MORE_THAN_BUFFERS, seldom, size, writeSize } from '../arbitraries.js';
import { content, difference, separate, shareOf } from '../bytes.js';
import { Cast, type Join, replaceStdout } from '../cast.js';
import { allowNoCancelledPipeline, allowNoCancelledWrite, allowSecondSource } from '../documented.js';
import { codeOf } from '../journal.js';
import type { Family, Observation, Outcome, Run } from '../run.js';
import { anything, at, bySubscriber, none, type Steps, simple } from '../steps.js';
import type { Transport } from '../workspace.js';

export interface StreamProgram {
  readonly from: Transport;
  readonly to: Transport;
  readonly bytes: number;
  /** So many come first, and the rest when they have arrived and the steps of that moment are done. */
  readonly first?: number | undefined;
  /** The receiver stops after so many bytes. */
  readonly until?: number | undefined;
  readonly join: Join;
  readonly signal?: boolean | undefined;
  readonly stdout?: boolean | undefined;
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly steps: Steps;
}

async function run(program: StreamProgram, run: Run): Promise<Observation> {
  const open = { allowHalfOpen: true };
  const left = await run.workspace.pair(program.from, open, open);
  const right = await run.workspace.pair(program.to, open, open);
  run.defer(() => {
    for (const { server, client } of [left, right]) for (const socket of [server, client]) socket.destroy();
  });
  for (const socket of [left.server, left.client, right.client]) socket.on('error', () => {});
  const cast = new Cast(run, program.steps);
  const { journal } = cast;
  const destination: Socket = right.server;
  destination.resume();
  if (program.stdout === true) replaceStdout(run, destination);
  const source = run.by.createSpliceReadStream(left.server);
  source.on('error', () => {});
  Object.assign(cast, { source, destination, peer: right.client });
  journal.watch('destination', destination, ['pipe', 'unpipe', 'finish', 'error', 'close']);
  const arrived = cast.collect(right.client, program.until);
  right.client.on('end', () => journal.note('receiver', 'end'));
  cast.join(program.join, program.signal === true, program.before, program.after);

  const { bytes, first = bytes } = program;
  const body = content(0, bytes);
  left.client.on('close', () => journal.touch());
  let ended = false;
  const finish = (): void => {
    ended = true;
    if (!left.client.destroyed) left.client.end(body.subarray(first));
  };
  left.client.write(body.subarray(0, first));
  if (first < bytes) {
    const target = first + cast.written.length;
    const look = (): void => {
      if (destination.destroyed || left.server.destroyed) return finish();
      if (arrived.length() < target) setImmediate(look);
      else {
        journal.cue('half');
        finish();
      }
    };
    look();
  } else finish();
  const settled = await run.settle(journal, () => ended && (right.client.readableEnded || right.client.destroyed));
  destination.destroy();

  const got = separate(arrived.bytes());
  const decoded = cast.does('encode');
  const file = shareOf(got.file, body);
  const own = decoded ? 'with others' : cast.shareOfWrites(arrived.bytes());
  if (file === undefined && !decoded) run.violation(`at the right ${difference(got.file, body)}`);
  if (own === undefined) run.violation(`of the writes ${difference(got.marks, cast.written)}`);
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      destination: {
        writableEnded: destination.writableEnded,
        writableFinished: destination.writableFinished,
        errored: destination.errored && codeOf(destination.errored),
      },
      // Of what has been written by an encoding that came in the middle, the middle is not known.
      received: decoded ? { bytes: program.until === undefined ? arrived.length() : undefined } : { file, own },
    },
  };
}

function reconcile(program: StreamProgram, node: Outcome, ours: Outcome): void {
  allowNoCancelledWrite(node.destination, ours.destination);
  allowNoCancelledPipeline(node, ours);
  allowSecondSource(program.until !== undefined, program.steps, node, ours);
  // How much shares a segment with what was written before it is nobody's promise.
  if (program.until !== undefined) {
    for (const { received } of [node, ours]) if (received.file === 'nothing') received.file = 'part';
  }
}

function steps({ first, until, to }: Omit<StreamProgram, 'steps'>): fc.Arbitrary<Steps> {
  const still = until !== undefined;
  const anytime = anything({ roles: ['source', 'destination'], resets: still && to === 'tcp' });
  const when = still
    ? fc.constant('stalled')
    : fc.constantFrom('join', 'same tick', ...(first === undefined ? [] : ['half', 'half', 'half']));
  const what = still ? fc.oneof(anytime, simple('resume peer')) : anytime;
  return fc.oneof(
    { weight: 2, arbitrary: still ? fc.constant<Steps>([{ when: 'stalled', what: { do: 'resume peer' } }]) : none },
    { weight: 6, arbitrary: fc.array(at(when, what), { minLength: 1, maxLength: 2 }) },
    { weight: 1, arbitrary: bySubscriber.map((step): Steps => [step]) },
  );
}

const transport = fc.constantFrom('tcp', 'unix');

const programs: fc.Arbitrary<StreamProgram> = fc
  .record({
    from: transport,
    to: transport,
    bytes: size,
    part: seldom(2, fc.integer({ min: 1, max: 99 })),
    stops: seldom(9, fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 300_000 }))),
    join: fc.constantFrom('pipe', 'pipe without end', 'pipeline'),
    signal: seldom(3, fc.constant(true)),
    stdout: seldom(10, fc.constant(true)),
    before: fc.array(writeSize, { maxLength: 1 }),
    after: fc.array(writeSize, { maxLength: 1 }),
  })
  .chain(({ part, stops: until, ...rest }) => {
    const bytes = until === undefined ? rest.bytes : MORE_THAN_BUFFERS[rest.to];
    const cut = part === undefined || until !== undefined ? 0 : Math.floor((bytes * part) / 100);
    const program = compact({ ...rest, bytes, until, first: cut === 0 ? undefined : cut });
    return steps(program).map((list): StreamProgram => ({ ...program, steps: list }));
  });

export const stream: Family<StreamProgram> = { name: 'stream', programs, run, reconcile };
