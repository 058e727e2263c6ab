/** `sendFile` into sockets, files and other streams, against a pipeline that leaves its destination open. */
import fs, { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { PassThrough, type Writable } from 'node:stream';
import fc from 'fast-check';
import { compact, fileSpec, MORE_THAN_BUFFERS, range, seldom, writeSize } from '../arbitraries.js';
import { content, difference, marks, separate, shareOf } from '../bytes.js';
import { type Arrived, Cast, type FileName, give, pathOf } from '../cast.js';
import { allowErrorOfDestroyed, allowNoCancelledWrite } from '../documented.js';
import { codeOf } from '../journal.js';
import type { Family, Observation, Outcome, Run } from '../run.js';
import { at, bySubscriber, destroying, ending, none, type Steps, simple, writing } from '../steps.js';
import { contentOf, type FileSpec } from '../workspace.js';

export interface TransferProgram {
  readonly file: FileName;
  readonly by: 'path' | 'handle' | 'descriptor';
  /** Bytes read from the handle or descriptor before. */
  readonly position?: number | undefined;
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  readonly smallFileSize?: number | undefined;
  readonly to: 'tcp' | 'unix' | 'handle' | 'descriptor' | 'appending' | 'stream';
  readonly before: readonly number[];
  /** The receiver stops after so many bytes. */
  readonly until?: number | undefined;
  readonly steps: Steps;
}

async function run(program: TransferProgram, run: Run): Promise<Observation> {
  const { workspace } = run;
  const path = pathOf(run, program.file);
  const cast = new Cast(run, program.steps);
  const { journal, controller } = cast;
  const until = program.until ?? Number.POSITIVE_INFINITY;
  let stream: Writable | undefined;
  let target: Writable | number | fs.promises.FileHandle;
  let file: string | undefined;
  let received: Arrived | undefined;
  if (program.to === 'tcp' || program.to === 'unix') {
    const { server, client } = await workspace.pair(program.to);
    run.defer(() => {
      server.destroy();
      client.destroy();
    });
    server.resume();
    client.on('error', () => {});
    client.on('close', () => journal.touch());
    cast.peer = client;
    received = cast.collect(client, until);
    stream = target = server;
  } else if (program.to === 'stream') {
    const through = new PassThrough();
    received = cast.collect(through, until);
    stream = target = through;
  } else {
    file = workspace.scratch();
    fs.writeFileSync(file, '');
    const handle = await open(file, program.to === 'appending' ? 'a' : 'w');
    run.defer(() => handle.close());
    target = program.to === 'descriptor' ? handle.fd : handle;
    for (const bytes of program.before) {
      const chunk = marks(bytes, cast.written.length);
      cast.written = Buffer.concat([cast.written, chunk]);
      await handle.write(chunk);
    }
  }
  cast.destination = stream;
  if (stream !== undefined) journal.watch('destination', stream, ['finish', 'error', 'close']);
  if (stream !== undefined) for (const bytes of program.before) cast.write(bytes);

  const { opened } = await give(run, path, program.by);
  if (opened !== undefined && program.position !== undefined) {
    if (typeof opened === 'number') fs.readSync(opened, Buffer.alloc(program.position), 0, program.position, null);
    else await opened.read(Buffer.alloc(program.position), 0, program.position);
  }
  const source = opened ?? path;
  const expected = expectedOf(program);

  journal.cue('before');
  const { start, end, smallFileSize } = program;
  const bounds = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) };
  const { signal } = controller;
  let over = false;
  const small = smallFileSize === undefined ? {} : { smallFileSize };
  run.by
    .sendFile(target, source, { ...bounds, ...small, signal })
    .then(
      ({ bytes }) => {
        journal.note('transfer', 'done');
        if (run.side === 'ours' && bytes !== expected.length && program.file !== 'procfs') {
          run.violation(`bytes is ${bytes}, of ${expected.length}`);
        }
      },
      (error) => {
        journal.note('transfer', `error ${codeOf(error)}`);
        const { bytes } = error as { bytes?: number };
        if (bytes !== undefined && bytes > expected.length) run.violation(`bytes is ${bytes}, of ${expected.length}`);
        counted = bytes;
      },
    )
    .finally(() => {
      over = true;
      journal.cue('over');
    });
  let counted: number | undefined;
  journal.cue('same tick');
  const arrived = (): Buffer => received?.bytes() ?? readFileSync(file as string);
  // All that has been sent is to be there; without an end nobody else tells.
  const complete = (): boolean => {
    if (stream?.destroyed === true)
      return stream.closed && (cast.peer === undefined || cast.peer.destroyed || until < Number.POSITIVE_INFINITY);
    return received === undefined || received.length() >= expected.length + cast.written.length;
  };
  const settled = await run.settle(journal, () => over && complete());

  const got = separate(arrived());
  const share = shareOf(got.file, expected);
  const own = cast.shareOfWrites(arrived());
  const known = program.file !== 'procfs';
  if (known && share === undefined) run.violation(`of the file ${difference(got.file, expected)}`);
  if (own === undefined) run.violation(`of the writes ${difference(got.marks, cast.written)}`);
  if (counted !== undefined && counted < got.file.length)
    run.violation(`bytes is ${counted}, but ${got.file.length} have arrived`);
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      destination: stream && {
        destroyed: stream.destroyed,
        writableFinished: stream.writableFinished,
        errored: stream.errored && codeOf(stream.errored),
      },
      received: { share: known ? share : got.file.length > 0, own },
    },
  };
}

function expectedOf({ file, start, end, position, by }: TransferProgram): Buffer {
  if (typeof file !== 'object') return content(0, 0);
  const from = start ?? (by === 'path' ? 0 : Math.min(position ?? 0, file.size));
  return contentOf(file, from, (end ?? Number.POSITIVE_INFINITY) + 1);
}

