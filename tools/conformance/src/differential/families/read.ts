/** A file read in user space: `createMmapReadStream` and `createSendfileStream` against `fs.createReadStream`; `mapFile`. */
import fs from 'node:fs';
import { PassThrough, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { mapFile } from '@zerocopy/mmap-buffer';
import fc from 'fast-check';
import { compact, fileSpec, KiB, range, seldom } from '../arbitraries.js';
import { content, difference, shareOf } from '../bytes.js';
import { Cast, type FileName, give, pathOf } from '../cast.js';
import { codeOf } from '../journal.js';
import { closeStream, type Family, type Observation, type Outcome, type Run } from '../run.js';
import { at, destroying, none, type Steps, simple } from '../steps.js';
import { contentOf, type FileSpec } from '../workspace.js';

export interface ReadProgram {
  readonly subject: 'mmap' | 'sendfile' | 'map';
  readonly file: FileName;
  readonly by: 'path' | 'descriptor' | 'handle';
  readonly options: {
    readonly start?: number | undefined;
    readonly end?: number | undefined;
    readonly highWaterMark?: number | undefined;
    readonly autoClose?: boolean | undefined;
    readonly emitClose?: boolean | undefined;
    readonly encoding?: 'latin1' | 'hex' | undefined;
  };
  readonly signal?: boolean | undefined;
  readonly reader: 'data' | 'readable' | 'for await' | 'for await, until' | 'pipe' | 'pipeline';
  /** Bytes of each read(), for 'readable'. */
  readonly piece?: number | undefined;
  readonly steps: Steps;
}

const EVENTS = ['open', 'ready', 'end', 'error', 'close'];

async function run(program: ReadProgram, run: Run): Promise<Observation> {
  if (program.subject === 'map') return runMap(program, run);
  const cast = new Cast(run, program.steps);
  const { journal } = cast;
  const path = pathOf(run, program.file, cast.does('truncate'));
  if (typeof program.file === 'object') cast.path = path;
  const { options: given } = await give(run, path, program.by);
  const options: Record<string, unknown> = { ...program.options, ...given };
  // README of mmap-buffer: "its chunks are views, of 256 KiB unless highWaterMark says otherwise".
  if (program.subject === 'mmap' && run.side === 'node') options.highWaterMark ??= 256 * KiB;
  if (program.signal === true) options.signal = cast.controller.signal;
  const chunks: Buffer[] = [];
  let got = 0;
  let largest = 0;
  const take = (chunk: Buffer | string): void => {
    const bytes = Buffer.from(chunk as string);
    chunks.push(bytes);
    got += bytes.length;
    largest = Math.max(largest, bytes.length);
    journal.level('read', got);
  };
  const make = program.subject === 'mmap' ? run.by.createMmapReadStream : run.by.createSendfileStream;
  const stream = make(path, options as never) as fs.ReadStream;
  cast.source = stream;
  run.defer(() => closeStream(stream));
  journal.watch('source', stream, EVENTS);
  let reading = true;
  read(program, stream, take)
    .then(
      () => journal.note('reader', 'done'),
      (error) => journal.note('reader', `error ${codeOf(error)}`),
    )
    .finally(() => {
      reading = false;
    });
  journal.cue('same tick');
  process.nextTick(() => journal.cue('next tick'));
  const keeps = program.options.autoClose === false;
  const settled = await run.settle(
    journal,
    () =>
      !reading && (stream.closed || (keeps && !stream.destroyed && (stream.readableEnded || stream.errored !== null))),
  );

  const bytes = Buffer.concat(chunks);
  const expected = expectedOf(program);
  const decoded = cast.does('encode');
  const share = decoded ? 'decoded' : expected === undefined ? bytes.length : shareOf(bytes, expected);
  if (share === undefined) run.violation(`of the file ${difference(bytes, expected as Buffer)}`);
  const { highWaterMark } = program.options;
  const most = (highWaterMark ?? 256 * KiB) * (program.options.encoding === 'hex' ? 2 : 1);
  if (program.reader !== 'readable' && !decoded && program.options.encoding !== 'latin1' && largest > most)
    run.violation(`a chunk of ${largest} bytes`);
  const whole = share === 'all' || share === 'empty';
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      source: {
        destroyed: stream.destroyed,
        closed: stream.closed,
        errored: stream.errored && codeOf(stream.errored),
        readableEnded: stream.readableEnded,
        readableFlowing: stream.readableFlowing,
        readableDidRead: stream.readableDidRead,
        pending: stream.pending,
        ...(whole ? { bytesRead: stream.bytesRead } : {}),
      },
      share,
    },
  };
}

