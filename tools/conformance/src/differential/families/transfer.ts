/** `sendFile` into sockets, files and other streams, against a pipeline that leaves its destination open. */
import fs, { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { PassThrough, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { sendFile } from '@zerocopy/sendfile-stream';
import fc from 'fast-check';
import { compact, fileSpec, MORE_THAN_BUFFERS, range, seldom, writeSize } from '../arbitraries.js';
import { content, difference, marks, separate, shareOf } from '../bytes.js';
import { allowNoCancelledWrite } from '../documented.js';
import { codeOf, Journal, type Step } from '../journal.js';
import type { Family, Observation, Outcome, Run } from '../run.js';
import { contentOf, type FileSpec } from '../workspace.js';

export type TransferAction = {
  readonly do: 'abort' | 'destroy destination' | 'destroy receiver' | 'resume receiver' | 'write' | 'end destination';
};

export interface TransferProgram {
  readonly file: FileSpec | 'missing' | 'directory' | 'procfs' | 'device';
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
  readonly steps: readonly Step<TransferAction>[];
}

async function run(program: TransferProgram, run: Run): Promise<Observation> {
  const { workspace } = run;
  const path =
    typeof program.file === 'object'
      ? workspace.file(program.file)
      : program.file === 'missing'
        ? workspace.scratch()
        : program.file === 'directory'
          ? workspace.scratchDirectory()
          : program.file === 'procfs'
            ? '/proc/version'
            : '/dev/null';
  const controller = new AbortController();
  const chunks: Buffer[] = [];
  let written = Buffer.alloc(0);
  let receiver: Socket | undefined;
  let until = program.until ?? Number.POSITIVE_INFINITY;
  const journal = new Journal(program.steps, ({ do: what }: TransferAction) => {
    switch (what) {
      case 'abort':
        controller.abort();
        break;
      case 'destroy destination':
        stream?.destroy();
        break;
      case 'destroy receiver':
        run.asPeer(() => receiver?.destroy());
        break;
      case 'resume receiver':
        until = Number.POSITIVE_INFINITY;
        receiver?.resume();
        break;
      case 'write':
        write(300);
        break;
      case 'end destination':
        stream?.end();
        break;
    }
  });
  const hear = (readable: NodeJS.ReadableStream): void => {
    let got = 0;
    readable.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      got += chunk.length;
      if (got >= until) readable.pause();
      journal.level('received', got);
    });
    if (until === 0) readable.pause();
  };
  let stream: Writable | undefined;
  let target: Writable | number | fs.promises.FileHandle;
  let file: string | undefined;
  if (program.to === 'tcp' || program.to === 'unix') {
    const { server, client } = await workspace.pair(program.to);
    run.defer(() => {
      server.destroy();
      client.destroy();
    });
    server.resume();
    receiver = client;
    client.on('error', () => {});
    client.on('close', () => journal.touch());
    hear(client);
    stream = target = server;
  } else if (program.to === 'stream') {
    const through = new PassThrough();
    hear(through);
    stream = target = through;
  } else {
    file = workspace.scratch();
    fs.writeFileSync(file, '');
    const flags = program.to === 'appending' ? 'a' : 'w';
    const handle = await open(file, flags);
    run.defer(() => handle.close());
    target = program.to === 'descriptor' ? handle.fd : handle;
    for (const bytes of program.before) {
      const chunk = marks(bytes, written.length);
      written = Buffer.concat([written, chunk]);
      await handle.write(chunk);
    }
  }
  const write = (bytes: number): void => {
    if (stream === undefined || stream.destroyed || stream.writableEnded) return;
    const chunk = marks(bytes, written.length);
    written = Buffer.concat([written, chunk]);
    stream.write(chunk);
  };
  if (stream !== undefined) journal.watch('destination', stream, ['finish', 'error', 'close']);
  if (stream !== undefined) for (const bytes of program.before) write(bytes);

  let source: string | number | fs.promises.FileHandle = path;
  if (program.by !== 'path') {
    const handle = await open(path, 'r');
    run.defer(() => handle.close().catch(() => {}));
    if (program.position !== undefined) await handle.read(Buffer.alloc(program.position), 0, program.position);
    source = program.by === 'handle' ? handle : handle.fd;
  }
  const expected = expectedOf(program);

  journal.cue('before');
  const { start, end, smallFileSize } = program;
  const bounds = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) };
  const { signal } = controller;
  let over = false;
  const work =
    run.side === 'ours'
      ? sendFile(target, source, { ...bounds, ...(smallFileSize === undefined ? {} : { smallFileSize }), signal })
      : byNode(target, source, bounds, signal);
  work
    .then(
      (result) => {
        journal.note('transfer', 'done');
        if (result !== undefined && result.bytes !== expected.length && program.file !== 'procfs') {
          run.violation(`bytes is ${result.bytes}, of ${expected.length}`);
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
  const arrived = (): Buffer => (file === undefined ? Buffer.concat(chunks) : readFileSync(file));
  // All that has been sent is to be there; without an end nobody else tells.
  const complete = (): boolean => {
    if (stream?.destroyed === true)
      return stream.closed && (receiver === undefined || receiver.destroyed || until < Number.POSITIVE_INFINITY);
    return (
      file !== undefined || chunks.reduce((sum, { length }) => sum + length, 0) >= expected.length + written.length
    );
  };
  const settled = await run.settle(journal, () => over && complete());

  const got = separate(arrived());
  const share = shareOf(got.file, expected);
  const own = shareOf(got.marks, written);
  const known = program.file !== 'procfs';
  if (known && share === undefined) run.violation(`of the file ${difference(got.file, expected)}`);
  if (own === undefined) run.violation(`of the writes ${difference(got.marks, written)}`);
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

/** For streams that are destroyed over descriptors that are somebody else's. */
const keepOpen = { ...fs, close: (_fd: number, done: (error: null) => void) => done(null) };

async function byNode(
  target: Writable | number | fs.promises.FileHandle,
  source: string | number | fs.promises.FileHandle,
  bounds: { start?: number; end?: number },
  signal: AbortSignal,
): Promise<undefined> {
  const own = (thing: number | fs.promises.FileHandle): object => ({
    fd: typeof thing === 'number' ? thing : thing.fd,
    fs: keepOpen,
  });
  const from = fs.createReadStream(typeof source === 'string' ? source : '', {
    ...bounds,
    ...(typeof source === 'string' ? {} : own(source)),
  });
  try {
    if (isStream(target)) await pipeline(from, target, { end: false, signal } as never);
    else await pipeline(from, fs.createWriteStream('', own(target)), { signal });
  } finally {
    from.on('error', () => {}).destroy(); // into a destination that is destroyed, pipeline leaves it open (since Node 24)
  }
}

const isStream = (target: Writable | number | fs.promises.FileHandle): target is Writable =>
  typeof target === 'object' && 'writable' in target;

function expectedOf({ file, start, end, position, by }: TransferProgram): Buffer {
  if (typeof file !== 'object') return content(0, 0);
  const from = start ?? (by === 'path' ? 0 : Math.min(position ?? 0, file.size));
  return contentOf(file, from, (end ?? Number.POSITIVE_INFINITY) + 1);
}

function reconcile(program: TransferProgram, node: Outcome, ours: Outcome): void {
  allowNoCancelledWrite(node.destination, ours.destination);
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
  const gone = program.steps.some(({ what }) => what.do === 'destroy destination');
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

function steps(program: Omit<TransferProgram, 'steps'>): fc.Arbitrary<Step<TransferAction>[]> {
  const isSocket = program.to === 'tcp' || program.to === 'unix';
  const step = (when: string[], names: TransferAction['do'][]): fc.Arbitrary<Step<TransferAction>> =>
    fc.record({ when: fc.constantFrom(...when), what: fc.record({ do: fc.constantFrom(...names) }) });
  if (program.until !== undefined) {
    return fc.array(
      step(['stalled'], ['abort', 'destroy destination', 'destroy receiver', 'resume receiver', 'write']),
      { minLength: 1, maxLength: 2 },
    );
  }
  // Not in the same tick: a small file has gone by then, where Node has not begun.
  const before = step(['before'], isSocket ? ['abort', 'destroy destination', 'write'] : ['abort']);
  const early = isSocket ? fc.oneof(before, step(['same tick'], ['write'])) : before;
  const late = step(['over'], ['write', 'end destination', 'destroy destination']);
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant<Step<TransferAction>[]>([]) },
    { weight: 1, arbitrary: fc.array(early, { minLength: 1, maxLength: 1 }) },
    { weight: 1, arbitrary: fc.array(late, { minLength: 1, maxLength: 1 }) },
  );
}

const programs: fc.Arbitrary<TransferProgram> = fc
  .record({
    file: fc.oneof(
      { weight: 14, arbitrary: fileSpec },
      {
        weight: 1,
        arbitrary: fc.constantFrom('missing' as const, 'directory' as const, 'procfs' as const, 'device' as const),
      },
    ),
    by: fc.constantFrom('path' as const, 'path' as const, 'handle' as const, 'descriptor' as const),
    position: seldom(3, fc.integer({ min: 1, max: 70_000 })),
    smallFileSize: seldom(4, fc.constantFrom(0, 300_000)),
    to: fc.constantFrom(
      'tcp' as const,
      'tcp' as const,
      'unix' as const,
      'handle' as const,
      'descriptor' as const,
      'appending' as const,
      'stream' as const,
    ),
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