function reconcile(program: TransferProgram, node: Outcome, ours: Outcome): void {
  allowNoCancelledWrite(node.destination, ours.destination);
  allowErrorOfDestroyed(node, ours);
  // How much of the file shares a segment with what was written before it is nobody's promise: a receiver that stops after
  // that has a part, or nothing yet.
  if (program.until !== undefined) {
    for (const { received } of [node, ours]) if (received.share === 'nothing') received.share = 'part';
  }
  const { transfer } = ours.events;
  // README of sendfile-stream: sendFile rejects with a TransferError; of a connection that was closed, ECONNRESET.
  const closed = ['error ERR_STREAM_PREMATURE_CLOSE', 'error ECANCELED']; // the latter of a write under way, since Node 22
  if (transfer?.[0] === 'error ECONNRESET' && closed.includes(node.events.transfer?.[0]))
    node.events.transfer = transfer;
  // Neither can be used: we look for the file first.
  const gone = program.steps.some(({ what }) => what.do === 'destroy');
  const unreadable = { missing: 'error ENOENT', directory: 'error EISDIR' } as Record<string, string>;
  const refusal = typeof program.file === 'string' ? unreadable[program.file] : undefined;
  if (gone && refusal !== undefined && transfer?.[0] === refusal) node.events.transfer = transfer;
  // A socket that has ended takes no file; Node says so when it writes, we before.
  const refused =
    'ERR_STREAM_WRITE_AFTER_END ERR_STREAM_DESTROYED ERR_STREAM_PREMATURE_CLOSE ERR_STREAM_UNABLE_TO_PIPE ECONNRESET'
      .split(' ')
      .map((code) => `error ${code}`);
  if (refused.includes(transfer?.[0]) && refused.includes(node.events.transfer?.[0])) node.events.transfer = transfer;
  // README: aborted "a bare socket that has not been promised anything may go on" (send-file.ts); pipeline destroys it.
  if (
    transfer?.[0] === 'error ABORT_ERR' &&
    node.events.transfer?.[0] === 'error ABORT_ERR' &&
    ours.destination?.destroyed === false
  ) {
    node.destination = ours.destination;
    node.events.destination = ours.events.destination;
    node.ended = ours.ended;
    // What a destroyed socket had not sent yet is lost.
    node.received = ours.received;
  }
}

function steps(program: Omit<TransferProgram, 'steps'>): fc.Arbitrary<Steps> {
  const isSocket = program.to === 'tcp' || program.to === 'unix';
  const one = (when: string, what: ReturnType<typeof simple>): fc.Arbitrary<Steps> =>
    fc.array(at(fc.constant(when), what), { minLength: 1, maxLength: 1 });
  if (program.until !== undefined) {
    const what = fc.oneof(
      destroying('destination', 'peer'),
      simple('abort', 'resume peer', 'pipe another', 'reset peer', 'cork', 'uncork', 'cork for a turn'),
      writing,
    );
    return fc.array(at(fc.constant('stalled'), what), { minLength: 1, maxLength: 2 });
  }
  // Not in the same tick: a small file has gone by then, where Node has not begun.
  const before = isSocket ? fc.oneof(destroying('destination'), simple('abort'), writing) : simple('abort');
  return fc.oneof(
    { weight: 12, arbitrary: none },
    { weight: 3, arbitrary: one('before', before) },
    { weight: isSocket ? 2 : 0, arbitrary: one('same tick', fc.oneof(writing, simple('pipe another'))) },
    { weight: 4, arbitrary: one('over', fc.oneof(writing, ending('destination'), destroying('destination'))) },
    { weight: isSocket ? 1 : 0, arbitrary: bySubscriber.map((step): Steps => [step]) },
  );
}

const programs: fc.Arbitrary<TransferProgram> = fc
  .record({
    file: fc.oneof(
      { weight: 14, arbitrary: fileSpec },
      {
        weight: 1,
        arbitrary: fc.constantFrom('missing', 'directory', 'procfs', 'device'),
      },
    ),
    by: fc.constantFrom('path', 'path', 'handle', 'descriptor'),
    position: seldom(3, fc.integer({ min: 1, max: 70_000 })),
    smallFileSize: seldom(4, fc.constantFrom(0, 300_000)),
    to: fc.constantFrom('tcp', 'tcp', 'unix', 'handle', 'descriptor', 'appending', 'stream'),
    before: fc.array(writeSize, { maxLength: 2 }),
    stops: seldom(5, fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 300_000 }))),
  })
  .chain(({ stops, ...rest }) => {
    const isSocket = rest.to === 'tcp' || rest.to === 'unix';
    const until = isSocket && typeof rest.file === 'object' ? stops : undefined;
    const file =
      until === undefined ? rest.file : { ...(rest.file as FileSpec), size: MORE_THAN_BUFFERS[rest.to as 'tcp'] };
    const bytes = typeof file === 'object' ? file.size : 0;
    const by = typeof file === 'object' ? rest.by : 'path';
    const position = by === 'path' ? undefined : rest.position;
    return range(until === undefined ? bytes : 1000).chain((ranged) => {
      const asked = until === undefined ? ranged : compact({ start: ranged.start });
      // From a position of its own Node counts `end` from the first byte that it reads; ours is a place in the file.
      const bounds = position !== undefined && asked.start === undefined ? {} : asked;
      const program: Omit<TransferProgram, 'steps'> = compact({ ...rest, ...bounds, file, by, position, until });
      return steps(program).map((list) => ({ ...program, steps: list }));
    });
  });

export const transfer: Family<TransferProgram> = { name: 'transfer', programs, run, reconcile };