async function read(
  program: ReadProgram,
  stream: fs.ReadStream,
  take: (chunk: Buffer | string) => void,
): Promise<void> {
  switch (program.reader) {
    case 'data':
      stream.on('data', take);
      return finished(stream);
    case 'readable':
      stream.on('readable', () => {
        const { piece } = program;
        for (let chunk = stream.read(piece); chunk !== null; chunk = stream.read(piece)) take(chunk);
      });
      return finished(stream);
    case 'for await':
      for await (const chunk of stream) take(chunk as Buffer);
      return;
    case 'for await, until':
      for await (const chunk of stream) {
        take(chunk as Buffer);
        break;
      }
      return;
    case 'pipe': {
      const target = new PassThrough().on('data', take);
      stream.pipe(target);
      return finished(stream);
    }
    case 'pipeline':
      await pipeline(
        stream,
        new Writable({
          decodeStrings: false,
          write(chunk, _encoding, done) {
            take(chunk);
            setImmediate(done);
          },
        }),
      );
  }
}

const finished = (stream: fs.ReadStream): Promise<void> =>
  new Promise((resolve, reject) => {
    stream.once('end', resolve).once('error', reject).once('close', resolve);
  });

async function runMap(program: ReadProgram, run: Run): Promise<Observation> {
  const { workspace } = run;
  const spec = typeof program.file === 'object' ? program.file : undefined;
  const path =
    spec !== undefined
      ? workspace.file(spec)
      : program.file === 'directory'
        ? workspace.scratchDirectory()
        : workspace.scratch();
  const offset = program.options.start ?? 0;
  const length = program.options.end === undefined ? undefined : program.options.end - offset + 1;
  const fits = spec !== undefined && offset + (length ?? 0) <= spec.size;
  let outcome: Record<string, unknown>;
  try {
    let bytes: Buffer;
    if (run.side === 'node') {
      const all = fs.readFileSync(path);
      // README of mmap-buffer: more than the file holds is an error.
      if (!fits) throw Object.assign(new RangeError(), { code: 'ERR_OUT_OF_RANGE' });
      bytes = all.subarray(offset, length === undefined ? undefined : offset + length);
    } else {
      const mapped = await mapFile(path, length === undefined ? { offset } : { offset, length });
      bytes = Buffer.from(mapped.buffer);
      if (mapped.length !== bytes.length) run.violation(`length is ${mapped.length}, the buffer's ${bytes.length}`);
      await mapped.close();
    }
    const expected = contentOf(spec as FileSpec, offset, length === undefined ? undefined : offset + length);
    if (!bytes.equals(expected)) run.violation(`mapped ${difference(bytes, expected)}`);
    outcome = { length: bytes.length };
  } catch (error) {
    outcome = { error: codeOf(error) };
  }
  return { violations: [], outcome };
}

function expectedOf({ file, options: { start, end, encoding } }: ReadProgram): Buffer | undefined {
  if (file === 'procfs') return undefined;
  const bytes =
    typeof file === 'object' ? contentOf(file, start, (end ?? Number.POSITIVE_INFINITY) + 1) : content(0, 0);
  return encoding === undefined ? bytes : Buffer.from(bytes.toString(encoding));
}

function reconcile(program: ReadProgram, node: Outcome, ours: Outcome): void {
  // README of mmap-buffer: "If the file is cut short meanwhile, the stream fails with ERR_FILE_TRUNCATED; Node's own
  // would end as if nothing were missing."
  const truncated = program.steps.some(({ what }) => what.do === 'truncate');
  if (
    truncated &&
    program.subject === 'mmap' &&
    ours.source?.errored === 'ERR_FILE_TRUNCATED' &&
    ours.share !== 'all'
  ) {
    Object.assign(node, ours);
  }
}

