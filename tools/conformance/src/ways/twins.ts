/** What moves the bytes of a way, by the packages; and their twins: what of Node's own each of them stands for. */
import fs, { constants, createReadStream, createWriteStream } from 'node:fs';
import { OutgoingMessage } from 'node:http';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { copyFile } from '@zerocopy/file-copy';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { createSendfileStream, type SendFileDestination, sendFile } from '@zerocopy/sendfile-stream';
import {
  createSpliceReadStream,
  createSpliceWriteStream,
  proxy,
  type SpliceDestination,
  type SpliceSource,
  splice,
  tee,
} from '@zerocopy/splice-pipe';

export type Side = 'node' | 'ours';

export interface Movers {
  readonly copyFile: typeof copyFile;
  readonly createMmapReadStream: typeof createMmapReadStream;
  readonly createSendfileStream: typeof createSendfileStream;
  readonly createSpliceReadStream: typeof createSpliceReadStream;
  readonly createSpliceWriteStream: typeof createSpliceWriteStream;
  readonly proxy: typeof proxy;
  readonly sendFile: typeof sendFile;
  readonly splice: typeof splice;
  readonly tee: typeof tee;
}

const ours: Movers = {
  copyFile,
  createMmapReadStream,
  createSendfileStream,
  createSpliceReadStream,
  createSpliceWriteStream,
  proxy,
  sendFile,
  splice,
  tee,
};
type Source = Exclude<SpliceSource, Readable> | Readable | string | Buffer | URL;
type Destination = SpliceDestination | SendFileDestination;
interface Options {
  readonly start?: number;
  readonly end?: number;
  readonly signal?: AbortSignal;
  readonly endMessage?: boolean;
  readonly onProgress?: () => void;
}

/** For streams that are destroyed over descriptors that are somebody else's. */
const keepOpen = { ...fs, close: (_fd: number, done: (error: null) => void) => done(null) };
const over = (thing: number | fs.promises.FileHandle): object => ({
  fd: typeof thing === 'number' ? thing : thing.fd,
  fs: keepOpen,
});
const isOpened = (thing: unknown): thing is number | fs.promises.FileHandle =>
  typeof thing === 'number' || (typeof thing === 'object' && thing !== null && 'fd' in thing && 'datasync' in thing);

/** A pipeline, which leaves open what the function it stands for does; a stream is no one's to end but its user's. */
async function move(from: Source, to: Destination, options: Options = {}): Promise<{ bytes: number }> {
  const { start, end, signal, onProgress, endMessage = true } = options;
  const range = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) };
  const isStream = typeof from === 'object' && 'readable' in from;
  const source = isStream
    ? from
    : createReadStream(isOpened(from) ? '' : from, { ...range, ...(isOpened(from) && over(from)) });
  const destination = isOpened(to) ? createWriteStream('', over(to)) : (to as Writable);
  const ends = isOpened(to) || (endMessage && to instanceof OutgoingMessage);
  async function* watched(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      onProgress?.();
      yield chunk;
    }
  }
  try {
    const joint = { end: ends, ...(signal && { signal }) };
    if (onProgress === undefined) await pipeline(source, destination, joint);
    else await pipeline(source, watched, destination, joint);
  } finally {
    if (!isStream) source.on('error', () => {}).destroy(); // into a destroyed destination, pipeline leaves it open (since Node 24)
  }
  return { bytes: (source as fs.ReadStream).bytesRead };
}

/** Their results are what the packages' are where there is something of the kind, and are otherwise left out. */
const node = {
  async copyFile(from: string, to: string, { exclusive = false, onProgress }: { exclusive?: boolean } & Options = {}) {
    await fs.promises.copyFile(from, to, exclusive ? constants.COPYFILE_EXCL : 0);
    onProgress?.();
    return { bytes: fs.statSync(from).size };
  },
  createMmapReadStream: createReadStream,
  createSendfileStream: createReadStream,
  createSpliceReadStream: (socket: Readable) => socket,
  createSpliceWriteStream: createWriteStream,
  async proxy(left: Writable & Readable, right: Writable & Readable, { signal, onProgress }: Options = {}) {
    const joint = { ...(signal && { signal }) };
    if (onProgress !== undefined) for (const side of [left, right]) side.on('data', onProgress);
    await Promise.all([pipeline(left, right, joint), pipeline(right, left, joint)]);
    return { forward: {}, backward: {} };
  },
  sendFile: (to: Destination, from: Source, options?: Options) => move(from, to, options),
  splice: move,
  async tee(from: Readable, [first, ...others]: readonly Destination[], options?: Options) {
    const all = others.map((to) => {
      const through = from.pipe(new PassThrough());
      return move(through, to);
    });
    await Promise.all([move(from, first as Destination, options), ...all]);
    return { destinations: [first, ...others].map(() => ({})) };
  },
} as unknown as Movers;

export const movers: Readonly<Record<Side, Movers>> = { node, ours };
