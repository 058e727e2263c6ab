/** Streams whose chunks are mapped parts of a file, by mmap-buffer. */
import { once } from 'node:events';
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { MiB } from '@zerocopy/testing/bytes';
import { withResolvers } from '@zerocopy/testing/sockets';
import { NO_MAPPING } from './remembering.js';
import { closing, type Stage } from './stage.js';
import type { Told, Way } from './way.js';

/** Where the content starts, so that it lies in more than one of the windows that the stream maps. */
const START = 2 * MiB - 300_000;

function deepFile(stage: Stage): string {
  const path = stage.path();
  const fd = openSync(path, 'w');
  writeSync(fd, stage.content, 0, stage.content.length, START);
  closeSync(fd);
  return path;
}

/** The stream counts what has been read and not what has arrived, as Node's do: a failed one's count is not compared. */
const streaming = (name: string, to: (stage: Stage) => Promise<Writable> | Writable, more: Partial<Way> = {}): Way => ({
  name,
  twin: 'fs.createReadStream',
  background: { direct: true },
  async begin(stage) {
    const path = deepFile(stage);
    const destination = await to(stage);
    const source = stage.by.createMmapReadStream(path, stage.options({ start: START, highWaterMark: 64 * 1024 }));
    stage.play('source', source);
    source.on('error', () => {}); // from Node 24 on pipeline listens to none that its signal has destroyed before
    const over = pipeline(source, destination)
      .then(
        (): Told => ({ bytes: source.bytesRead, method: source.method }),
        (error: NodeJS.ErrnoException): Told => ({ error, method: source.method }),
      )
      .then(async (told): Promise<readonly Told[]> => {
        await closing(source);
        return [told];
      });
    return { over };
  },
  ...more,
});

/** Over what is its user's. */
const streamingLent = (by: 'number' | 'FileHandle'): Way => ({
  name: `createMmapReadStream over a ${by}`,
  background: { direct: true },
  twin: 'fs.createReadStream',
  needs: ['mmap', 'sigbusTrap'],
  victims: [by === 'number' ? 'numbers' : 'handle r'],
  async begin(stage) {
    const path = stage.file();
    const fd = by === 'number' ? stage.lend(path, 'r') : await stage.handle(path, 'r');
    const source = stage.by.createMmapReadStream('', { fd, start: 0, autoClose: false, highWaterMark: 64 * 1024 });
    stage.play('source', source);
    if (typeof fd === 'number') stage.lentTo(source, fd); // and not the other: it would close what is its user's
    const { promise, resolve } = withResolvers<NodeJS.ErrnoException | undefined>();
    source.on('error', resolve);
    for (const event of ['end', 'close']) source.once(event, () => resolve(undefined));
    const begun = await once(source, 'readable').then(
      () => true,
      () => false,
    ); // by then it has mapped the first window
    if (!begun) stage.receiveLast(() => Buffer.alloc(0));
    else {
      stage.receive(
        source,
        () => 0,
        () => {},
      );
    }
    const over = promise.then((error): readonly Told[] => [{ error, method: source.method }]);
    return { over, moving: () => true };
  },
});

const toNodeFile = (stage: Stage): Writable => stage.nodeFileDestination();

export const mmapStreamWays: readonly Way[] = [
  streaming('createMmapReadStream to a socket', (stage) => stage.socketDestination('tcp')),
  streaming('createMmapReadStream to a file', toNodeFile),
  streaming('createMmapReadStream where nothing can be mapped', toNodeFile, NO_MAPPING),
  streamingLent('number'),
  streamingLent('FileHandle'),
];