function steps(program: Omit<ReadProgram, 'steps'>, bytes: number): fc.Arbitrary<Steps> {
  // A source that is destroyed at its end may or may not be in time to fail the pipeline: its last write may be out.
  const moments = ['same tick', 'next tick', 'source open', 'source ready'];
  const when = fc.constantFrom(...moments, ...(program.reader === 'pipeline' ? [] : ['source end']));
  const what = fc.oneof(
    destroying('source'),
    simple('abort', 'pause for a turn', 'pause and resume', 'resume source', 'unshift', 'unpipe', 'pipe elsewhere'),
    simple('listen for data', 'listen for data, once'),
  );
  const flowing = program.reader === 'data';
  const level = at(fc.constant('read'), flowing ? what : simple('unshift')).chain((step) =>
    fc.integer({ min: 1, max: Math.max(1, bytes) }).map((level) => ({ ...step, bytes: level })),
  );
  const truncation = at(fc.constantFrom('source open', 'source ready'), fc.constant({ do: 'truncate', size: 0 }));
  const encoding = at(
    fc.constantFrom('same tick', 'next tick', 'source open'),
    fc.record({ do: fc.constant('encode'), encoding: fc.constantFrom('latin1', 'hex') }),
  );
  const stall = fc.tuple(
    at(fc.constant('same tick'), simple('pause source')),
    at(fc.constant('stalled'), fc.oneof(simple('resume source'), destroying('source'))),
  );
  return fc.oneof(
    { weight: 6, arbitrary: none },
    { weight: 8, arbitrary: fc.array(fc.oneof(at(when, what), level), { maxLength: 2 }) },
    { weight: 2, arbitrary: fc.array(truncation, { minLength: 1, maxLength: 1 }) },
    { weight: 1, arbitrary: fc.array(encoding, { minLength: 1, maxLength: 1 }) },
    { weight: flowing ? 2 : 0, arbitrary: stall.map((both): Steps => both) },
  );
}

const programs: fc.Arbitrary<ReadProgram> = fc
  .record({
    subject: fc.constantFrom('mmap', 'mmap', 'sendfile', 'map'),
    file: fc.oneof(
      { weight: 12, arbitrary: fileSpec },
      {
        weight: 1,
        arbitrary: fc.constantFrom('missing', 'directory', 'device', 'procfs'),
      },
    ),
    by: fc.constantFrom('path', 'path', 'descriptor', 'handle'),
    signal: seldom(4, fc.constant(true)),
    reader: fc.constantFrom('data', 'data', 'readable', 'for await', 'for await, until', 'pipe', 'pipeline'),
    piece: seldom(3, fc.integer({ min: 1000, max: 70_000 })),
  })
  .chain((rest) => {
    const bytes = typeof rest.file === 'object' ? rest.file.size : 0;
    const { subject } = rest;
    const by = rest.file === 'missing' || subject === 'map' ? 'path' : rest.by;
    const file = subject === 'map' && (rest.file === 'device' || rest.file === 'procfs') ? 'missing' : rest.file;
    return fc
      .record({
        ranged: range(bytes),
        highWaterMark: seldom(3, fc.integer({ min: 900, max: 400_000 })),
        autoClose: seldom(5, fc.boolean()),
        emitClose: seldom(6, fc.boolean()),
        encoding: seldom(8, fc.constantFrom('latin1', 'hex')),
      })
      .chain(({ ranged, ...other }) => {
        const program: Omit<ReadProgram, 'steps'> = compact({
          ...rest,
          file,
          by,
          options: compact({ ...ranged, ...other }),
        });
        return (subject === 'map' ? none : steps(program, bytes)).map(
          (list): ReadProgram => ({ ...program, steps: list }),
        );
      });
  });

export const reading: Family<ReadProgram> = { name: 'read', programs, run, reconcile };
